"""Steps in replays are the eager steps; without a GPU a Python callable stands for the graph."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import ARCHITECTURE, digits, equal, state
from tests.watch import Stop, stop_after
from torchhebb.nn import Architecture, ConvBlock, LinearBlock, Network
from torchhebb.nn.ensemble import stack_ensemble
from torchhebb.optim import NormAdaptiveSGD
from torchhebb.rules import HardHebb, Oja, RankedHebb, SoftHebb
from torchhebb.train import Learning
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.cuda_graph import CudaGraphStepper, cuda_graph_stepper
from torchhebb.train.ensemble import learn_ensemble, member_groups
from torchhebb.train.learn import learn_images

CPU = torch.device("cpu")
IMAGES = digits(125)


class Recorder:
    """Warms up as a real capture does, and replays the Python callable: what it reads must lie at fixed places."""

    def __init__(self) -> None:
        self.captures = self.replays = 0

    def __call__(self, body: Callable[[], None]) -> Callable[[], None]:
        self.captures += 1
        body()
        body()

        def replay() -> None:
            self.replays += 1
            body()

        return replay


def steps(network: Network, count: int, recorder: Recorder | None = None) -> CudaGraphStepper:
    optimizer = NormAdaptiveSGD(network.train().learning_groups())
    return CudaGraphStepper(network, optimizer, full(optimizer), factor, count=count, capture=recorder or Recorder())


def factor(step: int) -> float:
    return 1.0 if step < 4 else 0.5


def full(optimizer: NormAdaptiveSGD) -> list[Any]:
    return [group["lr"] for group in optimizer.param_groups]


def batches(sizes: list[int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(size, 1, 8, 8, generator=generator) for size in sizes]


@pytest.mark.parametrize(("sizes", "replays"), [([5] * 7, 2), ([5, 5, 2, 5, 5, 5, 5], 1), ([5, 5], 0), ([5] * 3, 1)])
def test_every_batch_is_learned_from_once_and_in_order(sizes: list[int], replays: int):
    recorder = Recorder()
    network, eager = (ARCHITECTURE.build(0) for _ in range(2))
    graphed, plain = steps(network, 3, recorder), steps(eager, 99)
    for number, x in enumerate(batches(sizes)):
        graphed.step(number, x)
        plain.step(number, x)
        plain.flush()
    graphed.flush()
    graphed.flush()
    assert equal(state(network), state(eager))
    assert (recorder.replays, recorder.captures) == (replays, min(1, replays))
    assert all(parameter.grad is None for parameter in network.parameters())


def test_what_waits_has_not_been_learned_from():
    network = ARCHITECTURE.build(0)
    graphed, before = steps(network, 3), state(network)
    for number, x in enumerate(batches([5, 5])):
        graphed.step(number, x)
    assert equal(state(network), before)
    graphed.flush()
    assert not equal(state(network), before)


def test_members_are_put_back_after_a_capture_as_well():
    def members() -> tuple[CudaGraphStepper, list[Network], Recorder]:
        networks, recorder = [ARCHITECTURE.build(seed).train() for seed in (0, 1)], Recorder()
        stacked = stack_ensemble(networks, unstacked=("block2.layer",))
        optimizer = NormAdaptiveSGD(member_groups(stacked, networks))
        stepper = CudaGraphStepper(stacked, optimizer, full(optimizer), lambda _: 0.7, count=2, capture=recorder)
        return stepper, networks, recorder

    (graphed, one, recorder), (plain, other, _) = members(), members()
    for number, x in enumerate(batches([6, 6, 6, 6, 6])):
        graphed.step(number, x)
        plain.step(number, x)
        plain.flush()
    graphed.flush()
    assert recorder.replays == 2
    for mine, its in zip(one, other, strict=True):
        for name, tensor in state(mine).items():
            torch.testing.assert_close(tensor, its.state_dict()[name])


def with_graphs(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()

    def make(part: Any, optimizer: Any, device: Any, precision: Any, rates: Any, factor: Any) -> CudaGraphStepper:
        return CudaGraphStepper(part, optimizer, rates, factor, precision=precision, count=4, capture=recorder)

    for place in ("learn", "ensemble"):
        monkeypatch.setattr(f"torchhebb.train.{place}.cuda_graph_stepper", make)
    return recorder


@pytest.mark.parametrize("order", ["joint", "greedy"])
def test_the_loop_learns_the_same_with_replays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, order: Any):
    plan = Learning(batch_size=5, epochs=2, order=order, schedule="linear")
    plain = learn_images(ARCHITECTURE.build(0), IMAGES, plan)
    recorder = with_graphs(monkeypatch)
    graphed = learn_images(ARCHITECTURE.build(0), IMAGES, plan)
    assert recorder.replays == 0, "diagnostics every second step leave no room for four at once"
    monkeypatch.setattr("torchhebb.train.learning_log.DIAGNOSTICS_PER_STAGE", 5)
    again = learn_images(ARCHITECTURE.build(0), IMAGES, plan)
    assert recorder.replays == (10 if order == "joint" else 20)
    for name, tensor in state(plain).items():
        assert torch.equal(tensor, graphed.state_dict()[name])
        torch.testing.assert_close(tensor, again.state_dict()[name], rtol=1e-4, atol=1e-5)
    with pytest.raises(Stop):
        learn_images(
            ARCHITECTURE.build(0),
            IMAGES,
            plan,
            checkpoint=Checkpoint(tmp_path, interval=0.0),
            progress=stop_after(130),
        )
    resumed = learn_images(ARCHITECTURE.build(3), IMAGES, plan, checkpoint=Checkpoint(tmp_path, interval=1e9))
    for name, tensor in state(plain).items():
        torch.testing.assert_close(tensor, resumed.state_dict()[name], rtol=1e-4, atol=1e-5)


def test_members_learn_the_same_with_replays(monkeypatch: pytest.MonkeyPatch):
    plan = Learning(batch_size=5)
    plain = learn_ensemble([ARCHITECTURE.build(seed) for seed in (0, 1)], IMAGES, plan)
    recorder = with_graphs(monkeypatch)
    monkeypatch.setattr("torchhebb.train.learning_log.DIAGNOSTICS_PER_STAGE", 2)
    graphed = learn_ensemble([ARCHITECTURE.build(seed) for seed in (0, 1)], IMAGES, plan)
    assert recorder.replays == 6
    for one, other in zip(plain, graphed, strict=True):
        for name, tensor in state(one).items():
            torch.testing.assert_close(tensor, other.state_dict()[name], rtol=1e-4, atol=1e-5)


def test_only_where_it_pays_and_can_be():
    network = ARCHITECTURE.build(0)
    optimizer = NormAdaptiveSGD(network.learning_groups())
    rates = full(optimizer)
    adam = torch.optim.AdamW(network.parameters())
    assert cuda_graph_stepper(network, optimizer, CPU, "float32", rates, factor) is None
    assert cuda_graph_stepper(network, adam, torch.device("cuda"), "float32", rates, factor) is None
    cuda = cuda_graph_stepper(network, optimizer, torch.device("cuda"), "float32", rates, factor)
    assert isinstance(cuda, CudaGraphStepper)
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        steps(network, 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a CUDA graph needs a GPU")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("rule", [SoftHebb(), SoftHebb(rectify=True), HardHebb(), RankedHebb(), Oja()])
def test_on_a_gpu_replays_equal_eager_steps(rule: Any, precision: Any):
    architecture = Architecture((1, 8, 8), (ConvBlock(8, 3, rule, init_radius=2.0), LinearBlock(9, rule, bias=True)))
    device = torch.device("cuda")
    one, other = (architecture.build(0).to(device, memory_format=torch.channels_last).train() for _ in range(2))
    graphed, plain = (
        cuda_graph_stepper(network, optimizer, device, precision, full(optimizer), factor)
        for network in (one, other)
        for optimizer in [NormAdaptiveSGD(network.learning_groups())]
    )
    assert graphed is not None and plain is not None
    for number, x in enumerate(batches([10] * 20 + [3])):
        for stepper in (graphed, plain):
            stepper.step(number, x.to(device))
        plain.flush()
    graphed.flush()
    tolerance = 1e-4 if precision == "float32" else 2e-2
    for name, tensor in state(one).items():
        torch.testing.assert_close(tensor, other.state_dict()[name], rtol=tolerance, atol=tolerance)
