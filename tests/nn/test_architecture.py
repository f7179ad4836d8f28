"""A network as a value: what is built, in which order, from which draw."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import nn

from tests.tiny import ARCHITECTURE, digits, equal, state
from torchhebb.errors import UserError
from torchhebb.functional import triangle
from torchhebb.nn import (
    Architecture,
    BatchNorm,
    Block,
    ConvBlock,
    HebbConv2d,
    HebbLinear,
    LinearBlock,
    Network,
    Pool,
    Power,
    SoftWTA,
    Standardize,
    Triangle,
    UnitNorm,
)
from torchhebb.rules import HardHebb, SoftHebb


def test_a_block_is_norm_layer_activation_pool():
    block = ARCHITECTURE.build().block2
    assert [name for name, _ in block.named_children()] == ["norm", "layer", "activation", "pool", "power"]
    assert [type(part) for part in block] == [BatchNorm, HebbConv2d, Triangle, nn.MaxPool2d, Power]
    norm, layer, activation, pool, power = block
    assert (norm.num_features, layer.in_channels, layer.out_channels) == (4, 4, 8)
    assert layer.rule == SoftHebb(0.65) and (activation.power, power.power) == (1.0, 1.4)
    assert (pool.kernel_size, pool.stride, pool.padding) == (4, 2, 1)


@pytest.mark.parametrize("power", [0.7, 1.0, 1.4])
@pytest.mark.parametrize("pool", [Pool("max", 4, 2, 1), Pool("max", 3, 1), Pool("avg", 2, 2), None], ids=str)
def test_a_power_after_the_largest_of_a_window_is_that_before(power: float, pool: Pool | None):
    block = Architecture((3, 9, 8), (ConvBlock(6, 3, power=power, pool=pool),)).build().block1.double()
    norm, layer = block[:2]
    after = nn.Identity() if pool is None else pool.build()
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64, requires_grad=True)
    expected = after(triangle(layer.eval()(norm.eval()(x)), power))
    actual = block.eval()(x)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad((out * out.detach().sin()).sum(), x)[0] for out in (actual, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)
    assert any(isinstance(part, Power) for part in block) == (power != 1 and pool is not None and pool.kind == "max")


def test_the_network_is_its_parts():
    model = replace(ARCHITECTURE, mean=(0.5,), std=(0.25,)).build().eval()
    x = digits(4).images / 255.0
    by_hand = (x - 0.5) / 0.25
    for block in (model.block1, model.block2):
        for part in block:
            by_hand = part(by_hand)
    assert torch.equal(model(x), by_hand)
    assert model(x).shape == (4, 8, 4, 4)


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("dilation", [1, 2])
def test_padding_keeps_the_size_unless_said(kernel_size: int, dilation: int):
    block = ConvBlock(4, kernel_size, dilation=dilation)
    assert Architecture((1, 9, 9), (block,)).build()(torch.rand(2, 1, 9, 9)).shape[2:] == (9, 9)
    bare = replace(block, padding=0)
    assert Architecture((1, 9, 9), (bare,)).build()(torch.rand(2, 1, 9, 9)).shape[2] == 9 - dilation * (kernel_size - 1)


def test_options_of_a_block_reach_its_layer():
    config = ConvBlock(
        6, 3, HardHebb(), 1.0, Pool("avg", 2, 2), padding=1, padding_mode="zeros", stride=2, groups=2, normalize=False
    )
    model = Architecture((2, 8, 8), (config,)).build()
    assert [name for name, _ in model.block1.named_children()] == ["layer", "activation", "pool"]
    layer = model.block1.layer
    assert (layer.stride, layer.groups, layer.padding_mode, layer.rule) == ((2, 2), 2, "zeros", HardHebb())
    assert isinstance(model.block1.pool, nn.AvgPool2d)


def test_a_linear_block_takes_maps():
    blocks = (ConvBlock(4, 3, pool=Pool()), LinearBlock(7, bias=True), LinearBlock(3, normalize=False))
    model = Architecture((1, 8, 8), blocks).build()
    assert isinstance(model.block2.layer, HebbLinear) and model.block2.layer.in_features == 4 * 4 * 4
    assert model.block2.layer.bias is not None
    assert not hasattr(model.block3, "norm")
    assert model(torch.rand(5, 1, 8, 8)).shape == (5, 3)


def test_inputs_are_prepared_inside():
    model = Architecture((3, 4, 4), (LinearBlock(2),), (0.1, 0.2, 0.3), (1.0, 2.0, 3.0), unit_norm=True).build()
    assert [type(part) for part in list(model)[:2]] == [Standardize, UnitNorm]
    x = torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(torch.linalg.vector_norm(model[:2](x).flatten(1), dim=1), torch.ones(2))


def test_the_seed_decides_everything():
    torch.manual_seed(0)
    one = state(ARCHITECTURE.build(4))
    torch.manual_seed(1)
    assert equal(one, state(ARCHITECTURE.build(4)))
    assert not equal(one, state(ARCHITECTURE.build(5)))


def test_what_is_built_is_ready_to_learn_and_has_learned_nothing():
    model = ARCHITECTURE.build()
    assert model.training and all(module.training for module in model.modules())
    assert torch.equal(model.block1.norm.running_mean, torch.zeros(1)), "the size is found without learning statistics"
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_weights_start_near_the_initial_radius():
    model = Architecture((4, 8, 8), (ConvBlock(300, 5, init_radius=7.0),)).build()
    radius = torch.linalg.vector_norm(model.block1.layer.weight.flatten(1), dim=1)
    # A chi distribution with 100 degrees of freedom: mean within 0.3 %, spread 7 %, over 300 neurons.
    assert math.isclose(radius.mean().item(), 7.0, rel_tol=0.02)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kernel_size": -3}, "kernel_size must be at least 1, got -3"),
        ({"channels": 0}, "channels must be at least 1, got 0"),
        ({"groups": 3}, "groups must divide"),
        ({"kernel_size": 99}, "must fit"),
        ({"activation": "softwta"}, "activation must be one of triangle, relu, soft_wta, got 'softwta'"),
    ],
)
def test_what_cannot_be_built_is_said(change: dict[str, Any], words: str):
    with pytest.raises(ValueError, match=words):
        Architecture((1, 8, 8), (replace(ConvBlock(4, 3), **change),)).build()


def test_the_posterior_as_output_shares_the_log_prior_of_its_layer():
    block = LinearBlock(5, SoftHebb(4.0, anti_hebbian=False), bias=True, normalize=False, activation="soft_wta")
    model = Architecture((1, 8, 8), (replace(block, output_inverse_temperature=4.0),), unit_norm=True).build()
    layer, wta = model.block1.layer, model.block1.activation
    assert isinstance(wta, SoftWTA) and layer.bias is not None
    assert "block1.layer.bias" in state(model) and "block1.activation.bias" not in state(model)
    x = digits(6).images / 255.0
    for net in (model, copy.deepcopy(model).double()):
        with torch.no_grad():
            net.block1.layer.bias.copy_(torch.linspace(-2, -1, 5))
        unit = torch.nn.functional.normalize(x.to(net.block1.layer.weight.dtype).flatten(1), dim=1)
        logits = 4 * (net.block1.layer(unit) + net.block1.layer.bias)
        assert torch.allclose(net(x.to(unit.dtype)), logits.softmax(1))
    assert layer.bias is wta.bias


def test_the_log_prior_has_one_owner() -> None:
    """What replaces the layer's bias, in place or not, is what the posterior is computed with."""
    network = Architecture((1, 2, 2), (LinearBlock(3, bias=True, normalize=False, activation="soft_wta"),)).build()
    x = torch.rand(5, 1, 2, 2)
    state = network.state_dict()
    state["block1.layer.bias"] = torch.tensor([9.0, 0.0, 0.0])
    swapped = torch.func.functional_call(network, state, (x,))
    network.load_state_dict(state, assign=True)
    assert torch.equal(network(x), swapped)
    by_hand = (x.flatten(1) @ network.block1.layer.weight.T + state["block1.layer.bias"]).softmax(1)
    assert torch.allclose(swapped, by_hand)
    other = copy.deepcopy(network)
    other.block1.layer.bias.zero_()
    assert torch.equal(network(x), swapped) and not torch.equal(other(x), swapped)


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5])
def test_padding_that_is_not_given_keeps_the_size(kernel_size: int, dilation: int) -> None:
    block = ConvBlock(4, kernel_size, dilation=dilation)
    if dilation * (kernel_size - 1) % 2:
        with pytest.raises(UserError, match=f"kernel_size must be odd .* got {kernel_size}: set padding"):
            block.build((2, 8, 8))
        assert block.with_settings(padding=1).output_shape((2, 8, 8))[0] == 4
    else:
        assert block.output_shape((2, 8, 8)) == (4, 8, 8)


