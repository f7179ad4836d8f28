"""Algorithms that compute u and the statistic of a convolutional layer: torch's, patches, Winograd.

All give the same numbers up to rounding; which one is fastest depends on the shapes and the processor.  A run measures
that for its layers, see `torchhebb.train.numerics`; elsewhere the limits below decide.  One is created for each batch,
from the padded input, so that u and the statistic can share what is computed from the input.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from torchhebb.functional import conv2d_statistic
from torchhebb.ops.products import linear, statistic
from torchhebb.ops.winograd import (
    WinogradTiles,
    winograd_conv2d,
    winograd_statistic,
    winograd_tiles,
)

AlgorithmName = Literal["winograd", "patches", "torch"]

PATCHES_BYTES = 32 << 20

# Limits within which Winograd's transforms take less time than they save, on a CPU.
WINOGRAD_CHANNELS = 32
WINOGRAD_OUTPUTS = 256  # over the batch: the transform of the weights costs as much as a few of them
WINOGRAD_SAVES = 0.6  # it must leave at most this fraction of the multiplications


@dataclass(frozen=True)
class Geometry:
    """Stride, dilation and groups of a convolution."""

    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    def output_size(self, x: Tensor) -> tuple[int, int]:
        """H', W' of an input that is padded already."""
        sides = zip(x.shape[2:], self.kernel_size, self.stride, self.dilation, strict=True)
        height, width = ((side - dilation * (kernel - 1) - 1) // stride + 1 for side, kernel, stride, dilation in sides)
        return height, width


class ConvAlgorithm(Protocol):
    """From weights (out, in / groups, kh, kw) to u, and from y to scale * S, a tensor of its own."""

    def convolve(self, weight: Tensor) -> Tensor: ...
    def statistic(self, y: Tensor, scale: float = 1.0) -> Tensor: ...


@dataclass(frozen=True)
class Convolution:
    """torch's convolution and its weight gradient: any geometry, any device, differentiable."""

    x: Tensor
    geometry: Geometry

    def convolve(self, weight: Tensor) -> Tensor:
        g = self.geometry
        return F.conv2d(self.x, weight, stride=g.stride, dilation=g.dilation, groups=g.groups)

    def statistic(self, y: Tensor, scale: float = 1.0) -> Tensor:
        g = self.geometry
        x = self.x.to(y.dtype)
        sums = conv2d_statistic(x, y, g.kernel_size, stride=g.stride, dilation=g.dilation, groups=g.groups)
        return sums.mul_(scale)


@dataclass(frozen=True)
class Patches:
    """One matrix product with the patches of the input (B, H', W', kh kw in)."""

    values: Tensor
    geometry: Geometry

    @classmethod
    def of(cls, x: Tensor, weight: Tensor, geometry: Geometry) -> "Patches | None":
        """When it is faster than a convolution: on a CPU, if the patches take little memory."""
        if x.device.type != "cpu" or geometry.groups > 1:
            return None
        (kh, kw), (sh, sw), (dh, dw) = geometry.kernel_size, geometry.stride, geometry.dilation
        height, width = geometry.output_size(x)
        if len(x) * height * width * weight[0].numel() * x.element_size() > PATCHES_BYTES:
            return None
        x = x.contiguous(memory_format=torch.channels_last)
        b, c, h, w = x.stride()
        windows = x.as_strided((len(x), height, width, kh, kw, x.shape[1]), (b, h * sh, w * sw, h * dh, w * dw, c))
        return cls(windows.flatten(3), geometry)

    def convolve(self, weight: Tensor) -> Tensor:
        return linear(self.values, weight.permute(0, 2, 3, 1).flatten(1)).permute(0, 3, 1, 2)

    def statistic(self, y: Tensor, scale: float = 1.0) -> Tensor:
        flat = statistic(self.values.flatten(0, 2).to(y.dtype), y.permute(0, 2, 3, 1).flatten(0, 2), scale=scale)
        kh, kw = self.geometry.kernel_size
        return flat.view(len(flat), kh, kw, -1).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Winograd:
    """Winograd's minimal filtering: a quarter of the multiplications, or a little less than half."""

    tiles: WinogradTiles

    @classmethod
    def of(cls, x: Tensor, weight: Tensor, geometry: Geometry) -> "Winograd | None":
        """When it is faster: on a CPU, in full precision, with dense 3 x 3 kernels, many channels and enough tiles."""
        moves = geometry.kernel_size == (3, 3) and geometry.stride == geometry.dilation == (1, 1)
        full = x.dtype == weight.dtype and x.dtype in (torch.float32, torch.float64)
        if x.device.type != "cpu" or not moves or not full or torch.is_autocast_enabled("cpu"):
            return None
        if geometry.groups > 1 or min(weight.shape[:2]) < WINOGRAD_CHANNELS or torch.compiler.is_compiling():
            return None
        if tile := best_tile(len(x), geometry.output_size(x)):
            return cls(winograd_tiles(x, 3, tile))
        return None

    def convolve(self, weight: Tensor) -> Tensor:
        return winograd_conv2d(self.tiles, weight)

    def statistic(self, y: Tensor, scale: float = 1.0) -> Tensor:
        return winograd_statistic(self.tiles, y, scale)


