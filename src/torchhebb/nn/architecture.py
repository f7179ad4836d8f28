"""A network as a value: frozen dataclasses that say what is built and how fast each block learns."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from torchhebb.errors import UserError
from torchhebb.nn.activation import Power, SoftWTA, Triangle
from torchhebb.nn.conv import HebbConv2d, PaddingMode
from torchhebb.nn.linear import HebbLinear
from torchhebb.nn.network import Network
from torchhebb.nn.norm import BatchNorm, Standardize, UnitNorm
from torchhebb.nn.plastic import Init
from torchhebb.nn.pool import Pool
from torchhebb.nn.sphere import LocalConvBlock
from torchhebb.nn.whiten import PatchWhitening
from torchhebb.rules import Rule, SoftHebb

Activation = Literal["triangle", "relu", "soft_wta"]


@dataclass(frozen=True)
class ConvBlock:
    """Batch norm, convolution, triangle, pool: SoftHebb-2023's block."""

    channels: int
    kernel_size: int
    rule: Rule = SoftHebb()
    power: float = 1.0  # of the triangle
    pool: Pool | None = None
    padding: int | None = None  # None keeps the size of the image
    padding_mode: PaddingMode = "reflect"
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    normalize: bool = True
    init: Init = "normal"
    init_radius: float = 25.0
    lr: float = 0.01
    lr_power: float = 0.5
    activation: Activation = "triangle"  # relu is for baselines that learn by gradients
    output_inverse_temperature: float = 1.0  # of soft_wta, the posterior, as activation

    def build(self, shape: Sequence[int]) -> nn.Sequential:
        padding = self.dilation * (self.kernel_size // 2) if self.padding is None else self.padding
        block = nn.Sequential()
        if self.normalize:
            block.add_module("norm", BatchNorm(shape[0]))
        layer = HebbConv2d(
            shape[0],
            self.channels,
            self.kernel_size,
            stride=self.stride,
            padding=padding,
            dilation=self.dilation,
            groups=self.groups,
            padding_mode=self.padding_mode,
            rule=self.rule,
            init=self.init,
            init_radius=self.init_radius,
        )
        block.add_module("layer", layer)
        late = self.activation == "triangle" and self.pool is not None and self.pool.kind == "max" and self.power != 1
        block.add_module("activation", Triangle() if late else _activation(self))
        if self.pool is not None:
            block.add_module("pool", self.pool.build())
        if late:  # the same numbers, of fewer powers
            block.add_module("power", Power(self.power))
        return block


@dataclass(frozen=True)
class LinearBlock:
    """Flatten, batch norm, fully connected layer, triangle; or, with soft_wta, the posterior of SoftHebb-2022."""

    features: int
    rule: Rule = SoftHebb()
    power: float = 1.0
    bias: bool = False  # log priors, learned at their own rate
    bias_lr: float = 1e-5
    normalize: bool = True
    init: Init = "normal"
    init_radius: float = 25.0
    lr: float = 0.01
    lr_power: float = 0.5
    activation: Activation = "triangle"  # relu is for baselines that learn by gradients
    output_inverse_temperature: float = 1.0  # of soft_wta, the posterior, as activation

    def build(self, shape: Sequence[int]) -> nn.Sequential:
        features = math.prod(shape)
        block = nn.Sequential()
        block.add_module("flatten", nn.Flatten())
        if self.normalize:
            block.add_module("norm", BatchNorm(features))
        layer = HebbLinear(
            features, self.features, rule=self.rule, bias=self.bias, init=self.init, init_radius=self.init_radius
        )
        block.add_module("layer", layer)
        block.add_module("activation", _activation(self, layer.bias))
        return block


@dataclass(frozen=True)
class WhitenedBlock:
    """Whitened patches on the unit sphere, neurons that compete for them, triangle, pool.

    The patches' whitening and the neurons' first weights, patches themselves, come from samples of the block's own
    input (`prepare`).  `project` puts a projection of the channels on their principal components before it.
    """

    channels: int
    kernel_size: int
    rule: Rule = SoftHebb(150.0, anti_hebbian=False)
    power: float = 1.0  # of the triangle
    threshold: float = 0.0  # of the triangle, in standard deviations over the neurons
    split: bool = False  # the triangle has a second half, for what lies below the mean: twice as many maps
    pool: Pool | None = None
    padding: int = 0
    project: int | None = None
    components: int | None = None
    shrinkage: float = 0.1
    floor: float = 0.0
    remove_mean: bool = True
    lateral: bool = False  # the whitening is learned by an anti-Hebbian rule
    init: Init = "samples"
    init_radius: float = 1.0
    lr: float = 0.01
    lr_power: float = 0.0  # at the radius 1 a norm-adaptive rate would be zero

    def build(self, shape: Sequence[int]) -> nn.Sequential:
        block = nn.Sequential()
        channels = shape[0]
        if self.project is not None:
            block.add_module(
                "project",
                PatchWhitening(channels, 1, components=self.project, shrinkage=0.0, floor=None, remove_mean=False),
            )
            channels = self.project
        whiten = PatchWhitening(
            channels,
            self.kernel_size,
            components=self.components,
            shrinkage=self.shrinkage,
            floor=self.floor,
            remove_mean=self.remove_mean,
            padding=self.padding,
            lateral=self.lateral,
        )
        block.add_module("whiten", whiten)
        layer = HebbConv2d(
            whiten.out_channels, self.channels, 1, rule=self.rule, init=self.init, init_radius=self.init_radius
        )
        block.add_module("layer", layer)
        block.add_module("activation", Triangle(self.power, threshold=self.threshold, split=self.split))
        if self.pool is not None:
            block.add_module("pool", self.pool.build())
        return block


Block = ConvBlock | LinearBlock | LocalConvBlock | WhitenedBlock


@dataclass(frozen=True)
class Read:
    """The maps that a block puts out, averaged to `pool` x `pool`, as a part of the features."""

    block: int
    pool: int

    def __post_init__(self) -> None:
        if self.pool < 1:
            raise UserError(f"pool must be at least 1, got {self.pool}")


@dataclass(frozen=True)
class Architecture:
    """Pixels in [0, 1] of `input_shape` (C, H, W), what is done to them, and the blocks they pass."""

    input_shape: tuple[int, int, int]
    blocks: tuple[Block, ...]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    unit_norm: bool = False
    feature_pool: int | None = None  # the last maps, averaged to this height and width, are the features
    read: tuple[Read, ...] = ()  # in place of the last block's output: maps of several depths, side by side
    read_power: float = 1.0  # of what is read: below 1, large sums weigh less, as counts do under a root
    mirror: bool = False  # features are the mean of those of an image and of its mirror image

    def __post_init__(self) -> None:
        depths = [read.block for read in self.read]
        if len({*depths}) < len(depths) or not all(1 <= depth <= len(self.blocks) for depth in depths):
            raise UserError(f"read must name blocks from 1 to {len(self.blocks)}, each once, got {depths}")
        if flat := [depth for depth in depths if isinstance(self.blocks[depth - 1], LinearBlock)]:
            raise UserError(f"read must name blocks that put out maps, got {flat}, which are linear")
        if self.read_power <= 0 or (self.read_power != 1 and not self.read):
            raise UserError(f"read_power must be positive, and 1 where read is empty, got {self.read_power}")
        if self.read and self.feature_pool is not None:
            raise UserError("feature_pool is for the last block alone: give its pool to read instead")

    def build(self, seed: int = 0) -> Network:
        """The network, its weights drawn from `seed`: the same on every machine and device."""
        modules: dict[str, nn.Module] = {}
        if self.mean is not None and self.std is not None:
            modules["standardize"] = Standardize(self.mean, self.std)
        if self.unit_norm:
            modules["unit_norm"] = UnitNorm()
        shape = torch.Size(self.input_shape)
        for number, config in enumerate(self.blocks, 1):
            block = config.build(shape)
            with torch.no_grad():
                shape = block.eval()(torch.zeros(1, *shape)).shape[1:]
            modules[f"block{number}"] = block.train()
        if self.feature_pool is not None:
            modules["feature_pool"] = nn.AdaptiveAvgPool2d(self.feature_pool)
        network = Network(
            modules,
            read={f"block{read.block}": read.pool for read in self.read},
            read_power=self.read_power,
            mirror=self.mirror,
        )
        network.architecture = self
        network.reset_parameters(torch.Generator().manual_seed(seed))
        return network


def _activation(block: ConvBlock | LinearBlock, bias: nn.Parameter | None = None) -> nn.Module:
    match block.activation:
        case "relu":
            return nn.ReLU()
        case "soft_wta":
            return SoftWTA(block.output_inverse_temperature, bias=bias)
        case "triangle":
            return Triangle(block.power)
        case other:
            raise UserError(f"activation must be triangle, relu or soft_wta, got {other!r}")
