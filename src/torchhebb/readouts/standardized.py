"""Features at zero mean and unit variance, computed block by block, so that no second copy of them is needed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from torchhebb.errors import UserError
from torchhebb.nn import LinearReadout
from torchhebb.readouts.base import ROWS, is_constant


@dataclass(frozen=True, eq=False)
class Scaling:
    """z = (x - mean) * scale for every feature; mean and scale have the shape (F,)."""

    mean: Tensor
    scale: Tensor

    @classmethod
    def of(cls, features: Tensor, index: Tensor | None = None, *, dtype: torch.dtype = torch.float64) -> Self:
        """The scaling that gives zero mean and unit variance over some rows of features (N, F), by default all.

        A constant feature keeps its scale.  Raises UserError for features that are not finite.
        """
        count = len(features) if index is None else len(index)
        mean = torch.zeros(features.shape[1], dtype=dtype, device=features.device)
        square = torch.zeros_like(mean)
        for part in rows_of(features, index):
            mean += part.to(dtype).sum(0)
        mean /= count
        for part in rows_of(features, index):
            square += (part.to(dtype) - mean).square().sum(0)
        std = (square / count).sqrt()
        if not std.isfinite().all():
            raise UserError("features must be finite, got infinite or missing numbers: did the network diverge?")
        constant = is_constant(std, mean)
        return cls(mean, torch.where(constant, 1.0, 1 / torch.where(constant, 1.0, std)))

    def __call__(self, x: Tensor, columns: slice = slice(None)) -> Tensor:
        """Standardise x (B, F), or some columns of it, in place."""
        return x.sub_(self.mean[columns]).mul_(self.scale[columns])

    def fold(self, weight: Tensor, bias: Tensor) -> LinearReadout:
        """The readout on raw features that equals weight (classes, F) and bias on standardised ones."""
        weight = weight * self.scale
        readout = LinearReadout(weight.shape[1], weight.shape[0]).to(weight.device)
        readout.bias.copy_(bias.to(self.mean.dtype) - weight.to(self.mean.dtype) @ self.mean)
        readout.weight.copy_(weight)
        return readout.eval()


class Standardized:
    """Features standardised over the samples of `index` (all of them by default), in float64.

    Args: features (N, F), any float dtype.
    Raises UserError for features that are not finite.

    >>> z = Standardized(torch.tensor([[0.0, 5.0], [2.0, 5.0]]))
    >>> torch.cat(list(z.rows())).tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """

    def __init__(self, features: Tensor, index: Tensor | None = None) -> None:
        self.features = features
        self.index = torch.arange(len(features), device=features.device) if index is None else index
        self.scaling = Scaling.of(features, self.index)

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, index: Tensor | None = None) -> Iterator[Tensor]:
        """Standardised samples, (up to 1000, F) at a time: its own, or those of another index by its scaling."""
        for part in rows_of(self.features, self.index if index is None else index):
            yield self.scaling(part.double())

    def columns(self, width: int) -> Iterator[Tensor]:
        """Standardised features of all its samples, (N, up to width) at a time."""
        for start in range(0, self.features.shape[1], width):
            here = slice(start, start + width)
            yield self.scaling(self.features[:, here][self.index].double(), here)


def rows_of(features: Tensor, index: Tensor | None = None) -> Iterator[Tensor]:
    """The rows of an index, by default all, `ROWS` at a time."""
    if index is None:
        yield from features.split(ROWS)
    else:
        yield from (features[chosen] for chosen in index.split(ROWS))
