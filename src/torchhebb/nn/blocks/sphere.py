"""The block of SPHeRe: a convolution that learns to keep similarities between inputs in few dimensions."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from torchhebb.bounds import RATE, SIZE, Checked
from torchhebb.errors import UserError
from torchhebb.functional import orthogonality_loss, structure_loss
from torchhebb.nn.blocks.base import Block
from torchhebb.nn.blocks.local import LocalLossBlock
from torchhebb.nn.norm import BatchNorm2d
from torchhebb.nn.plastic import allocatable, positive
from torchhebb.nn.pool import Pool
from torchhebb.nn.shapes import check_maps

MAX_POOL = Pool("max", kernel_size=4, stride=2, padding=1)


@dataclass(frozen=True)
class SPHeReLoss(Checked):
    """structure * structure_loss(x, p) + orthogonality * orthogonality_loss(p); a term of weight 0 is not computed.

    Raises UserError for a negative weight, or if both are 0.
    Source: SPHeRe-2025; its weights are 1 and 0.8.
    """

    structure: float = field(default=1.0, metadata=RATE)
    orthogonality: float = field(default=0.8, metadata=RATE)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.structure == self.orthogonality == 0:
            raise UserError("one of structure and orthogonality must be above 0, got 0 for both")

    def __call__(self, x: Tensor, p: Tensor) -> Tensor:
        if self.orthogonality == 0:
            return self.structure * structure_loss(x, p)
        orthogonality = self.orthogonality * orthogonality_loss(p)
        return orthogonality if self.structure == 0 else self.structure * structure_loss(x, p) + orthogonality


class SPHeReBlock(LocalLossBlock):
    """Convolution with bias, 3x3 by default, batch norm, leaky relu, pool; the loss on a projection to few dimensions.

    The auxiliary: convolution 1x1 to half of the channels, batch norm, relu, average over space, linear.

    Args: orthogonality and structure, the weights of the loss' terms; projection, its dimensions; residual, whether the
    input, zero-padded in channels and averaged over space, is added to the output after the loss was taken.
    Returns: from x (B, in_channels, H, W), (B, out_channels, H', W') as `pool` makes of H x W; None does not pool.
    Raises ValueError for sizes that are not positive, an even kernel_size, a negative slope below 0, or a residual to
    fewer channels.
    Source: SPHeRe-2025, its released code's block.

    >>> import torch
    >>> block = SPHeReBlock(3, 8, projection=16)
    >>> block.learn(torch.rand(4, 3, 32, 32)).shape, block.body.conv.weight.grad.shape
    (torch.Size([4, 8, 16, 16]), torch.Size([8, 3, 3, 3]))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        projection: int = 256,
        orthogonality: float = 0.8,
        residual: bool = False,
        structure: float = 1.0,
        negative_slope: float = 0.2,
        kernel_size: int = 3,
        pool: Pool | None = MAX_POOL,
    ) -> None:
        positive(in_channels=in_channels, out_channels=out_channels, projection=projection, kernel_size=kernel_size)
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, so that maps keep their size, got {kernel_size}")
        if negative_slope < 0:
            raise ValueError(f"negative_slope must not be negative, got {negative_slope}")
        if residual and out_channels < in_channels:
            raise ValueError(f"a residual needs out_channels of at least {in_channels}, got {out_channels}")
        allocatable(out_channels, in_channels, kernel_size, kernel_size)
        body = nn.Sequential()
        body.add_module("conv", nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2))
        body.add_module("norm", BatchNorm2d(out_channels))
        body.add_module("activation", nn.LeakyReLU(negative_slope, inplace=True))
        if pool is not None:
            body.add_module("pool", pool.build())
        half = max(1, out_channels // 2)
        auxiliary = nn.Sequential(
            nn.Conv2d(out_channels, half, 1),
            BatchNorm2d(half),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(half, projection),
        )
        super().__init__(body, auxiliary, SPHeReLoss(structure, orthogonality), residual=residual)
        self.in_channels = in_channels

    def forward(self, x: Tensor) -> Tensor:
        check_maps(x, self.in_channels)
        return super().forward(x)

    def learn(self, x: Tensor) -> Tensor:
        check_maps(x, self.in_channels)
        return super().learn(x)


@dataclass(frozen=True)
class SPHeReConvBlock(Block):
    """Convolution, batch norm, leaky relu, pool, trained by a local loss: SPHeRe-2025's block.

    It has no learning rate: such blocks learn by `Learning(optimizer=AdamW(...))`.

    Example:
        >>> import torch
        >>> SPHeReConvBlock(16, projection=32).build((3, 8, 8))(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 16, 4, 4])
    """

    has_local_loss: ClassVar[bool] = True

    channels: int = field(metadata=SIZE)
    """Number of channels."""
    projection: int = field(default=256, metadata=SIZE)
    """Dimensions of the projection from which the loss is computed."""
    structure: float = field(default=1.0, metadata=RATE)
    """Weight of the structure loss."""
    orthogonality: float = field(default=0.8, metadata=RATE)
    """Weight of the orthogonality loss."""
    residual: bool = False
    """Add the input to the output, after the loss is computed."""
    negative_slope: float = field(default=0.2, metadata=RATE)
    """Slope of the leaky relu below zero."""
    kernel_size: int = field(default=3, metadata=SIZE)
    """Side of the kernel."""
    pool: Pool | None = MAX_POOL
    """Pooling after the activation; None for no pooling."""

    def __post_init__(self) -> None:
        super().__post_init__()
        SPHeReLoss(self.structure, self.orthogonality)
        if self.kernel_size % 2 == 0:
            raise UserError(f"kernel_size must be odd, so that maps keep their size, got {self.kernel_size}")

    def build(self, shape: Sequence[int]) -> nn.Module:
        return SPHeReBlock(
            shape[0],
            self.channels,
            projection=self.projection,
            orthogonality=self.orthogonality,
            residual=self.residual,
            structure=self.structure,
            negative_slope=self.negative_slope,
            kernel_size=self.kernel_size,
            pool=self.pool,
        )

    @property
    def label(self) -> str:
        return "SPHeRe"

    def for_gradients(self) -> Block:
        return self
