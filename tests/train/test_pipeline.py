"""The layer pipeline: what its definition says, bit for bit the joint pass, and exact after a stop at any tick."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from tests.reference import agree, draw, numbers
from tests.reference import pipeline as reference
from tests.tiny import ARCHITECTURE, digits, equal, network, state, untimed
from torchhebb.errors import UserError
from torchhebb.nn import Architecture, ConvBlock, LinearBlock, Network, SPHeReConvBlock, WhitenedBlock
from torchhebb.rules import HardHebb, SoftHebb
from torchhebb.train import Learning
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.learn import learn_images, make_optimizer
from torchhebb.train.log import Log
from torchhebb.train.online import OnlineReadout
from torchhebb.train.pipeline import Microbatch, Pipeline
from torchhebb.train.recipe import AdamW

IMAGES = digits(125)
PIPELINE = Learning(order="pipeline", epochs=2)
DEEP = Architecture(
    (1, 8, 8),
    (
        ConvBlock(4, 3, SoftHebb(1.0), power=0.7, init_radius=3.0, lr=0.08),
        ConvBlock(6, 3, SoftHebb(0.65, rectify=True), init_radius=3.0, lr=0.005),
        ConvBlock(8, 3, HardHebb(), groups=2, init_radius=3.0, lr=0.01, lr_power=0.75),
        LinearBlock(5, SoftHebb(4.0, anti_hebbian=False), bias=True, bias_lr=1e-3, activation="soft_wta", lr=0.02),
    ),
    unit_norm=True,
)
FROZEN = replace(ARCHITECTURE, blocks=(replace(ARCHITECTURE.blocks[0], lr=0.0), ARCHITECTURE.blocks[1]))
SPHERE = Architecture(
    (1, 8, 8),
    (SPHeReConvBlock(4, projection=6), SPHeReConvBlock(8, projection=6, residual=True)),
    mean=(0.3,),
    std=(0.4,),
    feature_pool=2,
)
WHITENED = Architecture((1, 8, 8), (WhitenedBlock(6, 3), WhitenedBlock(5, 2, lateral=True)))
COSINE = replace(PIPELINE, batch_size=30, optimizer=AdamW(0.01, 0.05), schedule="cosine", final_lr_fraction=1e-3)

CASES: dict[str, tuple[Architecture, Learning, Literal["float32", "bfloat16"]]] = {
    "two blocks, a last batch that is smaller": (ARCHITECTURE, PIPELINE, "float32"),
    "four blocks, log priors, falling rates": (DEEP, replace(PIPELINE, schedule="linear"), "float32"),
    "local losses by AdamW, falling rates": (SPHERE, COSINE, "float32"),
    "bfloat16": (ARCHITECTURE, replace(PIPELINE, batch_size=50), "bfloat16"),
    "a frozen block below": (FROZEN, PIPELINE, "float32"),
    "fewer batches than blocks": (DEEP, replace(PIPELINE, batch_size=100, epochs=1), "float32"),
    "whitened blocks": (WHITENED, replace(PIPELINE, batch_size=30), "float32"),
    "one block": (replace(ARCHITECTURE, blocks=ARCHITECTURE.blocks[:1]), PIPELINE, "float32"),
    "no batch": (ARCHITECTURE, replace(PIPELINE, epochs=0), "float32"),
}


def built(architecture: Architecture, seed: int = 0) -> Network:
    return architecture.build(seed).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@pytest.mark.parametrize("case", CASES)
def test_it_is_the_joint_pass_bit_for_bit(case: str, tmp_path: Path):
    architecture, plan, precision = CASES[case]
    networks, logs = [], []
    for order in ("joint", "pipeline"):
        checkpoint = Checkpoint(log=Log(tmp_path / f"{order}.jsonl"))
        ordered = replace(plan, order=order)  # type: ignore[arg-type]
        networks.append(
            learn_images(built(architecture), IMAGES, ordered, seed=3, precision=precision, checkpoint=checkpoint)
        )
        logs.append(untimed(tmp_path / f"{order}.jsonl")[-len(architecture.blocks) :])
    assert equal(state(networks[0]), state(networks[1]))
    assert logs[0] == logs[1], "when the pipeline has run empty"
    assert not any(module.training for module in networks[1].modules())
    assert all(parameter.grad is None for parameter in networks[1].parameters())
    learned = [
        not torch.equal(after, before)
        for after, before in zip(networks[1].parameters(), built(architecture).parameters(), strict=True)
    ]
    assert all(learned[architecture is FROZEN :]) == (plan.epochs > 0), "both learned at all"


def test_it_is_what_the_definition_says():
    sizes, rates, temperatures = (6, 5, 4, 3), (0.1, 0.05, 0.2), (1.0, 3.0, 0.5)
    blocks = tuple(
        LinearBlock(size, SoftHebb(t), lr=lr) for size, lr, t in zip(sizes[1:], rates, temperatures, strict=True)
    )
    model = Architecture((1, 2, 3), blocks).build(1).double().train()
    layers = [model.get_submodule(f"block{number}") for number in (1, 2, 3)]
    start = [
        reference.State(numbers(block.layer.weight), numbers(block.norm.running_mean), numbers(block.norm.running_var))
        for block in layers
    ]
    batches = [draw(seed, 7, 1, 2, 3) for seed in range(5)]
    functions = [reference.soft_hebb_block(lr, t) for lr, t in zip(rates, temperatures, strict=True)]
    expected = reference.pipeline([numbers(x.flatten(1)) for x in batches], functions, start, seed=2)

    pipeline = Pipeline(model, make_optimizer(model, PIPELINE), lambda step: 1.0)
    for step, x in enumerate(batches):
        pipeline.step(step, x, None)
    pipeline.flush()
    for block, there in zip(layers, expected, strict=True):
        agree(block.layer.weight, there.weight)
        agree(block.norm.running_mean, there.mean)
        agree(block.norm.running_var, there.variance)


class Recorder(nn.Module):
    """Adds one to what it learns from, and remembers (tick, x)."""

    tick = 0

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, 1))
        self.seen: list[tuple[int, float]] = []

    def learn(self, x: Tensor) -> Tensor:
        self.seen.append((Recorder.tick, x.item()))
        return x + 1


class Finished:
    """A readout that remembers (features, label, fraction of the rates) of the batches that have passed all blocks."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, int, float]] = []

    def step(self, features: Tensor, labels: Tensor, factor: float) -> None:
        self.seen.append((features.item(), int(labels), factor))