def test_a_power_of_negative_maps_keeps_their_sign():
    maps = torch.tensor([[[[-4.0]], [[0.0]], [[9.0]]]])
    network = Network({"block1": nn.Identity()}, taps={"block1": 1}, tap_power=0.5)
    assert network(maps).tolist() == [[-2.0, 0.0, 3.0]]


def test_a_network_beyond_the_memory_is_refused_before_any_is_taken():
    wide = Architecture((3, 8, 8), (ConvBlock(2**30, 7),))
    with pytest.raises(UserError, match=r"the network needs 631.4 GB of memory for its weights and .* GB are free"):
        wide.build()
    with torch.device("meta"):
        assert wide.build().get_submodule("block1.layer").weight.shape[0] == 2**30


@dataclass(frozen=True)
class Counted(Block):
    """A block that counts how often it is built."""

    note: Any = ()

    def build(self, shape: Sequence[int]) -> nn.Module:
        BUILT.append(tuple(shape))
        if self.note == "no":
            raise UserError("not like this")
        return HebbConv2d(shape[0], 4, 3)


BUILT: list[tuple[int, ...]] = []


def test_shapes_and_sizes_of_a_block_are_found_once():
    architecture = Architecture((1, 8, 8), (Counted(), Counted()))
    first = architecture.build()
    BUILT.clear()
    second = architecture.build()
    assert BUILT == [(1, 8, 8), (4, 6, 6)]  # the modules themselves, and nothing that only asks for a shape
    assert first[0] is not second[0] and architecture.output_shape() == (4, 4, 4)
    assert Counted().state_bytes((1, 8, 8)) == 4 * 4 * 9
    assert Counted(note=[1]).output_shape((1, 8, 8)) == (4, 6, 6), "of what cannot be hashed too"
    for _ in range(2):
        with pytest.raises(UserError, match="not like this"):
            Counted(note="no").output_shape((1, 8, 8))
