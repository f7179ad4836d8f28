"""Seeded random projection of wide features, with a matrix that is drawn block by block to save memory."""

from collections.abc import Iterator

import torch
from torch import Tensor

from torchhebb.errors import UserError
from torchhebb.nn import LinearReadout
from torchhebb.readouts.standardized import Standardized

_COLUMNS = 512


class Projection:
    """p = z R with z the standardised features (N, F) and R_ij ~ N(0, 1 / F) of shape (F, dimension).

    Raises UserError unless 1 <= dimension < F.
    Source: Johnson and Lindenstrauss 1984.

    >>> projection = Projection(torch.rand(6, 40), 4, seed=0)
    >>> projection().shape
    torch.Size([6, 4])
    """

    def __init__(self, features: Tensor, dimension: int, seed: int) -> None:
        if not 1 <= dimension < features.shape[1]:
            raise UserError(f"project must lie from 1 to {features.shape[1] - 1}, got {dimension}")
        self.z = Standardized(features)
        self.width, self.dimension, self.seed = features.shape[1], dimension, seed

    def __call__(self) -> Tensor:
        """The projected features (N, dimension) in float32."""
        projected = torch.zeros(len(self.z), self.dimension, device=self.z.features.device)
        for block, matrix in zip(self.z.columns(_COLUMNS), self._matrix(), strict=True):
            projected.addmm_(block.float(), matrix)
        return projected

    def fold(self, readout: LinearReadout) -> LinearReadout:
        """The readout on raw features that equals `readout` on projected ones."""
        weight = torch.cat([readout.weight @ matrix.T for matrix in self._matrix()], 1)
        return self.z.scaling.fold(weight, readout.bias)

    def _matrix(self) -> Iterator[Tensor]:
        """Rows of R; drawn on the CPU, so that it is the same on every device."""
        generator = torch.Generator().manual_seed(self.seed)
        for start in range(0, self.width, _COLUMNS):
            rows = min(_COLUMNS, self.width - start)
            block = torch.randn(rows, self.dimension, generator=generator) / self.width**0.5
            yield block.to(self.z.features.device)
