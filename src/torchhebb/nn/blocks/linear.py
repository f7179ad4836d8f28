"""The fully connected block."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import nn

from torchhebb.bounds import EXPONENT, INVERSE_TEMPERATURE, POWER, RADIUS, RATE, SIZE
from torchhebb.nn.blocks.activation import HE_RADIUS, Activation, build_activation, unrectified
from torchhebb.nn.blocks.base import Block
from torchhebb.nn.flatten import Flatten
from torchhebb.nn.linear import HebbLinear
from torchhebb.nn.norm import BatchNorm
from torchhebb.nn.plastic import Init
from torchhebb.rules import Rule, SoftHebb


@dataclass(frozen=True)
class LinearBlock(Block):
    """Flatten, batch norm, fully connected layer, triangle; or, with soft_wta, the posterior of SoftHebb-2022.

    Example:
        >>> import torch
        >>> LinearBlock(20).build((1, 8, 8))(torch.rand(2, 1, 8, 8)).shape
        torch.Size([2, 20])
    """

    width_field: ClassVar[str] = "features"
    puts_out_maps: ClassVar[bool] = False

    features: int = field(metadata=SIZE)
    """Number of neurons."""
    rule: Rule = SoftHebb()
    """The learning rule of the layer."""
    power: float = field(default=1.0, metadata=POWER)
    """Power of the triangle."""
    bias: bool = False
    """Learn log priors of the neurons."""
    bias_lr: float = field(default=1e-5, metadata=RATE)
    """Learning rate of the log priors."""
    normalize: bool = True
    """Batch norm before the layer."""
    init: Init = "normal"
    """Initial weights: normal, uniform (positive), or patches (samples of the input)."""
    init_radius: float = field(default=25.0, metadata=RADIUS)
    """Radius (L2 norm) of the initial weights."""
    lr: float = field(default=0.01, metadata=RATE)
    """Learning rate under NormAdaptiveSGD."""
    lr_power: float = field(default=0.5, metadata=EXPONENT)
    """Power of the radius's distance from 1 in the learning rate; 0 for a constant rate."""
    activation: Activation = "triangle"
    """triangle, or soft_wta, the posterior; relu is for baselines that learn by gradients."""
    output_inverse_temperature: float = field(default=1.0, metadata=INVERSE_TEMPERATURE)
    """Inverse temperature of the activation soft_wta."""

    def build(self, shape: Sequence[int]) -> nn.Sequential:
        features = math.prod(shape)
        block = nn.Sequential()
        block.add_module("flatten", Flatten())
        if self.normalize:
            block.add_module("norm", BatchNorm(features))
        layer = HebbLinear(
            features, self.features, rule=self.rule, bias=self.bias, init=self.init, init_radius=self.init_radius
        )
        block.add_module("layer", layer)
        activation = build_activation(
            self.activation, power=self.power, inverse_temperature=self.output_inverse_temperature, layer=layer
        )
        block.add_module("activation", activation)
        return block

    @property
    def learns_from_single_samples(self) -> bool:
        return not self.normalize  # batch norm has one value a feature and sample, and needs two

    def for_gradients(self) -> Block:
        return replace(self, rule=unrectified(self.rule), activation="relu", init="normal", init_radius=HE_RADIUS)
