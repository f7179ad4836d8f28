"""Pooling as a value."""

from dataclasses import dataclass
from typing import Literal

from torch import nn


@dataclass(frozen=True)
class Pool:
    """Spatial pooling after the activation."""

    kind: Literal["max", "avg"] = "max"
    kernel_size: int = 2
    stride: int = 2
    padding: int = 0

    def build(self) -> nn.Module:
        return (nn.MaxPool2d if self.kind == "max" else nn.AvgPool2d)(self.kernel_size, self.stride, self.padding)
