"""Splits of a data set into tasks with disjoint classes, for continual learning."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from torchhebb.data.images import Data, Images
from torchhebb.errors import UserError


@dataclass(frozen=True, eq=False)
class Task:
    """Some classes of a data set with all their images; labels are those of the data set."""

    classes: tuple[int, ...]
    train: Images
    test: Images


def split_classes(data: Data, tasks: int, *, seed: int = 0) -> tuple[Task, ...]:
    """Class-incremental tasks of equally many classes: Split-CIFAR-100 is `split_classes(cifar100, 5)`.

    Seed 0 keeps the natural order of the classes, any other permutes them; images keep the order they have in `data`.
    Raises UserError unless `tasks` divides the classes, for a class without training or test images, or a seed that is
    not from 0 to 2^32 - 1.

    >>> from torchhebb.data import load_data
    >>> [task.classes for task in split_classes(load_data("digits"), 5)]
    [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    """
    count = len(data.classes)
    if tasks < 1 or count % tasks:
        allowed = ", ".join(str(n) for n in range(1, count + 1) if count % n == 0)
        raise UserError(f"tasks must divide the {count} classes of {data.name} ({allowed}), got {tasks}")
    if not 0 <= seed < 2**32:
        raise UserError(f"the seed of an order of classes must be from 0 to {2**32 - 1}, got {seed}")
    # numpy guarantees the stream of this old generator for all versions, so an order never changes.
    order = np.random.RandomState(seed).permutation(count).tolist() if seed else list(range(count))
    each = count // tasks
    return tuple(_task(data, tuple(order[start : start + each])) for start in range(0, count, each))


def first_of_each_class(images: Images, count: int) -> Images:
    """The first `count` images of every class, or all where it has fewer, in the order they have.

    >>> images = Images(torch.zeros(5, 1, 2, 2, dtype=torch.uint8), torch.tensor([1, 0, 1, 1, 0]))
    >>> first_of_each_class(images, 1).labels.tolist()
    [1, 0]
    """
    if count < 1:
        raise UserError(f"images of a class must be at least 1, got {count}")
    index = [torch.nonzero(images.labels == label).flatten()[:count] for label in images.labels.unique()]
    return images.select(torch.cat(index).sort().values)


def join(parts: Sequence[Images]) -> Images:
    """Several sets of images as one, in order."""
    return Images(torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]))


def _task(data: Data, classes: tuple[int, ...]) -> Task:
    chosen = torch.tensor(classes)
    splits = [part.select(torch.isin(part.labels, chosen).nonzero().flatten()) for part in (data.train, data.test)]
    for name, split in zip(("training", "test"), splits, strict=True):
        if missing := set(classes) - set(split.labels.unique().tolist()):
            raise UserError(f"{data.name} has no {name} images of class {data.classes[min(missing)]}")
    return Task(classes, *splits)
