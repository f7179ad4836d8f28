"""Receptive fields of the neurons of a block, and their pre-activations on images of that size."""

from copy import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from torchhebb.errors import UserError
from torchhebb.evaluate.methods.subsample import evenly_spaced
from torchhebb.functional.plasticity import pair
from torchhebb.nn import (
    BatchNorm,
    HebbConv2d,
    HebbLinear,
    Network,
    PatchWhitening,
    Power,
    SoftWTA,
    Standardize,
    Triangle,
    UnitNorm,
    as_local_loss,
)
from torchhebb.train.diagnostics import at_radius_1, radii

LAYERS = (HebbConv2d, HebbLinear, nn.Conv2d)
Layer = HebbConv2d | HebbLinear | nn.Conv2d

# Modules that keep every position of a map.
_POINTWISE = (BatchNorm, Standardize, Triangle, Power, SoftWTA, nn.BatchNorm2d, nn.ReLU, nn.LeakyReLU, nn.Identity)
_SLIDING = (HebbConv2d, PatchWhitening, nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


@dataclass(frozen=True)
class Field:
    """Position (i, j) of a map depends on `size` pixels from `start` + (i, j) `jump`; each is (height, width).

    A start below 0 lies in the padding.
    """

    size: tuple[int, int]
    jump: tuple[int, int]
    start: tuple[int, int]

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """The first row and column of the field of a position, which may lie outside the image."""
        return self.start[0] + row * self.jump[0], self.start[1] + column * self.jump[1]


def block_layers(network: Network) -> dict[str, Layer]:
    """The layer of every block, by the block's name, from the input up.

    Raises UserError for a block without exactly one layer.
    """
    found: dict[str, Layer] = {}
    for name, block in network.named_children():
        if name.startswith("block"):
            layers = [part for part in _parts(block) if isinstance(part, LAYERS)]
            if len(layers) != 1:
                raise UserError(f"{name} has {len(layers)} layers of its own, and neurons are those of a single layer")
            found[name] = layers[0]
    return found


def choose_blocks(network: Network, numbers: tuple[int, ...]) -> list[str]:
    """The names of the blocks with these numbers, counted from 1; of all blocks if there are none.

    Raises UserError for a number without a block.
    """
    names = list(block_layers(network))
    for number in numbers:
        if not 1 <= number <= len(names):
            raise UserError(f"blocks must be from 1 to {len(names)}, as many as the network has, got {number}")
    return [names[number - 1] for number in sorted(set(numbers))] if numbers else names


def learned_neurons(layer: Layer) -> Tensor:
    """The neurons at radius 1 (R1 features), as increasing indices."""
    return at_radius_1(layer).nonzero()[:, 0]


def choose_neurons(layer: Layer, count: int, *, learned: bool = True) -> list[int]:
    """At most `count` neurons of a layer in increasing order, evenly spaced over those at radius 1.

    If fewer than `count` are at radius 1, the neurons whose radii are nearest to 1: the weights of others still contain
    much of their initial noise.  If not `learned`, neurons are evenly spaced over all.

    >>> layer = HebbLinear(3, 9)
    >>> layer.weight[:] = torch.arange(9, 0, -1).unsqueeze(1)
    >>> choose_neurons(layer, 3), choose_neurons(layer, 3, learned=False)
    ([6, 7, 8], [0, 4, 8])
    >>> layer.weight[:5] = torch.eye(3)[[0, 1, 2, 0, 1]]
    >>> choose_neurons(layer, 3)
    [0, 2, 4]
    """
    there = learned_neurons(layer)
    if not learned:
        there = torch.arange(len(layer.weight))
    elif len(there) < count:
        there = (radii(layer) - 1).abs().argsort(stable=True)[:count].sort().values
    return there[evenly_spaced(count, len(there)).to(there.device)].tolist()


def receptive_field(network: Network, block: str, image_size: tuple[int, int]) -> Field:
    """The receptive field of the neurons of a block, from kernels, strides, dilations, pools and paddings below it.

    From the input up, a kernel of k adds (k - 1) dilation jump pixels, a padding of p moves the start by -p jump, and
    a stride multiplies the jump.  The field of fully connected neurons, and of all above a norm over whole images, is
    the whole image.  The averages that a residual adds lie inside the field of its block's body.

    Raises UserError for a module of an unknown kind.
    Source: Araujo, Norris and Sim 2019, Computing receptive fields of convolutional neural networks.
    """
    size, jump, start = [1, 1], [1, 1], [0, 0]
    for module in _path(network, block):
        if isinstance(module, UnitNorm | nn.Flatten | HebbLinear):
            return Field(image_size, (0, 0), (0, 0))
        if isinstance(module, _POINTWISE):
            continue
        kernel, stride, padding, dilation = _window(module)
        for axis in (0, 1):
            size[axis] += (kernel[axis] - 1) * dilation[axis] * jump[axis]
            start[axis] -= padding[axis] * jump[axis]
            jump[axis] *= stride[axis]
    return Field((size[0], size[1]), (jump[0], jump[1]), (start[0], start[1]))


class OnField(nn.Module):
    """Pixels of a block's receptive field (B, C, h, w) -> pre-activations (B, K) of its neurons.

    It consists of the network's modules with shared weights and without padding: for an image of the field's size,
    every map has one position.  A block whose field is the whole image keeps its padding, and its central position is
    used.  The pre-activation is linear in the layer's input, even if the layer's rule rectifies it afterwards.

    Raises UserError above a residual, which averages over the whole map.
    """

    def __init__(self, network: Network, block: str) -> None:
        super().__init__()
        path = _path(network, block)
        for name, child in network.named_children():
            if name == block:
                break
            local = as_local_loss(child)
            if local is not None and local.residual:
                raise UserError(f"{block} is above the residual of {name}, which needs whole images: choose --blocks")
        whole = any(isinstance(module, UnitNorm | nn.Flatten | HebbLinear) for module in path)
        *below, layer = path if whole else map(_unpadded, path)
        self.path = nn.Sequential(*below, unrectified(layer)).eval()

    def forward(self, x: Tensor) -> Tensor:
        u = self.path(x)
        return u if u.dim() == 2 else u[:, :, u.shape[2] // 2, u.shape[3] // 2]


def unrectified(layer: nn.Module) -> nn.Module:
    """The layer, or where its rule rectifies, one of the same weights that gives the pre-activation itself."""
    if isinstance(layer, HebbConv2d | HebbLinear) and layer.rule.rectify:
        layer = copy(layer)  # a shallow copy holds the same parameters
        layer.rule = replace(layer.rule, rectify=False)  # type: ignore[type-var]
    return layer


def _path(network: Network, block: str) -> list[nn.Module]:
    """The modules from the pixels to the pre-activations of a block, whose layer is the last; without residuals."""
    path: list[nn.Module] = []
    for name, child in network.named_children():
        if name == block:
            for part in _parts(child):
                path.append(part)
                if isinstance(part, LAYERS):
                    return path
        path += _parts(child)
    raise ValueError(f"the network has no block {block!r} with a layer")


def _parts(block: nn.Module) -> list[nn.Module]:
    local = as_local_loss(block)
    body = block if local is None else local.body
    return list(body.children()) or [body]


def _window(module: nn.Module) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Kernel, stride, padding and dilation of a module that slides over a map."""
    if isinstance(module, _SLIDING):
        stride, dilation = getattr(module, "stride", 1), getattr(module, "dilation", 1)
        return pair(module.kernel_size), pair(stride), pair(module.padding), pair(dilation)  # type: ignore[arg-type]
    raise UserError(f"the receptive field above a {type(module).__name__} is not known")


def _unpadded(module: nn.Module) -> nn.Module:
    if isinstance(module, _SLIDING):
        module = copy(module)  # a shallow copy holds the same parameters
        module.padding = 0 if isinstance(module, PatchWhitening) else (0, 0)
    return module
