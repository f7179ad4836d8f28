"""The source for images in memory, as NumPy arrays or tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

from torchhebb.data.decode import NO_LABEL, Records
from torchhebb.data.sources.source import ALL, MOST_CLASSES, Split
from torchhebb.errors import UserError


@dataclass(frozen=True, eq=False)
class ArraySplit:
    """Pixels (N, H, W, C) uint8 with labels (N,) and the names of all classes; `place` names them in messages."""

    pixels: np.ndarray
    targets: np.ndarray | None
    names: Sequence[str]
    place: str = "images"

    @property
    def count(self) -> int:
        return len(self.pixels)

    @property
    def labelled(self) -> bool:
        return self.targets is not None

    def labels(self) -> Sequence[int]:
        return [NO_LABEL] * self.count if self.targets is None else self.targets.tolist()

    def records(self) -> Records:
        for row, (pixels, label) in enumerate(zip(self.pixels, self.labels(), strict=True)):
            yield f"{self.place}/{row}", pixels, label


class ArraySource:
    """What `from_arrays` makes: images in memory as a source, which every function that takes one accepts."""

    def __init__(self, split: ArraySplit) -> None:
        self._split = split
        digest = blake2b(split.pixels.tobytes(), digest_size=8)
        digest.update(repr((split.pixels.shape, tuple(split.labels()))).encode())
        self.name = f"arrays:{digest.hexdigest()}"
        self.key: dict[str, Any] = {"from": self.name}

    def open(self) -> Mapping[str, Split]:
        return {ALL: self._split}


def from_arrays(images: Any, labels: Any = None, *, classes: Sequence[str] | None = None) -> ArraySource:
    """Images in memory as a source of data: NumPy arrays, tensors, or anything that NumPy converts to an array.

    Args: images, (N, H, W), (N, C, H, W) or (N, H, W, C) with C 1 or 3, uint8 in [0, 255] or floats in [0, 1];
    labels, (N,) integers or texts; classes, their names.
    Raises UserError for another shape, type or range, a shape that could be read both ways, or labels that do not fit.

    >>> from_arrays(np.zeros((4, 8, 8), np.uint8)).open()["all"].count
    4
    """
    pixels = _eight_bits(_channels_last(_array(images, "images")))
    if labels is None:
        return ArraySource(ArraySplit(pixels, None, ()))
    targets = _array(labels, "labels")
    if targets.shape != pixels.shape[:1]:
        raise UserError(f"labels must be ({len(pixels)},), one for each image, got {targets.shape}")
    if targets.dtype.kind in "US" and classes is None:
        texts, numbers = np.unique(targets, return_inverse=True)
        return ArraySource(ArraySplit(pixels, numbers.astype(np.int64), tuple(texts.tolist())))
    if targets.dtype.kind not in "iu":
        raise UserError(f"labels must be integers or texts, got {targets.dtype}")
    most = min(int(targets.max()), MOST_CLASSES - 1) if classes is None else len(classes) - 1
    if targets.min() < 0 or targets.max() > most:
        raise UserError(f"labels must lie from 0 to {most}, got {targets.min()} to {targets.max()}")
    names = tuple(classes) if classes is not None else tuple(map(str, range(most + 1)))
    return ArraySource(ArraySplit(pixels, targets.astype(np.int64), names))


def _array(values: Any, name: str) -> np.ndarray:
    array = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    if array.size == 0:
        raise UserError(f"{name} must hold at least one, got shape {array.shape}")
    return array


def _channels_last(array: np.ndarray) -> np.ndarray:
    if array.ndim == 3:
        return array[..., None]
    first, last = array.ndim == 4 and array.shape[1] in (1, 3), array.ndim == 4 and array.shape[3] in (1, 3)
    if first == last:
        why = "which could be either" if first else "with 1 or 3 channels"
        raise UserError(f"images must be (N, H, W), (N, C, H, W) or (N, H, W, C), {why}, got {array.shape}")
    return array.transpose(0, 2, 3, 1) if first else array


def _eight_bits(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype.kind != "f":
        raise UserError(f"images must be uint8, or floats in [0, 1], got {array.dtype}")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):
        raise UserError(f"images of floats must lie in [0, 1], got {low:g} to {high:g}; divide by 255, or give uint8")
    return np.rint(array * 255).astype(np.uint8)
