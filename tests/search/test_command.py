"""`torchhebb search` from its words to a recipe that `torchhebb train` takes."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.tiny import FLAGS, few_digits
from torchhebb.cli import main
from torchhebb.runs import read_config
from torchhebb.search import read_best

SEARCH = ["search", *FLAGS, "--trials", "2", "--judge", "ridge", "--images", "100", "--space"]


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHHEBB_STORE", str(tmp_path / "store"))
    monkeypatch.setattr("torchhebb.cli.tune_process", lambda: None)
    for place in ("torchhebb.data.load_data", "torchhebb.runs.training.load_data"):
        monkeypatch.setattr(place, lambda *_, **__: few_digits())
    monkeypatch.setattr("torchhebb.report.write_report", lambda folders, **_: folders[0] / "report.html")


def test_what_it_found_is_trained_by_its_flags_or_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "a search"
    assert main([*SEARCH, "architecture.blocks.0.lr=0.01,0.3", "--out", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert "best of 2 trials, chosen on the same 30 held-out training images" in out and "held out" not in err
    command = out.split("train it with: torchhebb ")[1].splitlines()[0]
    best = read_best(folder)
    for number, words in enumerate((shlex.split(command), ["train", "--best", str(folder)])):
        flags = ["--out", str(tmp_path / f"run{number}"), "--precision", "float32", "--baselines"]
        assert main([*words, *flags]) == 0
        assert read_config(tmp_path / f"run{number}")[0] == replace(best, baselines=())
    assert main([*SEARCH, "architecture.blocks.0.lr=0.01,0.5", "--out", str(folder)]) == 2
    assert "holds a search with another space" in capsys.readouterr().err


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("torchhebb.search.objective.learn_from", stop)
        assert main([*SEARCH, "learning.epochs=1,2", "--out", str(tmp_path / "search")]) == 130
    assert capsys.readouterr().err.endswith("torchhebb: stopped; run the same command again to continue\n")
    assert torch.is_grad_enabled()


def test_a_precision_that_is_slow_here_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("torch.cpu.get_capabilities", dict, raising=False)
    monkeypatch.setattr("torchhebb.search.objective.learn_from", lambda *_, **__: pytest.fail("enough"))
    words = [*SEARCH, "learning.epochs=1,2", "--out", str(tmp_path / "search"), "--precision", "bfloat16"]
    with pytest.raises(pytest.fail.Exception, match="enough"):
        main(words)
    assert "precision bfloat16 is slower here than float32" in caplog.text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search", "softheb2023-digits"], "unknown recipe 'softheb2023-digits'"),
        (["search", "--trials", "0"], "trials must be at least 1, got 0"),
        (["search", "--budget", "soon"], "a budget is a positive time such as 90s, 30m or 2h, got 'soon'"),
        (["search", "--space", "learning.epoch=1:2"], "unknown field in 'learning.epoch': 'epoch'; nearest: epochs"),
        (["train", "--best", "nowhere"], "no such file: nowhere"),
        (["train", "--best", "nowhere", "--resume", "x"], "--resume names a run that has its recipe: leave out --best"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    assert main(words) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
