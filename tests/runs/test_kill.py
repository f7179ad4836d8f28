"""A run may end at any moment, by a kill or by a disk that refuses, and goes on as if nothing had happened."""

import contextlib
import io
import os
import resource
import time
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

import torchhebb.runs.training
from tests.faults.power import give_up_power
from tests.kill_campaign import CONTEXT, OPTIONS, RECIPE, Campaign, outcome, run, start
from tests.tiny import few_digits
from torchhebb.cli import main
from torchhebb.config import to_json
from torchhebb.runs.folder import prepare_folder, read_config


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """A run that was never stopped, and four kills of others."""
    return Campaign(tmp_path_factory.mktemp("campaign"), kills=4, seed=1).carry_out()


def test_killed_runs_leave_what_an_unbroken_one_leaves(campaign: Campaign):
    assert campaign.phases.total() == 4
    assert campaign.differences == []
    assert {
        "model.safetensors",
        "readout.safetensors",
        "seed-1/model.safetensors",
        "metrics",
    } <= campaign.expected.keys()
    assert campaign.expected["metrics"]


def resume(folder: Path, store: Path, answer: Connection) -> None:
    """The command line in a process of its own; it answers with its exit code and what it said."""
    give_up_power()
    os.environ["TORCHHEBB_STORE"] = str(store)
    torchhebb.runs.training.load_data = lambda *_, **__: few_digits()  # type: ignore[assignment]
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = main(["train", "--resume", str(folder)])
    answer.send((code, said.getvalue()))


def started(folder: Path, store: Path) -> tuple[BaseProcess, Any]:
    """A run under way that has written its first checkpoints."""
    prepare_folder(folder, RECIPE, OPTIONS, few_digits(), "torchhebb train")
    assert read_config(folder) == (RECIPE, OPTIONS) and to_json(RECIPE)["seeds"] == 2
    receive, send = CONTEXT.Pipe(duplex=False)
    process = start(resume, folder, store, send)
    while not (folder / "checkpoint.safetensors").exists():
        assert process.is_alive()
        time.sleep(0.001)
    return process, receive


def expect_refusal(process: BaseProcess, receive: Any) -> str:
    code, said = receive.recv()
    process.join()
    assert code == 2 and said.count("\n") == 1, said
    return said


def test_a_disk_that_is_full(tmp_path: Path, campaign: Campaign):
    folder = tmp_path / "run"
    process, receive = started(folder, tmp_path / "store")
    assert process.pid is not None
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    said = expect_refusal(process, receive)
    assert str(folder) in said and "free space" in said
    assert not [path for path in folder.rglob(".*") if path.stat().st_size]
    campaign.finish(start(run, folder, tmp_path / "store"))
    assert outcome(folder) == campaign.expected


def test_a_folder_that_became_read_only(tmp_path: Path, campaign: Campaign):
    folder = tmp_path / "run"
    process, receive = started(folder, tmp_path / "store")
    folder.chmod(0o555)
    try:
        said = expect_refusal(process, receive)
    finally:
        folder.chmod(0o755)
    assert f"cannot write {folder}" in said and "Permission denied" in said
    campaign.finish(start(run, folder, tmp_path / "store"))
    assert outcome(folder) == campaign.expected


def test_a_damaged_checkpoint(tmp_path: Path, campaign: Campaign):
    folder = tmp_path / "run"
    process, _ = started(folder, tmp_path / "store")
    process.kill()
    process.join()
    path = folder / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    receive, send = CONTEXT.Pipe(duplex=False)
    said = expect_refusal(start(resume, folder, tmp_path / "store", send), receive)
    assert f"{path} is damaged" in said and "delete it, and --resume starts again" in said
    path.unlink()
    campaign.finish(start(run, folder, tmp_path / "store"))
    assert outcome(folder) == campaign.expected
