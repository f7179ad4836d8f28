"""A part of some images or neurons: evenly spaced over all, or drawn once."""

import torch
from torch import Tensor

from torchhebb.data import Images


def evenly_spaced(count: int, among: int) -> Tensor:
    """At most `count` different indices in increasing order, from the first to the last of `among`.

    >>> evenly_spaced(3, 9), evenly_spaced(5, 3)
    (tensor([0, 4, 8]), tensor([0, 1, 2]))
    """
    return torch.linspace(0, among - 1, min(count, among), dtype=torch.float64).round().long()


def evenly_spaced_images(images: Images, count: int) -> Images:
    """At most `count` images, evenly spaced over all, since they may be sorted by class; 0 takes all."""
    return images.select(evenly_spaced(count, len(images))) if 0 < count < len(images) else images


def subsample(images: Images, count: int | None) -> Images:
    """A fixed random draw of `count` images in their order; None takes all."""
    if count is None or count >= len(images):
        return images
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return images.select(order[:count].sort().values)
