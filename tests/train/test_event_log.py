"""Curves for TensorBoard: what metrics.jsonl holds, no step twice after a resumption."""

import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.tiny import tiny_recipe
from torchhebb.errors import UserError
from torchhebb.runs import TrainOptions, run_recipe
from torchhebb.train.event_log import EventLog
from torchhebb.train.log import read_log


def test_a_resumed_log_has_no_step_twice(tmp_path: Path) -> None:
    means = ("radius_mean", "radius_std", "r1_share", "win_rate_max", "dead_share")
    line = {"kind": "learning", "task": "seed 0: learning", "stage": 0, "name": "block1", **dict.fromkeys(means, 0.5)}
    log = EventLog(tmp_path / "metrics.jsonl")
    log.rewind(0)
    offset = 0
    for samples in (0, 10, 20):
        log.write(**{**line, "samples": samples, "radius_mean": 1.0 + samples})
        offset = offset or log.offset
    log.close()
    again = EventLog(tmp_path / "metrics.jsonl")  # goes on after the first line
    again.rewind(offset)
    again.write(**{**line, "samples": 10, "radius_mean": 5.0})
    again.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    found = [(event.step, event.value) for event in events.Scalars("seed 0: learning/block1/radius_mean")]
    assert found == [(0, 1.0), (10, 5.0)]


def test_a_run_writes_what_it_logs(tmp_path: Path) -> None:
    recipe = tiny_recipe(baselines=())
    run_recipe(recipe, TrainOptions(device="cpu", tensorboard=True), folder=tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    lines = [line for line in read_log(tmp_path / "run" / "metrics.jsonl") if line["kind"] == "readout"]
    found = [(event.step, event.value) for event in events.Scalars("seed 0: readout/loss")]
    assert found == [(line["epoch"], pytest.approx(line["loss"])) for line in lines] and len(found) == 2


def test_without_the_package_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UserError, match="tensorboard needs the package tensorboard: pip install tensorboard"):
        EventLog(tmp_path / "metrics.jsonl")


def test_curves_of_a_task_that_is_done_again_are_those_of_its_last_time(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "metrics.jsonl")
    log.write(kind="readout", task="seed 0: readout", epoch=0, loss=2.0)
    log.write(kind="readout", task="seed 0: readout", epoch=1, loss=1.5)
    log.write(kind="repeated", task="seed 0: readout")
    log.write(kind="readout", task="seed 0: readout", epoch=0, loss=1.0)
    log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("seed 0: readout/loss")] == [(0, 1.0)]
