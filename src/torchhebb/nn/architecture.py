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
class Architecture:
    """Pixels in [0, 1] of `input_shape` (C, H, W), what is done to them, and the blocks they pass."""

    input_shape: tuple[int, int, int]
    blocks: tuple[ConvBlock | LinearBlock | LocalConvBlock, ...]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    unit_norm: bool = False
    feature_pool: int | None = None  # the last maps, averaged to this height and width, are the features

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
        network = Network(modules)
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