def best_tile(batch: int, size: tuple[int, int]) -> int | None:
    """The tile, 4 or 2, that leaves the fewest multiplications of a 3 x 3 kernel over outputs of this size, or None.

    >>> best_tile(10, (8, 8)), best_tile(10, (6, 6)), best_tile(10, (3, 3)), best_tile(1, (8, 8))
    (4, 4, None, None)
    """
    if batch * size[0] * size[1] < WINOGRAD_OUTPUTS:
        return None
    left = {}
    for tile in (4, 2):
        tiles = -(-size[0] // tile) * -(-size[1] // tile)
        share = tiles * (tile + 2) ** 2 / (9 * size[0] * size[1])
        if share <= WINOGRAD_SAVES:
            left[tile] = share
    return min(left, key=left.__getitem__) if left else None


_chosen: Mapping[str, AlgorithmName] = {}  # of the process: blocks learn in several threads


@contextmanager
def convolutions_by(chosen: Mapping[str, AlgorithmName]) -> Iterator[None]:
    """Within it, in all threads, layers learn by the algorithm of their `shapes`; others, and batches that their
    algorithm cannot take, by the limits of this file."""
    global _chosen
    before, _chosen = _chosen, chosen
    try:
        yield
    finally:
        _chosen = before


def shapes(x: Tensor, weight: Tensor) -> str:
    """What a layer's algorithm is chosen by: the weights, and the sides of its padded input.

    >>> shapes(torch.zeros(10, 3, 36, 36), torch.zeros(96, 3, 5, 5))
    '96x3x5x5 over 36x36'
    """
    return f"{'x'.join(map(str, weight.shape))} over {x.shape[2]}x{x.shape[3]}"


def possible(x: Tensor, weight: Tensor, geometry: Geometry) -> list[AlgorithmName]:
    """The algorithms worth measuring on a batch, the one that `select_algorithm` would take by itself first.

    >>> possible(torch.zeros(10, 3, 36, 36), torch.zeros(96, 3, 5, 5), Geometry((5, 5), (1, 1), (1, 1), 1))
    ['patches', 'torch']
    """
    return [name for name in _ORDER if _create(name, x, weight, geometry) is not None]


def select_algorithm(x: Tensor, weight: Tensor, geometry: Geometry) -> ConvAlgorithm:
    """The algorithm for u and the statistic: the chosen one, or else the one that is expected to be fastest."""
    chosen = _chosen.get(shapes(x, weight)) if _chosen else None
    for name in _ORDER if chosen is None else (chosen, *_ORDER):
        if (algorithm := _create(name, x, weight, geometry)) is not None:
            return algorithm
    raise AssertionError("torch's convolution takes every batch")


def select_forward_algorithm(x: Tensor, weight: Tensor, geometry: Geometry) -> ConvAlgorithm:
    """The fastest algorithm for u that is differentiable if a gradient is needed."""
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        return Convolution(x, geometry)
    return Winograd.of(x, weight, geometry) or Convolution(x, geometry)


_ORDER: tuple[AlgorithmName, ...] = ("winograd", "patches", "torch")


def _create(name: AlgorithmName, x: Tensor, weight: Tensor, geometry: Geometry) -> ConvAlgorithm | None:
    """An algorithm for a batch, or None."""
    match name:
        case "winograd":
            return Winograd.of(x, weight, geometry)
        case "patches":
            return Patches.of(x, weight, geometry)
        case "torch":
            return Convolution(x, geometry)
