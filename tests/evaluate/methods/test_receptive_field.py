"""Receptive fields: sizes of the papers' networks, what gradients reach, and patches against whole images."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchhebb.errors import UserError
from torchhebb.evaluate.methods.receptive_field import (
    Field,
    OnField,
    block_layers,
    choose_blocks,
    choose_neurons,
    learned_neurons,
    receptive_field,
    unrectified,
)
from torchhebb.nn import Architecture, ConvBlock, HebbConv2d, LinearBlock, Network, Pool, SPHeReConvBlock, WhitenedBlock
from torchhebb.recipes import get_recipe
from torchhebb.rules import SoftHebb

MAX, AVG = Pool("max", 4, 2, 1), Pool("avg", 4, 2, 1)
RECTIFIED = SoftHebb(0.65, rectify=True)
NETWORKS = {
    "paper": (ConvBlock(4, 5, pool=MAX, power=0.7), ConvBlock(5, 3, pool=MAX, power=1.4), ConvBlock(6, 3)),
    "rectified": (ConvBlock(4, 5, pool=AVG), ConvBlock(5, 3, RECTIFIED, pool=MAX), ConvBlock(6, 3, RECTIFIED)),
    "strides": (
        ConvBlock(4, 3, stride=2, padding=0),
        ConvBlock(5, 3, dilation=2, padding_mode="zeros"),
        ConvBlock(6, 1),
    ),
    "odd pool": (ConvBlock(4, 3, pool=Pool("avg", 3, 2)), ConvBlock(6, 5, groups=2, pool=AVG), ConvBlock(6, 3)),
    "whitened": (WhitenedBlock(4, 5, pool=MAX), WhitenedBlock(5, 3, project=3, padding=1, pool=AVG), ConvBlock(6, 3)),
    "local": (SPHeReConvBlock(4), SPHeReConvBlock(6, pool=None), SPHeReConvBlock(8, residual=True)),
}


def built(blocks: tuple, size: int = 40, **more: object) -> Network:
    """A network in float64 whose norms are not trivial."""
    network = Architecture((3, size, size), blocks, **more).build(1).double()  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if hasattr(module, "running_var"):
            module.running_mean.uniform_(-0.5, 0.5, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return network.eval()


def own_map(network: Network, block: str, x: Tensor) -> Tensor:
    """The pre-activations of a block on whole images: what enters its layer, convolved as torch does it."""
    layer, entered = block_layers(network)[block], []
    handle = layer.register_forward_pre_hook(lambda _module, inputs: entered.append(inputs[0]))
    network(x)
    handle.remove()
    if not isinstance(layer, HebbConv2d):
        return layer(entered[0])
    (height, width), mode = layer.padding, layer.padding_mode
    padded = F.pad(entered[0], (width, width, height, height), mode="constant" if mode == "zeros" else mode)
    return F.conv2d(padded, layer.weight, None, layer.stride, 0, layer.dilation, layer.groups)


@pytest.mark.parametrize(
    ("recipe", "fields"),
    [
        ("softhebb2023-cifar10", [(5, 1, -2), (12, 2, -5), (26, 4, -11)]),
        ("softhebb2023-digits", [(3, 1, -1), (5, 1, -2)]),
    ],
)
def test_the_fields_of_the_papers_networks(recipe: str, fields: list[tuple[int, int, int]]) -> None:
    architecture = get_recipe(recipe).architecture
    network, size = architecture.build(), architecture.input_shape[1:]
    found = [receptive_field(network, name, size) for name in block_layers(network)]
    assert found == [Field((size,) * 2, (jump,) * 2, (start,) * 2) for size, jump, start in fields]


@pytest.mark.parametrize("blocks", NETWORKS.values(), ids=NETWORKS)
def test_gradients_reach_the_field_and_nothing_else(blocks: tuple) -> None:
    network = built(blocks)
    x = torch.rand(24, 3, 40, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    for block in block_layers(network):
        u = own_map(network, block, x)
        row, column = u.shape[2] // 2, u.shape[3] // 2 - 1
        (slope,) = torch.autograd.grad(u[:, :, row, column].square().sum(), x)
        field = receptive_field(network, block, (40, 40))
        reached = slope.abs().sum((0, 1)) > 0
        rows, columns = reached.any(1).nonzero()[:, 0], reached.any(0).nonzero()[:, 0]
        assert (int(rows[0]), int(columns[0])) == field.corner(row, column)
        assert (int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1) == field.size


@pytest.mark.parametrize("blocks", NETWORKS.values(), ids=NETWORKS)
def test_a_patch_alone_gives_what_the_whole_image_gives_inside(blocks: tuple) -> None:
    network = built(blocks)
    x = torch.rand(2, 3, 40, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    for block in block_layers(network):
        u, field, unit = own_map(network, block, x), receptive_field(network, block, (40, 40)), OnField(network, block)
        compared = 0
        for row in range(u.shape[2]):
            top, left = field.corner(row, row)
            if min(top, left) >= 0 and max(top + field.size[0], left + field.size[1]) <= 40:
                patch = x[:, :, top : top + field.size[0], left : left + field.size[1]]
                torch.testing.assert_close(unit(patch), u[:, :, row, row], rtol=1e-9, atol=1e-9)
                compared += 1
        assert compared > 1, block


def test_the_network_keeps_its_padding_and_its_rule() -> None:
    network = built(NETWORKS["rectified"])
    before = str(network)
    unit = OnField(network, "block2")
    assert str(network) == before and network.block2.layer.padding == (1, 1)
    assert unit.path[-1].weight is network.block2.layer.weight
    assert unrectified(network.block1.layer) is network.block1.layer


def test_neurons_that_see_whole_images() -> None:
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    network = built((ConvBlock(4, 3), LinearBlock(5), LinearBlock(6)), 8)
    for block in ("block2", "block3"):
        assert receptive_field(network, block, (8, 8)) == Field((8, 8), (0, 0), (0, 0))
        torch.testing.assert_close(OnField(network, block)(x), own_map(network, block, x))
    network = built((ConvBlock(4, 3),), 8, unit_norm=True)
    assert receptive_field(network, "block1", (8, 8)).size == (8, 8)
    torch.testing.assert_close(OnField(network, "block1")(x), own_map(network, "block1", x)[:, :, 4, 4])


def test_what_cannot_be_told_is_said() -> None:
    network = built((SPHeReConvBlock(4, residual=True), SPHeReConvBlock(6)))
    OnField(network, "block1")
    with pytest.raises(UserError, match="block2 is above the residual of block1, which needs whole images"):
        OnField(network, "block2")
    network.block1.body.add_module("strange", nn.Softmax2d())
    with pytest.raises(UserError, match="the receptive field above a Softmax2d is not known"):
        receptive_field(network, "block2", (40, 40))
    with pytest.raises(UserError, match="block1 has 2 layers"):
        block_layers(Network({"block1": nn.Sequential(HebbConv2d(3, 4, 3), HebbConv2d(4, 4, 3))}))


def test_blocks_and_neurons_are_chosen_evenly() -> None:
    network = built(NETWORKS["paper"])
    assert choose_blocks(network, ()) == ["block1", "block2", "block3"]
    assert choose_blocks(network, (3, 1)) == ["block1", "block3"]
    with pytest.raises(UserError, match="blocks must be from 1 to 3, as many as the network has, got 4"):
        choose_blocks(network, (1, 4))
    layer = HebbConv2d(3, 10, 1)
    assert choose_neurons(layer, 99) == choose_neurons(layer, 99, learned=False) == list(range(10))
    layer.weight[[1, 2, 7]] = torch.tensor([0.6, 0.0, 0.8]).view(3, 1, 1) * torch.tensor([1.0, 1.009, 0.991]).view(
        3, 1, 1, 1
    )
    layer.weight[4] = layer.weight[1] * 1.011
    assert choose_neurons(layer, 3) == [1, 2, 7] and choose_neurons(layer, 2) == [1, 7]
    assert choose_neurons(layer, 4) == [1, 2, 4, 7] and choose_neurons(layer, 4, learned=False) == [0, 3, 6, 9]
    assert learned_neurons(layer).tolist() == [1, 2, 7]
