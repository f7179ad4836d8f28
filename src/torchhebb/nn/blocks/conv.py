"""The convolutional block of SoftHebb-2023."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import nn

from torchhebb.bounds import EXPONENT, INVERSE_TEMPERATURE, POWER, RADIUS, RATE, SIZE, at_least
from torchhebb.errors import UserError
from torchhebb.nn.activation import Power
from torchhebb.nn.blocks.activation import HE_RADIUS, Activation, build_activation, unrectified
from torchhebb.nn.blocks.base import Block
from torchhebb.nn.conv import HebbConv2d, PaddingMode
from torchhebb.nn.norm import BatchNorm
from torchhebb.nn.plastic import Init
from torchhebb.nn.pool import Pool
from torchhebb.rules import Rule, SoftHebb


@dataclass(frozen=True)
class ConvBlock(Block):
    """Batch norm, convolution, triangle, pool: SoftHebb-2023's block.

    Example:
        >>> import torch
        >>> from torchhebb.nn import Pool
        >>> block = ConvBlock(16, kernel_size=5, pool=Pool("max", 2, 2))
        >>> block.build((3, 8, 8))(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 16, 4, 4])
    """

    channels: int = field(metadata=SIZE)
    """Number of neurons."""
    kernel_size: int = field(metadata=SIZE)
    """Side of the kernel."""
    rule: Rule = SoftHebb()
    """The learning rule of the layer."""
    power: float = field(default=1.0, metadata=POWER)
    """Power of the triangle."""
    pool: Pool | None = None
    """Pooling after the activation; None for no pooling."""
    padding: int | None = field(default=None, metadata=at_least(0))
    """Padding on each side; None keeps the size of the maps."""
    padding_mode: PaddingMode = "reflect"
    """Padding mode."""
    stride: int = field(default=1, metadata=SIZE)
    """Stride of the kernel."""
    dilation: int = field(default=1, metadata=SIZE)
    """Spacing between the elements of the kernel."""
    groups: int = field(default=1, metadata=SIZE)
    """Groups of channels; neurons compete within their group."""
    normalize: bool = True
    """Batch norm before the layer."""
    init: Init = "normal"
    """Initial weights: normal, uniform (positive), or patches of the input."""
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
        block = nn.Sequential()
        if self.normalize:
            block.add_module("norm", BatchNorm(shape[0]))
        layer = HebbConv2d(
            shape[0],
            self.channels,
            self.kernel_size,
            stride=self.stride,
            padding=self._padding(),
            dilation=self.dilation,
            groups=self.groups,
            padding_mode=self.padding_mode,
            rule=self.rule,
            init=self.init,
            init_radius=self.init_radius,
        )
        block.add_module("layer", layer)
        late = self.activation == "triangle" and self.pool is not None and self.pool.kind == "max" and self.power != 1
        activation = build_activation(
            self.activation, power=1.0 if late else self.power, inverse_temperature=self.output_inverse_temperature
        )
        block.add_module("activation", activation)
        if self.pool is not None:
            block.add_module("pool", self.pool.build())
        if late:  # the same numbers, of fewer powers
            block.add_module("power", Power(self.power))
        return block

    def for_gradients(self) -> Block:
        return replace(self, rule=unrectified(self.rule), activation="relu", init="normal", init_radius=HE_RADIUS)

    def _padding(self) -> int:
        """On each side; raises UserError where no number keeps the size."""
        around = self.dilation * (self.kernel_size - 1)
        if self.padding is None and around % 2:
            raise UserError(
                f"kernel_size must be odd where padding keeps the size of the maps, got {self.kernel_size}: "
                "set padding to a number"
            )
        return around // 2 if self.padding is None else self.padding
