"""Two processes learn as one does: values and gradients, ragged and empty slices, and what a lost process leaves."""

import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import pair
from tests.pair import CASES, Tensors
from tests.watch import Stop, stop_after
from torchhebb.distributed import joined, planned
from torchhebb.errors import UserError
from torchhebb.train import Learning
from torchhebb.train.device import own_device
from torchhebb.train.learn import learn_images

FLOAT64, FLOAT32 = {"rtol": 1e-9, "atol": 1e-9}, {"rtol": 1e-5, "atol": 1e-5}
ROUNDED = {
    "softhebb float32",
    "sphere float32",
    "averaged",
    "joint",
    "greedy",
    "resumed joint",
    "resumed greedy",
    "online",
    "streamed",
}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two ranks answered to all cases, and what the first one said when the second had died."""
    folder = tmp_path_factory.mktemp("pair")
    store = pair.agent()
    first, second = pair.start_pair(store, pair.answer, folder)
    first.join()
    second.join()
    assert (first.exitcode, second.exitcode) == (0, -9)
    answers = [torch.load(folder / f"rank-{number}.pt", weights_only=True) for number in range(2)]
    return [{**answer, "lost": (folder / "lost").read_text()} for answer in answers]


def differences(one: Tensors, other: Tensors, **tolerance: float) -> list[str]:
    assert one.keys() == other.keys()
    return [name for name in one if not torch.allclose(one[name], other[name], **tolerance)]


@pytest.mark.parametrize("name", [name for name in CASES if name != "refusals"])
def test_two_ranks_equal_one(ranks: list[dict[str, Any]], name: str):
    alone = CASES[name]()
    found = differences(ranks[0][name], alone, **(FLOAT32 if name in ROUNDED else FLOAT64))
    assert alone and [tensor for tensor in found if not shifts_a_norm(tensor)] == []


def shifts_a_norm(name: str) -> bool:
    """Whether a tensor is a bias in front of a batch norm, or the mean that takes it away again.

    The loss does not depend on it, so its gradient is rounding alone, and AdamW brings rounding to full size.
    """
    return name.endswith(("auxiliary.0.bias", "auxiliary.1.running_mean", "body.conv.bias", "body.norm.running_mean"))


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("by itself", "refusals")])
def test_all_ranks_hold_the_same_bits(ranks: list[dict[str, Any]], name: str):
    assert [key for key, value in ranks[0][name].items() if not torch.equal(value, ranks[1][name][key])] == []


def test_what_cannot_learn_on_several_ranks_is_refused(ranks: list[dict[str, Any]]):
    refused = [{name: bool(value) for name, value in rank["refusals"].items()} for rank in ranks]
    expected = {name: name not in ("ours", "whole stream") for name in refused[0]}
    assert refused == [expected] * 2
    assert {name for name, value in CASES["refusals"]().items() if value} == {"short stream"}


def test_a_stream_is_gone_on_with_by_as_many_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plan = Learning(batch_size=14)
    with pair.stream() as images:
        network = replace(pair.SOFTHEBB, input_shape=(3, 16, 16)).build()
        with suppress(Stop):
            learn_images(network, images, plan, checkpoint=pair.eager(tmp_path), progress=stop_after(31))
        with (
            monkeypatch.context() as patch,
            pytest.raises(UserError, match="started with 1 process.*as many, got 2$"),
        ):
            patch.setattr("torchhebb.train.stages.world_size", lambda: 2)
            learn_images(network, images, plan, checkpoint=pair.eager(tmp_path))
        learn_images(network, images, plan, checkpoint=pair.eager(tmp_path))


def test_workers_know_each_other(ranks: list[dict[str, Any]]):
    assert [rank["workers"] for rank in ranks] == [[0, 2, 0, 2, 7], [1, 2, 1, 2, 7]]


def test_a_rank_that_died_ends_the_others_in_one_line(ranks: list[dict[str, Any]]):
    start, reason, end = re.split(r" \(|\); ", ranks[0]["lost"])
    assert start == "another worker was lost or does not answer" and "Connection" in reason
    assert end == "use --resume to continue from the last checkpoint"


def test_without_torchrun_there_is_nothing_to_join(monkeypatch: pytest.MonkeyPatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert planned() == (0, 1)
    with joined(own_device("cpu"), timeout=-1.0) as workers:
        assert (workers.rank, workers.world_size, workers.first, workers.broadcast("here")) == (0, 1, True, "here")
        workers.wait()
        assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "0"}, "RANK are set but not WORLD_SIZE, MASTER_ADDR, MASTER_PORT"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK must be a number from 0 and below WORLD_SIZE, got 2 and 2"),
        ({"RANK": "first", "WORLD_SIZE": "2"}, "got first and 2"),
    ],
)
def test_a_broken_set_of_variables_is_named(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], message: str):
    given = environment if len(environment) == 1 else environment | {"MASTER_ADDR": "here", "MASTER_PORT": "1"}
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message):
        planned()


def test_a_timeout_must_be_positive_and_a_gpu_a_process_s_own(monkeypatch: pytest.MonkeyPatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "x", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="worker_timeout must be positive, got 0"), joined(own_device("cpu"), timeout=0):
        pass
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert own_device("auto") == own_device("cuda") == torch.device("cuda:1")
    with pytest.raises(UserError, match="device must be auto, cpu or cuda .*, got 'cuda:0'"):
        own_device("cuda:0")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match="--nproc-per-node must be at most the 2 GPUs here"):
        own_device("auto")
