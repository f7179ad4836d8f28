"""Features at zero mean and unit variance, seen block by block, so that no second copy of them is needed."""

from collections.abc import Iterator

import torch
from torch import Tensor

from torchhebb.errors import UserError
from torchhebb.nn import LinearReadout
from torchhebb.readouts.base import ROWS, is_constant


class Standardized:
    """z = (x - mean) * scale over the samples of `index` (all of them by default), in float64.

    Args: features (N, F), any float dtype; constant features keep scale 1.
    Raises UserError for features that are not finite.

    >>> z = Standardized(torch.tensor([[0.0, 5.0], [2.0, 5.0]]))
    >>> torch.cat(list(z.rows())).tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """

    def __init__(self, features: Tensor, index: Tensor | None = None) -> None:
        self.features = features
        self.index = torch.arange(len(features), device=features.device) if index is None else index
        self.mean = torch.zeros(features.shape[1], dtype=torch.float64, device=features.device)
        square = torch.zeros_like(self.mean)
        for part in self._parts():
            self.mean += part.double().sum(0) / len(self)
        for part in self._parts():
            square += (part.double() - self.mean).square().sum(0)
        std = (square / len(self)).sqrt()
        if not std.isfinite().all():
            raise UserError("features must be finite, got infinite or missing numbers: did the network diverge?")
        constant = is_constant(std, self.mean)
        self.scale = torch.where(constant, 1.0, 1 / torch.where(constant, 1.0, std))

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, index: Tensor | None = None) -> Iterator[Tensor]:
        """Standardised samples, (up to 1000, F) at a time: its own, or those of another index by its statistics."""
        for part in self._parts(index):
            yield part.double().sub_(self.mean).mul_(self.scale)

    def columns(self, width: int) -> Iterator[Tensor]:
        """Standardised features of all its samples, (N, up to width) at a time."""
        for block in torch.arange(self.features.shape[1], device=self.index.device).split(width):
            here = slice(int(block[0]), int(block[-1]) + 1)
            yield self.features[:, here][self.index].double().sub_(self.mean[here]).mul_(self.scale[here])

    def fold(self, weight: Tensor, bias: Tensor) -> LinearReadout:
        """The readout on raw features that equals weight (classes, F) and bias on standardised ones."""
        weight = weight.double() * self.scale
        readout = LinearReadout(weight.shape[1], weight.shape[0]).to(weight.device)
        readout.bias.copy_(bias.double() - weight @ self.mean)
        readout.weight.copy_(weight)
        return readout.eval()

    def _parts(self, index: Tensor | None = None) -> Iterator[Tensor]:
        for chosen in (self.index if index is None else index).split(ROWS):
            yield self.features[chosen]
