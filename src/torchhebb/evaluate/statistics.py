"""A few of many, evenly spread over all: of neurons, of images that may lie sorted by class."""

import torch
from torch import Tensor

from torchhebb.data import Images


def spread(count: int, among: int) -> Tensor:
    """At most `count` different indices, rising, from the first to the last of `among`.

    >>> spread(3, 9), spread(5, 3)
    (tensor([0, 4, 8]), tensor([0, 1, 2]))
    """
    return torch.linspace(0, among - 1, min(count, among), dtype=torch.float64).round().long()


def spread_images(images: Images, count: int) -> Images:
    """At most `count` images, evenly spread over all; 0 stands for all."""
    return images.select(spread(count, len(images))) if 0 < count < len(images) else images
