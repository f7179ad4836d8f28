"""Where a readout gets its batches of features: kept ones, or fresh views through the frozen network."""

from collections.abc import Iterator
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from torchhebb.data import Augment, Images, batches_of
from torchhebb.data.stream import first_images
from torchhebb.train.device import Precision, autocast


class FeatureSource(Protocol):
    """The epochs of features (B, width) with labels (B,), on a device."""

    samples: int
    width: int
    device: torch.device

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches `start`, `start` + 1, ... of epoch `number`; the features may be written into, up to the next."""
        ...


class KeptFeatures:
    """Features (N, F) of any float dtype that were computed once, in an order that (seed, epoch) gives."""

    def __init__(self, features: Tensor, labels: Tensor, batch_size: int, seed: int) -> None:
        self.features, self.labels = features, labels.to(features.device)
        self.samples, self.width, self.device = len(features), features.shape[1], features.device
        self._batch_size, self._seed, self._rows = batch_size, seed, Rows(features, batch_size)

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        order, rows = readout_order(self.samples, self._seed, number).to(self.device), self._rows
        for chosen in order.split(self._batch_size)[start:]:
            yield rows(chosen), self.labels[chosen]


class Rows:
    """Some rows of features (N, F) in float32, in memory that the next call uses again: a readout writes on it."""

    def __init__(self, features: Tensor, most: int) -> None:
        self._features = features
        self._kept = features.new_empty(min(most, len(features)), features.shape[1])

    def __call__(self, chosen: Tensor) -> Tensor:
        return torch.index_select(self._features, 0, chosen, out=self._kept[: len(chosen)]).float()


class FreshFeatures:
    """Features of new views in every epoch: each batch passes the network in eval mode; nothing is kept.

    Images at hand come in the order of `KeptFeatures`, so that without views both give the same readout.
    """

    def __init__(
        self,
        network: nn.Module,
        images: Images,
        augment: Augment,
        batch_size: int,
        seed: int,
        *,
        device: torch.device,
        precision: Precision = "float32",
    ) -> None:
        self._network, self.samples, self.device, self._precision = network.eval(), len(images), device, precision
        order = partial(readout_order, self.samples, seed)
        self._batches = batches_of(images, batch_size, seed=seed, augment=augment, device=device, order=order)
        self.width = self._features(first_images(images, 1).to(device) / 255.0).shape[1]

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        for x, labels in self._batches.epoch(number, start):
            yield self._features(x), labels

    @torch.no_grad()
    def _features(self, x: Tensor) -> Tensor:
        with autocast(self._precision, self.device):
            return self._network(x).flatten(1).float()


@torch.no_grad()
def tested_accuracy(
    network: nn.Module,
    readout: nn.Module,
    images: Images,
    *,
    device: torch.device,
    precision: Precision = "float32",
    batch_size: int = 64,
) -> float:
    """Correct answers in percent, image batch after image batch, without keeping any features."""
    network.eval()
    right = 0
    for x, labels in batches_of(images, batch_size, shuffle=False, device=device).epoch(0):
        with autocast(precision, device):
            features = network(x)
        right += (readout(features.flatten(1).float()).argmax(1) == labels).sum()
    return 100.0 * int(right) / len(images)


def readout_order(samples: int, seed: int, epoch: int) -> Tensor:
    """The permutation of the samples in an epoch of a readout: the same on every device."""
    return torch.randperm(samples, generator=torch.Generator().manual_seed(epoch_seed(seed, epoch)))


def epoch_seed(seed: int, epoch: int) -> int:
    return (seed + 1) * 1_000_003 + epoch
