"""What every block answers, against values written out by hand, and the least that a block of a user's own needs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import nn

from torchhebb.errors import UserError
from torchhebb.nn import (
    Architecture,
    Block,
    ConvBlock,
    HebbConv2d,
    LinearBlock,
    LinearReadout,
    Pool,
    SPHeReConvBlock,
    Tap,
    WhitenedBlock,
    learn,
    load,
    save,
)
from torchhebb.optim import NormAdaptiveSGD
from torchhebb.rules import HardHebb, Instar, RankedHebb, Rule, SoftHebb

SHAPE = (3, 12, 12)
BLOCKS: dict[str, Block] = {
    "conv": ConvBlock(6, 3, lr=0.3, lr_power=0.7),
    "grouped": ConvBlock(6, 3, groups=3, stride=2, dilation=2, pool=Pool("avg", 2, 2)),
    "linear": LinearBlock(5, bias=True, bias_lr=0.002, lr=0.4, activation="soft_wta"),
    "whitened": WhitenedBlock(4, 3, split=True, project=2, components=10, pool=Pool("max", 2, 2)),
    "sphere": SPHeReConvBlock(4, projection=3),
}
SHAPES = {"conv": (6, 12, 12), "grouped": (6, 3, 3), "linear": (5,), "whitened": (8, 5, 5), "sphere": (4, 6, 6)}


@dataclass(frozen=True)
class Least(Block):
    """A convolution and nothing else."""

    channels: int
    rule: Rule = SoftHebb()
    lr: float = 0.1

    def build(self, shape: Sequence[int]) -> nn.Module:
        return nn.Sequential(HebbConv2d(shape[0], self.channels, 3, rule=self.rule))


@pytest.mark.parametrize("name", BLOCKS)
def test_output_shape_is_that_of_a_forward_pass(name: str) -> None:
    block, random = BLOCKS[name], torch.get_rng_state()
    assert tuple(block.output_shape(SHAPE)) == SHAPES[name]
    assert torch.equal(random, torch.get_rng_state())  # nothing was drawn
    assert block.build(SHAPE).eval()(torch.rand(1, *SHAPE)).shape[1:] == SHAPES[name]
    assert block.puts_out_maps == (len(SHAPES[name]) == 3)


def test_an_output_shape_takes_no_memory() -> None:
    assert ConvBlock(2**20, 101).output_shape((2**20, 512, 512)) == (2**20, 512, 512)  # a weight of 10^16 numbers


def test_parameter_groups() -> None:
    architecture = Architecture((3, 12, 12), (BLOCKS["conv"], BLOCKS["grouped"], BLOCKS["linear"]))
    network = architecture.build()
    found = network.learning_groups()
    weights = [network.get_parameter(f"block{number}.layer.weight") for number in (1, 2, 3)]
    assert [group["params"][0] is weight for group, weight in zip(found, weights, strict=False)] == [True] * 3
    assert found[3]["params"][0] is network.get_parameter("block3.layer.bias")
    settings = [{name: value for name, value in group.items() if name != "params"} for group in found]
    assert settings == [
        {"lr": 0.3, "power": 0.7, "groups": 1},
        {"lr": 0.01, "power": 0.5, "groups": 3},
        {"lr": 0.4, "power": 0.5, "groups": 1},
        {"lr": 0.002, "power": 0.5, "groups": 1},
    ]
    with pytest.raises(UserError, match="block1: SPHeReConvBlock learns by a local loss and has no rate of its own"):
        Architecture(SHAPE, (BLOCKS["sphere"],)).build().learning_groups()


@pytest.mark.parametrize(
    ("name", "width", "single", "synapses", "factors"),
    [
        ("conv", 6, True, True, {"lr": 10.0, "rule.inverse_temperature": 4.0, "power": 2.0}),
        ("linear", 5, False, True, {"lr": 10.0, "rule.inverse_temperature": 4.0}),
        ("whitened", 4, True, False, {"lr": 10.0, "rule.inverse_temperature": 4.0, "power": 2.0}),
        ("sphere", 4, False, False, {}),
    ],
)
def test_answers(name: str, width: int, single: bool, synapses: bool, factors: dict[str, float]) -> None:
    block = BLOCKS[name]
    assert block.width == width and block.with_width(7).width == 7
    assert (block.learns_from_single_samples, block.is_local_to_synapses) == (single, synapses)
    assert block.search_factors() == factors
    assert BLOCKS["linear"].with_settings(normalize=False).learns_from_single_samples


def test_labels() -> None:
    rules = {SoftHebb(): "SoftHebb", HardHebb(): "hard WTA", RankedHebb(): "ranked WTA", Instar(): "Instar"}
    assert {rule: BLOCKS["conv"].with_rule(rule).label for rule in rules} == rules
    assert BLOCKS["sphere"].label == "SPHeRe"


def test_narrowed_keeps_what_is_narrow() -> None:
    wide = WhitenedBlock(64, 3, project=32, components=200)
    assert wide.narrowed(16) == WhitenedBlock(16, 3, project=16, components=144)
    assert wide.narrowed(100) == wide and WhitenedBlock(4, 3).narrowed(16) == WhitenedBlock(4, 3)
    assert ConvBlock(64, 3).narrowed(16) == ConvBlock(16, 3)


def test_for_gradients() -> None:
    conv = ConvBlock(4, 3, SoftHebb(2.0, rectify=True), init="uniform", pool=Pool())
    relu: dict[str, Any] = {"activation": "relu", "init": "normal", "init_radius": 2**0.5}
    assert conv.for_gradients() == replace(conv, rule=SoftHebb(), **relu)
    assert LinearBlock(4, HardHebb()).for_gradients() == LinearBlock(4, HardHebb(), **relu)
    assert BLOCKS["sphere"].for_gradients() is BLOCKS["sphere"]
    for block in (BLOCKS["whitened"], Least(3)):
        with pytest.raises(UserError, match="has no form that learns by"):
            Architecture(SHAPE, (block,)).with_blocks(lambda block: block.for_gradients())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda block: block.with_settings(lr=1.0), "block2: SPHeReConvBlock has no setting lr"),
        (lambda block: block.with_settings(label="x"), "block1: ConvBlock has no setting label"),
        (lambda block: block.setting("build"), "block1: ConvBlock has no setting build"),
        (lambda block: block.with_rule(HardHebb()), "block2: SPHeReConvBlock does not learn by a rule that HardHebb"),
    ],
)
def test_mistakes_name_block_and_setting(change: Any, words: str) -> None:
    architecture = Architecture(SHAPE, (BLOCKS["conv"], BLOCKS["sphere"]))
    with pytest.raises(UserError, match=words):
        architecture.with_blocks(change)


def test_the_least_that_a_block_needs(tmp_path: Any) -> None:
    block = Least(4)
    architecture = Architecture(SHAPE, (block, block.with_rule(HardHebb())), taps=(Tap(1, 2), Tap(2, 1)))
    network = architecture.build().attach(LinearReadout(4 * 4 + 4, 2))
    optimizer, x = NormAdaptiveSGD(network.learning_groups()), torch.rand(5, *SHAPE)
    before = network.get_parameter("block1.0.weight").clone()
    learn(network, x)
    optimizer.step()
    assert not torch.equal(before, network.get_parameter("block1.0.weight"))
    save(network, tmp_path / "model")
    back = load(tmp_path / "model")
    assert back.architecture == architecture and torch.equal(back(x), network(x))  # type: ignore[operator]
    assert (block.label, block.narrowed(2).width, block.search_factors()["lr"]) == ("SoftHebb", 2, 10.0)
