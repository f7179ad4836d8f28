"""Features that are computed batch by batch and not cached."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn

from torchhebb.data import Augment, Images, batches_of
from torchhebb.data.stream import first_images
from torchhebb.readouts.sources import readout_order
from torchhebb.train.device import Precision, autocast


class FreshFeatures:
    """Features of new views in every epoch: each batch passes the network in eval mode; nothing is kept.

    Images in memory come in the order of `KeptFeatures`, so that without augmentation both give the same readout.
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
