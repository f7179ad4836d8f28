"""Class-incremental tasks: a partition of classes and images, in an order that the seed alone decides."""

from dataclasses import replace

import pytest
import torch

from torchhebb.data import Images, load_data
from torchhebb.data.tasks import first_of_each_class, join, split_classes
from torchhebb.errors import UserError

DIGITS = load_data("digits")


def pixels(images: Images) -> set[tuple[int, bytes]]:
    return {(int(label), image.numpy().tobytes()) for image, label in zip(images.images, images.labels, strict=True)}


@pytest.mark.parametrize("count", [1, 2, 5, 10])
@pytest.mark.parametrize("seed", [0, 3])
def test_tasks_are_a_partition(count: int, seed: int) -> None:
    tasks = split_classes(DIGITS, count, seed=seed)
    assert len(tasks) == count and {len(task.classes) for task in tasks} == {10 // count}
    assert sorted(label for task in tasks for label in task.classes) == list(range(10))
    for split in ("train", "test"):
        parts, whole = [getattr(task, split) for task in tasks], getattr(DIGITS, split)
        assert sum(len(part) for part in parts) == len(whole)
        assert pixels(join(parts)) == pixels(whole)
        for task, part in zip(tasks, parts, strict=True):
            assert set(part.labels.tolist()) == set(task.classes)


def test_images_keep_their_order() -> None:
    task = split_classes(DIGITS, 5)[1]
    index = ((DIGITS.train.labels == 2) | (DIGITS.train.labels == 3)).nonzero().flatten()
    assert torch.equal(task.train.images, DIGITS.train.images[index])
    assert torch.equal(task.train.labels, DIGITS.train.labels[index])


def test_the_seed_decides_the_order_of_classes() -> None:
    orders = [[task.classes for task in split_classes(DIGITS, 5, seed=seed)] for seed in (0, 1, 1, 2)]
    assert orders[0] == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    assert orders[1] == orders[2] == [(2, 9), (6, 4), (0, 3), (1, 7), (8, 5)]
    assert orders[3] not in orders[:2]


@pytest.mark.parametrize("count", [0, -5, 3, 20])
def test_only_divisors_of_the_classes(count: int) -> None:
    with pytest.raises(UserError, match=rf"tasks must divide the 10 classes of digits \(1, 2, 5, 10\), got {count}"):
        split_classes(DIGITS, count)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_an_order_of_classes_has_a_seed_that_numpy_takes(seed: int) -> None:
    with pytest.raises(UserError, match=rf"seed of an order of classes must be from 0 to 4294967295, got {seed}"):
        split_classes(DIGITS, 5, seed=seed)


def test_a_class_without_images_is_named() -> None:
    few = replace(DIGITS, test=DIGITS.test.select((DIGITS.test.labels != 7).nonzero().flatten()))
    with pytest.raises(UserError, match="digits has no test images of class 7"):
        split_classes(few, 5)


def test_the_first_of_each_class() -> None:
    few = first_of_each_class(DIGITS.train, 4)
    assert few.labels.bincount().tolist() == [4] * 10
    for label in range(10):
        mine = DIGITS.train.images[DIGITS.train.labels == label][:4]
        assert torch.equal(few.images[few.labels == label], mine)
    assert len(first_of_each_class(DIGITS.train, 10**6)) == len(DIGITS.train)
    with pytest.raises(UserError, match="images of a class must be at least 1, got 0"):
        first_of_each_class(DIGITS.train, 0)
