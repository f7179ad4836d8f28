"""The plain formulation takes the library's step, so that a ratio of their times compares equal work."""

import pytest
import torch
from torch import Tensor, nn

from benchmarks.plain import PlainBlock, PlainNetwork, PlainReadout
from tests.reference import agree, draw
from torchhebb import learn
from torchhebb.nn import Architecture, ConvBlock, HebbConv2d, LinearReadout, Network, Pool
from torchhebb.optim import NormAdaptiveSGD
from torchhebb.rules import HardHebb, SoftHebb
from torchhebb.train.readout import _step as readout_step

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
}


def build(blocks: tuple[ConvBlock, ...], radius: float = 3.0) -> Network:
    """A network in double precision, its radii small enough for the losers to take part."""
    network = Architecture((3, 12, 12), blocks).build().double()
    for layer in network.modules():
        if isinstance(layer, HebbConv2d):
            layer.weight.mul_(radius / 25)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_same_learning_steps(name: str) -> None:
    network = build(ARCHITECTURES[name])
    plain = PlainNetwork(network)
    start = [block.weight.detach().clone() for block in plain]
    optimizer = NormAdaptiveSGD(network.learning_groups(), lr=0.0)
    for step in range(STEPS):
        x = draw(step, 4, 3, 12, 12)
        agree(plain.learn(x), learn(network, x))
        optimizer.step()
        optimizer.zero_grad()
    for before, ours, theirs in zip(start, network, plain, strict=True):
        weight = ours.get_parameter("layer.weight")
        agree(theirs.weight, weight)
        assert (weight - before).abs().max() > 1e-3
        agree(theirs.norm.running_mean, ours.get_buffer("norm.running_mean"))
        agree(theirs.norm.running_var, ours.get_buffer("norm.running_var"))
    x = draw(STEPS, 4, 3, 12, 12)
    agree(plain.eval()(x), network.eval()(x))


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
    "config",
    [ConvBlock(4, 3, HardHebb()), ConvBlock(4, 3, SoftHebb(rectify=True)), ConvBlock(3, 3, groups=3)],
)
def test_a_block_without_plain_form_is_refused(config: ConvBlock) -> None:
    with pytest.raises(ValueError, match="must be"):
        PlainBlock(config, config.build((3, 12, 12)))
