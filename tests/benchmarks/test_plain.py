"""The plain formulation takes the library's step, so that a ratio of their times compares equal work."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.plain import PlainNetwork, PlainReadout, plain_block
from tests.reference import agree, draw
from torchhebb import learn
from torchhebb.nn import (
    Architecture,
    Block,
    ConvBlock,
    HebbConv2d,
    HebbLinear,
    LinearBlock,
    LinearReadout,
    Network,
    Pool,
    Tap,
    WhitenedBlock,
)
from torchhebb.optim import NormAdaptiveSGD
from torchhebb.readouts.adam import _step as readout_step
from torchhebb.rules import HardHebb, Instar, RankedHebb, SoftHebb

STEPS = 5
DEEP = (
    ConvBlock(6, 5, SoftHebb(1.0), power=0.7, pool=Pool("max", 4, 2, 1), lr=0.08),
    ConvBlock(8, 3, SoftHebb(0.65), power=1.4, pool=Pool("avg", 2, 2), lr=0.005),
    ConvBlock(7, 3, SoftHebb(0.25), lr=0.01, lr_power=0.75),
)
ARCHITECTURES = {
    "depth 3": DEEP,
    "stride": (ConvBlock(5, 3, stride=2, lr=0.05),),
    "stride that leaves a rest": (ConvBlock(5, 2, stride=3, padding=0, lr=0.05),),
    "dilation": (ConvBlock(5, 3, dilation=2, lr=0.05),),
    "both": (ConvBlock(5, 3, stride=2, dilation=2, lr=0.05),),
    "no batch norm": (ConvBlock(5, 3, normalize=False, lr=0.05),),
    "rectified": (ConvBlock(6, 3, lr=0.05), ConvBlock(5, 3, SoftHebb(0.65, rectify=True), power=1.4, lr=0.05)),
    "Hebbian losers": (ConvBlock(5, 3, SoftHebb(anti_hebbian=False), lr=0.05),),
    "hard": (ConvBlock(5, 3, HardHebb(), lr=0.05),),
    "ranked": (ConvBlock(5, 3, RankedHebb(3, 0.1), lr=0.05),),
    "linear": (LinearBlock(6, power=0.7, lr=0.05), LinearBlock(5, RankedHebb(delta=0.2), normalize=False, lr=0.05)),
    "posterior": (LinearBlock(6, activation="soft_wta", output_inverse_temperature=2.0, normalize=False, lr=0.05),),
}


def build(blocks: tuple[Block, ...], radius: float = 3.0, **around: Any) -> Network:
    """A network in double precision, its radii small enough for the losers to take part."""
    network = Architecture((3, 12, 12), blocks, **around).build().double()
    for layer in network.modules():
        if isinstance(layer, HebbConv2d | HebbLinear):
            layer.weight.mul_(radius / 25)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def same_steps(network: Network) -> None:
    """Both learn, step by step, to the same weights and statistics, and then give the same outputs."""
    plain = PlainNetwork(network)
    pairs = [
        (ours, theirs)
        for (name, ours), theirs in zip(network.named_children(), plain, strict=True)
        if name.startswith("block")
    ]
    start = [theirs.weight.detach().clone() for _, theirs in pairs]
    optimizer = NormAdaptiveSGD(network.learning_groups())
    for step in range(STEPS):
        x = draw(step, 4, 3, 12, 12)
        agree(plain.learn(x), learn(network, x))
        optimizer.step()
        optimizer.zero_grad()
    for before, (ours, theirs) in zip(start, pairs, strict=True):
        weight = ours.get_parameter("layer.weight")
        agree(theirs.weight, weight)
        assert (weight - before).abs().max() > 1e-3
        for name, buffer in ours.named_buffers():
            agree(theirs.get_buffer(name), buffer)
    x = draw(STEPS, 4, 3, 12, 12)
    agree(plain.eval()(x), network.eval()(x))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_same_learning_steps(name: str) -> None:
    same_steps(build(ARCHITECTURES[name]))


def test_same_learning_steps_between_what_stands_around_the_blocks() -> None:
    around = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.2), "unit_norm": True, "feature_pool": 2}
    same_steps(build((ConvBlock(6, 3, lr=0.05),), **around))


def test_same_readout_steps() -> None:
    network = build(DEEP).eval()
    images, labels = draw(0, 12, 3, 12, 12), torch.arange(12) % 4
    features = network(images).flatten(1)
    ours = LinearReadout(features.shape[1], 4).double()
    ours.weight.copy_(draw(1, *ours.weight.shape))
    for parameter in (ours.weight, ours.bias):
        parameter.grad = torch.zeros_like(parameter)
    optimizer = torch.optim.Adam([ours.weight, ours.bias], lr=0.01, fused=True)
    head = nn.Linear(features.shape[1], 4, dtype=torch.float64)
    head.load_state_dict(ours.state_dict())
    theirs = PlainReadout(PlainNetwork(network), head, lr=0.01, dropout=0.0)
    for _ in range(STEPS):
        for chosen in torch.arange(12).split(4):
            loss = readout_step(ours, optimizer, features[chosen], labels[chosen])
            agree(theirs.step(images[chosen], labels[chosen]) * 4, loss)
    agree(head.weight, ours.weight)
    agree(head.bias, ours.bias)


def test_the_plain_readout_differentiates_what_is_frozen() -> None:
    plain = PlainNetwork(build(DEEP))
    before = [parameter.detach().clone() for parameter in plain.parameters()]
    x = draw(0, 4, 3, 12, 12)
    readout = PlainReadout(plain, nn.Linear(plain.eval()(x)[0].numel(), 2, dtype=torch.float64))
    readout.step(x, torch.tensor([0, 1, 0, 1]))
    for parameter, old in zip(plain.parameters(), before, strict=True):
        gradient: Tensor | None = parameter.grad
        assert gradient is not None and gradient.abs().sum() > 0
        assert torch.equal(parameter, old)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ConvBlock(4, 3, Instar()), "rule must be SoftHebb, HardHebb or RankedHebb"),
        (ConvBlock(3, 3, groups=3), "must be dense"),
        (ConvBlock(3, 3, padding_mode="zeros"), "padded by reflection"),
        (ConvBlock(4, 3, activation="relu"), "activation must be triangle or soft_wta"),
        (LinearBlock(4, bias=True), "no bias"),
        (WhitenedBlock(4, 3), "must be ConvBlock or LinearBlock, got WhitenedBlock"),
    ],
)
def test_a_block_without_plain_form_is_refused(config: Block, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plain_block(config, config.build((3, 12, 12)))


def test_a_network_read_at_several_depths_is_refused() -> None:
    with pytest.raises(ValueError, match="read at its last block alone"):
        PlainNetwork(build((ConvBlock(4, 3), ConvBlock(4, 3)), taps=(Tap(1, 2), Tap(2, 2))))
