"""A rank that is killed ends the run of both in one line, and a restart goes on from the last checkpoint."""

import os
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from tests.kill_campaign import outcome
from tests.pair import agent, start_pair, train
from torchhebb.distributed import LostWorker, joined
from torchhebb.nn.tensors import read_tensors

LASTING = ("--learning.epochs", "3", "--checkpoint-seconds", "0")


def wait_for_step(least: int, folder: Path, ranks: list[BaseProcess]) -> int:
    """Until a checkpoint of that many steps of learning is there; how many it holds."""
    path = folder / "checkpoint.safetensors"
    while True:
        assert all(process.is_alive() for process in ranks), "the run ended before it was killed"
        if path.exists():
            _, header = read_tensors(path)
            assert not header["done"], "the learning was over before it was killed"
            if header["position"]["step"] >= least:
                return header["position"]["step"]
        time.sleep(0.001)


def finish(ranks: list[BaseProcess]) -> list[int | None]:
    for process in ranks:
        process.join()
    return [process.exitcode for process in ranks]


def test_killed_ranks_lose_one_checkpoint_interval_at_most(tmp_path: Path):
    whole, broken = tmp_path / "undisturbed" / "run", tmp_path / "disturbed" / "run"
    whole.parent.mkdir()
    broken.parent.mkdir()
    one, store = agent(), agent()
    undisturbed = start_pair(one, train, whole, *LASTING, "--out", str(whole))

    reached = 0
    for victim in (1, 0):
        ranks = start_pair(store, train, broken, *LASTING, "--out", str(broken))
        reached = wait_for_step(reached + 4, broken, ranks)
        ranks[victim].kill()
        codes = finish(ranks)
        assert (codes[victim], codes[1 - victim]) == (-9, 2)
        last = (broken.parent / f"said-{1 - victim}").read_text().splitlines()[-1]
        assert last.startswith("torchhebb: another worker was lost or does not answer (")
        _, header = read_tensors(broken / "checkpoint.safetensors")
        assert header["position"]["step"] >= reached, "a checkpoint of every step is kept"

    assert finish(start_pair(store, train, broken, *LASTING, "--out", str(broken))) == [0, 0]
    assert finish(undisturbed) == [0, 0]
    assert outcome(broken) == outcome(whole)
    assert (whole.parent / "said-1").read_text() == "", "rank 0 alone speaks"
    assert "run folder:" in (whole.parent / "said-0").read_text()


def wait_for_good(workers_timeout: float) -> None:
    """Rank 0 is frozen, as by a debugger, while the other waits for its word."""
    with joined(torch.device("cpu"), timeout=workers_timeout) as workers:
        if workers.first:
            os.kill(os.getpid(), signal.SIGSTOP)
        try:
            workers.broadcast("go on")
        except LostWorker as error:
            os._exit(3 if "rank 0 has given no sign of life" in str(error) else 1)


def test_a_rank_that_is_frozen_for_good_is_not_waited_for():
    ranks = start_pair(store := agent(), wait_for_good, 6.0)
    ranks[1].join(40)
    code = ranks[1].exitcode
    ranks[0].kill()
    finish(ranks)
    del store
    assert code == 3