def test_every_block_is_one_batch_behind_the_one_below():
    model = Network({f"block{number}": Recorder() for number in range(3)})
    finished: Any = Finished()
    pipeline = Pipeline(model, torch.optim.SGD(model.parameters(), lr=0.1), lambda step: step / 8, online=finished)
    for tick in range(6):
        Recorder.tick = tick
        batch = Microbatch(tick, torch.tensor(10.0 * tick), torch.tensor(tick)) if tick < 4 else None
        pipeline.tick(batch)
        assert pipeline.busy == (tick < 5)
    for number, block in enumerate(model.children()):
        assert block.seen == [(batch + number, 10.0 * batch + number) for batch in range(4)]
    assert finished.seen == [(10.0 * batch + 3, batch, batch / 8) for batch in range(4)]


def test_a_readout_beside_the_blocks_is_that_of_the_joint_pass():
    found = []
    for order in ("joint", "pipeline"):
        model = built(SPHERE)
        assert isinstance(COSINE.optimizer, AdamW)
        online = OnlineReadout(model, (1, 8, 8), 10, COSINE.optimizer, seed=3)
        learn_images(model, IMAGES, replace(COSINE, order=order), online=online)  # type: ignore[arg-type]
        found.append((state(model), state(online.readout)))
    assert equal(found[0][0], found[1][0]) and equal(found[0][1], found[1][1])


class StopAt(Checkpoint):
    """A checkpoint on disk after every tick; the work ends at one of them."""

    ticks: int

    def save(self, task: str, position: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        super().save(task, position, tensors)
        self.ticks -= 1
        if self.ticks == 0:
            raise InterruptedError


@pytest.mark.parametrize(
    ("case", "ticks"),
    [(0, 1), (0, 13), (0, 14), (0, 25), (1, 2), (1, 20), (1, 25), (2, 3), (2, 7), (2, 8), (3, 4), (5, 1)],
)
def test_a_run_that_was_stopped_goes_on_exactly(case: int, ticks: int, tmp_path: Path):
    architecture, plan, precision = list(CASES.values())[case]
    local = isinstance(architecture.blocks[0], SPHeReConvBlock)

    def begin(seed: int) -> dict[str, Any]:
        model = built(architecture, seed)
        assert isinstance(COSINE.optimizer, AdamW)
        online = OnlineReadout(model, (1, 8, 8), 10, COSINE.optimizer, seed=seed) if local else None
        return {"network": model, "images": IMAGES, "plan": plan, "precision": precision, "online": online}

    def checkpoint(folder: str, kind: type[Checkpoint] = Checkpoint) -> Any:
        (tmp_path / folder).mkdir(exist_ok=True)
        return kind(tmp_path / folder, log=Log(tmp_path / folder / "metrics.jsonl"), interval=0.0)

    whole = begin(0)
    learn_images(**whole, checkpoint=checkpoint("whole"))
    broken = checkpoint("parts", StopAt)
    broken.ticks = ticks
    with pytest.raises(InterruptedError):
        learn_images(**begin(0), checkpoint=broken)
    again = begin(8)
    learn_images(**again, checkpoint=checkpoint("parts"))
    assert equal(state(whole["network"]), state(again["network"]))
    assert untimed(tmp_path / "parts/metrics.jsonl") == untimed(tmp_path / "whole/metrics.jsonl")
    if local:
        assert equal(state(whole["online"].readout), state(again["online"].readout))


def test_nothing_waits_in_a_checkpoint(tmp_path: Path):
    checkpoint = StopAt(tmp_path, interval=0.0)
    checkpoint.ticks = 2
    with pytest.raises(InterruptedError):
        learn_images(network(), IMAGES, PIPELINE, checkpoint=checkpoint)
    joint = learn_images(network(), IMAGES, replace(PIPELINE, order="joint", epochs=0))
    names = Checkpoint(tmp_path).tensors.keys()
    assert names == {f"network.{name}" for name in joint.state_dict()}


def test_a_stop_of_an_earlier_version_is_refused(tmp_path: Path):
    Checkpoint(tmp_path).save("learn", {"stage": 0, "step": 3, "places": [{"stage": 1}]}, {})
    with pytest.raises(UserError, match="this pipeline was stopped by an earlier version"):
        learn_images(network(), IMAGES, PIPELINE, checkpoint=Checkpoint(tmp_path))
