"""The campaign for a GPU: rehearsed with the packages of a bare machine; it goes on, and a failure loses nothing."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.harness import FOLDER

sys.path.insert(0, str(FOLDER))

from benchmarks import campaign
from benchmarks.arguments import parse
from benchmarks.bench_online import Settings as OnlineSettings
from benchmarks.campaign import PARTS, Part, Settings, command, finished, main, small
from torchhebb.recipes import get_recipe
from torchhebb.train import read_result

ABSENT = ("art", "datasets", "huggingface_hub", "jinja2", "matplotlib", "onnx", "optuna", "plotly", "tyro")
REHEARSED = (
    "checks",
    "bench readout",
    "train softhebb2023-cifar10 3",
    "baselines softhebb2023-cifar10 3",
    "train softhebb2023-cifar10-best 3",
    "train sphere2025-cifar10 3",
)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, on a machine that has the packages of the campaign alone."""
    blocker = tmp_path / "blocker"
    blocker.mkdir()
    lines = ["import sys", *(f"sys.modules[{name!r}] = None" for name in ABSENT)]
    (blocker / "sitecustomize.py").write_text("\n".join(lines), encoding="utf-8")
    source = str(FOLDER.parent / "src")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(blocker), source]))
    monkeypatch.setenv("TORCHHEBB_STORE", str(tmp_path / "store"))
    return tmp_path / "out"


def test_it_is_rehearsed_without_what_it_does_not_need(bare: Path) -> None:
    settings = Settings(bare, rehearse=True, only=REHEARSED)
    logs = bare / "logs"
    code = main(settings)
    assert code == 0, "\n".join(path.read_text(encoding="utf-8") for path in logs.iterdir())
    assert {name: part["status"] for name, part in campaign.read_state(bare).items()} == dict.fromkeys(
        REHEARSED, "done"
    )
    kept = [read_result(path) for path in sorted((bare / "results").rglob("*.json"))]
    assert {(one.recipe, one.question) for one in kept} == {
        ("bench", "readout"),
        ("softhebb2023-cifar10", "accuracy"),
        ("softhebb2023-cifar10", "baselines"),
        ("softhebb2023-cifar10-best", "accuracy"),
        ("sphere2025-cifar10", "accuracy"),
    }
    before = {path: path.stat().st_mtime_ns for path in logs.iterdir()}
    assert main(settings) == 0 and {path: path.stat().st_mtime_ns for path in logs.iterdir()} == before


def test_what_the_deadline_stops_goes_on_and_a_failure_loses_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, wrong, quick = tmp_path / "slow.py", tmp_path / "wrong.py", tmp_path / "quick.py"
    slow.write_text(
        "import pathlib, sys, time\n"
        "seen = pathlib.Path(__file__).with_suffix('.seen')\n"
        "if not seen.exists(): seen.touch(); time.sleep(600)\n",
        encoding="utf-8",
    )
    wrong.write_text("raise SystemExit('no such thing')", encoding="utf-8")
    quick.write_text("", encoding="utf-8")
    parts = tuple(Part(path.stem, str(path)) for path in (wrong, quick, slow))
    monkeypatch.setattr(campaign, "PARTS", parts)
    settings = Settings(tmp_path / "out", minutes=0.05)
    assert main(settings) == 3
    statuses = {name: part["status"] for name, part in campaign.read_state(settings.out).items()}
    # On a busy machine the deadline may come before a part; what began is noted.
    assert "done" not in {statuses.get("wrong"), statuses.get("slow")}
    assert main(replace(settings, minutes=1.0)) == 1
    state = json.loads((settings.out / "state.json").read_text(encoding="utf-8"))
    assert {name: part["status"] for name, part in state.items()} == {
        "wrong": "failed",
        "quick": "done",
        "slow": "done",
    }
    assert "no such thing" in (settings.out / "logs" / "wrong.log").read_text(encoding="utf-8")


def test_a_benchmark_that_no_call_is_long_enough_for_is_given_up() -> None:
    stopped = {"a": {"status": "stopped", "tries": campaign.TRIES}}
    assert finished(Part("a", "a.py"), stopped) and not finished(Part("a", "a.py", resumes=True), stopped)


def test_parts_name_scripts_and_recipes_that_exist_and_can_be_rehearsed() -> None:
    assert len({part.name for part in PARTS}) == len(PARTS)
    for part in PARTS:
        assert (FOLDER / part.script).exists()
        if part.resumes:
            name, seeds = part.arguments[1].split()
            shape = small(get_recipe(name)).architecture.output_shape()
            assert shape.numel() and int(seeds) >= 1
            assert "--data-dir" in command(part, Settings(data_dir=Path("data")))


def test_flags_of_a_script() -> None:
    words = ["--neurons", "8", "9", "--turns", "2", "--results", "there"]
    found = parse(OnlineSettings, words)
    assert (found.neurons, found.turns, found.results) == ((8, 9), 2, Path("there"))
    assert parse(Settings, ["--rehearse"]).rehearse and not parse(Settings, []).rehearse
    with pytest.raises(SystemExit):
        parse(Settings, ["--minutes", "many"])
