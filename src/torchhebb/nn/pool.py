"""The description of a pooling layer as a value."""

from dataclasses import dataclass, field
from typing import Literal

from torch import nn

from torchhebb.bounds import SIZE, Checked, at_least
from torchhebb.errors import UserError


@dataclass(frozen=True)
class Pool(Checked):
    """Spatial pooling after the activation.

    Example:
        >>> Pool("max", kernel_size=4, stride=2, padding=1).build()
        MaxPool2d(kernel_size=4, stride=2, padding=1, dilation=1, ceil_mode=False)
    """

    kind: Literal["max", "avg"] = "max"
    """max or avg."""
    kernel_size: int = field(default=2, metadata=SIZE)
    """Side of the window."""
    stride: int = field(default=2, metadata=SIZE)
    """Stride of the window."""
    padding: int = field(default=0, metadata=at_least(0))
    """Padding on each side."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if 2 * self.padding > self.kernel_size:
            raise UserError(f"padding of a pool must be at most half its kernel_size, got {self.padding}")

    def build(self) -> nn.Module:
        return (nn.MaxPool2d if self.kind == "max" else nn.AvgPool2d)(self.kernel_size, self.stride, self.padding)
