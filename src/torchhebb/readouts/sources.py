"""Sources of batches of features for a readout, and their order."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor


class FeatureSource(Protocol):
    """The epochs of features (B, width) with labels (B,), on a device."""

    samples: int
    width: int
    device: torch.device

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches `start`, `start` + 1, ... of epoch `number`; a batch may be overwritten until the next one."""
        ...


class KeptFeatures:
    """Cached features (N, F) of any float dtype, in an order that is determined by seed and epoch."""

    def __init__(self, features: Tensor, labels: Tensor, batch_size: int, seed: int) -> None:
        self.features, self.labels = features, labels.to(features.device)
        self.samples, self.width, self.device = len(features), features.shape[1], features.device
        self._batch_size, self._seed, self._rows = batch_size, seed, Rows(features, batch_size)

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        order, rows = readout_order(self.samples, self._seed, number).to(self.device), self._rows
        for chosen in order.split(self._batch_size)[start:]:
            yield rows(chosen), self.labels[chosen]


class Rows:
    """Some rows of features (N, F) in float32, in memory that the next call reuses."""

    def __init__(self, features: Tensor, most: int) -> None:
        self._features = features
        self._kept = features.new_empty(min(most, len(features)), features.shape[1])

    def __call__(self, chosen: Tensor) -> Tensor:
        return torch.index_select(self._features, 0, chosen, out=self._kept[: len(chosen)]).float()


def readout_order(samples: int, seed: int, epoch: int) -> Tensor:
    """The permutation of the samples in an epoch of a readout, the same on every device."""
    return torch.randperm(samples, generator=torch.Generator().manual_seed(epoch_seed(seed, epoch)))


def epoch_seed(seed: int, epoch: int) -> int:
    return (seed + 1) * 1_000_003 + epoch
