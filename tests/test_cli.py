"""The command line: what it prints, what it keeps, and one line with exit code 2 for every mistake."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.tiny import FLAGS, few_digits
from torchhebb.cli import main
from torchhebb.data import list_data, load_data
from torchhebb.recipes import list_recipes
from torchhebb.runs import read_config
from torchhebb.train import read_result


@pytest.fixture(scope="module", autouse=True)
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A store of its own, few digits; the command line flushes denormal numbers, other tests need them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHHEBB_STORE", str(tmp_path_factory.mktemp("store")))
        patch.setenv("TORCHHEBB_DATA", str(tmp_path_factory.mktemp("data")))
        yield
    torch.set_flush_denormal(False)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchhebb.runs.training.load_data", lambda *_, **__: few_digits())
    monkeypatch.setattr("torchhebb.report.write_report", lambda folders, **_: folders[0] / "report.html")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run, trained by the command line."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", *FLAGS, "--out", str(folder), "--baselines", "raw", "--checkpoint-seconds", "0"]) == 0
    return folder


def test_train_keeps_and_prints_what_it_measured(run: Path, capsys: pytest.CaptureFixture[str]):
    result = read_result(run / "result.json")
    assert [measure.name for measure in result.measures] == ["test_accuracy", "raw_test_accuracy"]
    recipe, options = read_config(run)
    assert (recipe.seeds, recipe.readout.epochs, recipe.architecture.blocks[0].channels) == (1, 2, 4)  # type: ignore[attr-defined]
    assert options.checkpoint_seconds == 0.0
    assert result.command.startswith("torchhebb train --architecture.blocks.0.channels 4")
    assert main(["train", "--resume", str(run)]) == 0
    out, err = capsys.readouterr()
    assert "softhebb2023-digits" in out and f"{result.measure('test_accuracy').mean:.2f} %" in out
    assert f"run folder: {run}" in out and err == ""
    assert (run / "report.html").exists()


@pytest.mark.usefixtures("few")
def test_results_are_kept_where_tables_are_made_from(tmp_path: Path):
    assert main(["train", *FLAGS, "--out", str(tmp_path / "run"), "--device", "cpu", "--results", str(tmp_path)]) == 0
    kept = read_result(tmp_path / "softhebb2023-digits" / "accuracy-cpu.json")
    assert kept == read_result(tmp_path / "run" / "result.json")


@pytest.mark.usefixtures("few")
def test_a_run_has_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "softhebb2023-digits", *FLAGS]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("softhebb2023-digits-") and (folder / "result.json").exists()


def test_predict_on_image_files(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    paths = []
    for number, pixels in enumerate(few_digits().test.images[:3, 0]):
        paths.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(pixels.numpy()).save(paths[-1])
    assert main(["predict", str(run), *paths, "--top", "2"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == paths
    assert all(len(row) == 3 and row[1].endswith("%") and row[1][0].isdigit() for row in rows)


def test_list(run: Path, capsys: pytest.CaptureFixture[str]):
    for arguments, expected in (
        (["list"], [*list_recipes(), "own-images"]),
        (["list", "*digits"], list_recipes("*digits")),
        (["list", "--data"], [*list_data(), "folder:PATH", "parquet:PATH", "hub:OWNER/NAME"]),
    ):
        assert main(arguments) == 0
        assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == expected
    assert main(["list", "--store"]) == 0
    assert "features" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_help_names_every_command(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert all(command in out for command in ("train", "predict", "list", "evaluate", "reproduce", "report"))
    assert err == ""


@pytest.mark.parametrize("command", ["train", "predict", "list", "report"])
def test_help_of_a_command(command: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert not stop.value.code
    out = capsys.readouterr().out
    assert "--help" in out
    if command == "train":
        assert all(flag in out for flag in ("--seeds", "--device", "--precision", "--data-dir", "--resume", "--out"))
        assert "--architecture.blocks.0.channels" in out and "(default: 96)" in out


MISTAKES = [
    (["nope"], ["nope", "known", "train", "predict", "list"]),
    (["train", "softheb2023-digits"], ["unknown recipe 'softheb2023-digits'", "softhebb2023-digits"]),
    (["train", ""], ["unknown recipe ''", "softhebb2022-digits", "more"]),
    (["train", "a" * 5000], ["unknown recipe 'aaa"]),
    (["train", "--learning.epochs", "a" * 5000], ["--learning.epochs", "aaa"]),
    (["report", "a" * 5000], ["aaa ... aaa"]),
    (["explore", "/dev/full", "photos"], ["/dev/full", "it is a device"]),
    (["search", "--architecture.blocks.1.pool.kernel-size", "50"], ["cannot be built"]),
    (["reproduce", "sphere2025", "--device", "0"], ["device must be auto, cpu, cuda or cuda:N, got '0'"]),
    (["train", "--seeds", "x"], ["--seeds", "'x'", "INT"]),
    (["train", "--seeds", "0"], ["seeds must be at least 1, got 0"]),
    (["train", "--seeds"], ["--seeds"]),
    (["train", "--seedz", "3"], ["--seedz", "--seeds INT"]),
    (["train", "--learning.order", "both"], ["'both'", "joint", "greedy", "pipeline"]),
    (["train", "--learning.batch-size", "0"], ["batch_size must be at least 1, got 0"]),
    (["train", "--learning.epochs", "-1"], ["epochs must be at least 0, got -1"]),
    (["train", "--readout.dropout", "1.5"], ["readout.dropout must be at least 0 and below 1, got 1.5"]),
    (["train", "--readout.lr", "-1"], ["readout.lr must be at least 0 and at most 1e+06, got -1"]),
    (["train", "--baselines", "best"], ["'best'", "random", "raw"]),
    (["train", "--precision", "int8"], ["'int8'", "auto", "float32", "bfloat16"]),
    (["train", "--device", "tpu"], ["device must be auto, cpu, cuda or cuda:N, got 'tpu'"]),
    (["train", "--device", "cuda:99"], ["'cuda:99' is not on this machine; allowed: auto, cpu"]),
    (["train", "--data", "cifar"], ["unknown data set 'cifar'", "cifar10"]),
    (["train", "--data", "folder:nowhere"], ["nowhere"]),
    (["train", "softhebb2023-mnist", "--data-dir", "nowhere"], ["no such data folder", "nowhere"]),
    (
        ["train", "--architecture.blocks.0.kernel-size", "-3"],
        ["blocks.0.kernel_size must be at least 1, got -3"],
    ),
    (["train", "--architecture.blocks.0.kernel-size", "99"], ["cannot be built"]),
    (["train", "--architecture.blocks.1.groups", "5"], ["groups must divide"]),
    (
        ["train", "--architecture.blocks.1.pool.kernel-size", "0"],
        ["pool.kernel_size must be at least 1, got 0"],
    ),
    (["train", "--architecture.input-shape", "3", "8", "8"], ["(3, 8, 8)", "(1, 8, 8)"]),
    (["train", "--resume", "nowhere"], ["nowhere is not a run folder"]),
    (["train", "--resume", "FILE"], ["FILE is not a run folder"]),
    (["train", "--resume", "RUN", "--out", "x"], ["--resume names the run folder itself: leave out --out"]),
    (["train", "--resume", "RUN", "--learning.epochs", "2"], ["RUN holds another experiment", "without changed flags"]),
    (["train", "softhebb2023-mnist", "--resume=RUN"], ["RUN holds softhebb2023-digits, not softhebb2023-mnist"]),
    (["train", "--out", "FILE"], ["FILE"]),
    (["train", "--out", "FILE/run"], ["FILE/run"]),
    (["predict"], ["run folder"]),
    (["predict", "RUN"], ["image files", "predict RUN IMAGE..."]),
    (["predict", "nowhere", "a.png"], ["nowhere is not a run folder"]),
    (["predict", "FILE", "a.png"], ["FILE is not a run folder"]),
    (["predict", "RUN", "a.png"], ["cannot read the image a.png"]),
    (["predict", "RUN", "FILE"], ["cannot read the image FILE"]),
    (["predict", "RUN", "FILE", "--top", "11"], ["top must lie between 1", "(10)", "got 11"]),
    (["predict", "RUN", "FILE", "--top", "many"], ["--top", "'many'"]),
    (["list", "zzz"], ["no recipe matches 'zzz'", "torchhebb list"]),
    (["list", "--all"], ["--all", "torchhebb list --help"]),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES, ids=[shlex.join(arguments) for arguments, _ in MISTAKES])
def test_a_mistake_is_one_line(
    arguments: list[str],
    words: list[str],
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").write_text("neither a folder nor an image")
    os.symlink(run, tmp_path / "RUN")
    capsys.readouterr()
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("torchhebb: ") and err.count("\n") == 1, err
    assert all(word in err for word in words), err
    assert {path.name for path in tmp_path.iterdir()} == {"FILE", "RUN"}, "a mistake leaves nothing behind"


def test_a_mistake_is_told_where_the_output_is_not_utf8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for encoding in ("utf-8", "latin-1", "ascii"):
        with open(tmp_path / "out", "w", encoding=encoding) as out, monkeypatch.context() as patch:
            patch.setattr("sys.stdout", out)
            assert main(["train", "--seedz", "3"]) == 2
        said = capsys.readouterr().err
        assert "Unrecognized options: --seedz" in said and "--seeds INT" in said, encoding


@pytest.mark.usefixtures("few")
def test_a_run_that_is_not_finished_says_how_to_go_on(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("config.json", "classes.json", "model.safetensors"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    assert main(["predict", str(tmp_path), "a.png"]) == 2
    assert f"is not finished: continue with torchhebb train --resume {tmp_path}" in capsys.readouterr().err


@pytest.mark.usefixtures("few")
def test_a_damaged_checkpoint_says_what_to_do(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("torchhebb.runs.training.load_data", load_data)  # as the run was trained
    for name in ("config.json", "classes.json"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    (tmp_path / "checkpoint.safetensors").write_bytes(b"damaged")
    assert main(["train", "--resume", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "checkpoint.safetensors is damaged" in err and "delete it" in err


def test_ctrl_c_before_anything_was_written(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("torchhebb.runs.training.load_data", stop)
    assert main(["train"]) == 130
    assert capsys.readouterr().err == "torchhebb: stopped\n"


def test_ctrl_c_tells_how_to_go_on_and_that_command_does(
    tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "a run"
    command = ["train", *FLAGS, "--out", str(folder), "--baselines", "raw", "--checkpoint-seconds", "0"]
    # A shell that starts the tests in the background has SIGINT ignored, and children inherit that.
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from torchhebb.cli import main; sys.exit(main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, *command], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    try:
        while not (folder / "checkpoint.safetensors").exists():
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err.startswith("torchhebb: stopped; continue with: torchhebb train --resume ") and err.count("\n") == 1
    assert not (folder / "result.json").exists()
    monkeypatch.setattr("torchhebb.report.write_report", lambda folders, **_: folders[0] / "report.html")
    assert main(shlex.split(err.split("continue with: torchhebb ")[1])) == 0
    for name in ("model.safetensors", "readout.safetensors"):
        assert (folder / name).read_bytes() == (run / name).read_bytes(), "as if it had not been stopped"
