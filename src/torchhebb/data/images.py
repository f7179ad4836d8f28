"""Data sets in memory: two splits of uint8 images with labels, and methods to split and select them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from torchhebb.data.preprocessing import Preprocessing
from torchhebb.errors import UserError

SPLITS = ("train", "test")


@dataclass(frozen=True, eq=False)
class Images:
    """images (N, C, H, W) uint8 and labels (N,) int64, -1 where there are none.

    >>> len(Images(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64)))
    3
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, index: Tensor) -> "Images":
        """The samples of `index` (M,), copied."""
        return Images(self.images[index], self.labels[index])


@dataclass(frozen=True, eq=False)
class Data:
    """A named data set; `fingerprint` is a hash of the pixels and labels of all splits.

    `unlabelled` holds further images without labels, if the data set has some; `train` is a `Stream` if it does not fit
    in memory.  Images without labels have no `classes`, and none of them are held out: `train` and `test` are then the
    same.  `preprocessing` says how files became these pixels; it is None if there were no files.

    >>> from torchhebb.data import load_data
    >>> digits = load_data("digits")
    >>> digits.train.images.shape, digits.classes[:3]
    (torch.Size([1348, 1, 8, 8]), ('0', '1', '2'))
    """

    name: str
    train: Images
    test: Images
    classes: tuple[str, ...]
    fingerprint: str
    unlabelled: Images | None = None
    preprocessing: Preprocessing | None = None
    skipped: tuple[str, ...] = ()
    """Paths of images that cannot be read and were left out."""

    @property
    def labelled(self) -> bool:
        """Whether there is a class for every image."""
        return bool(self.classes)

    @property
    def in_channels(self) -> int:
        return self.test.images.shape[1]

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width)"""
        height, width = self.test.images.shape[2:]
        return height, width

    def holdout(self, part: float | int, seed: int = 0) -> "Data":
        """A data set for choosing: `part` of the training images (a fraction, or a count) becomes its test split.

        The split is stratified and depends on `seed` alone; the real test images are not in it.
        Errors: UserError for a part that leaves either side without images.
        """
        kept, held = stratified_split(self.train.labels, part, seed)
        digest = blake2b(f"{self.fingerprint} {len(held)} {seed}".encode(), digest_size=8)
        return replace(
            self, train=self.train.select(kept), test=self.train.select(held), fingerprint=digest.hexdigest()
        )


def stratified_split(labels: Tensor | np.ndarray, part: float | int, seed: int) -> tuple[Tensor, Tensor]:
    """Indices (kept, held), each rising: every class gives `part` of its samples, rounded so that the total is exact.

    At least one sample of each class is kept. `part` is a fraction in (0, 1) or a count of 1 and more.

    >>> kept, held = stratified_split(torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]), 0.25, seed=0)
    >>> len(kept), sorted(torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])[held].tolist())
    (6, [0, 1])
    """
    labels = np.asarray(labels)
    classes, counts = np.unique(labels, return_counts=True)
    most = len(labels) - len(classes)
    wanted = part if isinstance(part, int) else round(part * len(labels)) if 0 < part < 1 else 0
    if not 1 <= wanted <= most:
        raise UserError(
            f"the held-out part must be a fraction in (0, 1) or a count, giving 1 to {most} images, got {part}"
        )
    shares = np.minimum(wanted * counts / len(labels), counts - 1)
    taken = np.floor(shares).astype(int)
    while taken.sum() < wanted:
        # The class that is furthest below its share gives the next sample, while one of its own remains.
        taken[np.argmax(np.where(taken < counts - 1, shares - taken, -np.inf))] += 1
    # numpy guarantees the stream of this old generator for all versions, so a split never changes.
    random = np.random.RandomState(seed)
    held = [
        random.permutation(np.flatnonzero(labels == name))[:count] for name, count in zip(classes, taken, strict=True)
    ]
    chosen = np.zeros(len(labels), dtype=bool)
    chosen[np.concatenate(held)] = True
    return torch.from_numpy(np.flatnonzero(~chosen)), torch.from_numpy(np.flatnonzero(chosen))


def fingerprint(splits: Sequence[Images]) -> str:
    """A short hash of the shapes, pixels and labels of `splits`, in order.

    >>> empty = Images(torch.zeros(0, 1, 2, 2, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64))
    >>> len(fingerprint([empty]))
    16
    """
    digest = blake2b(digest_size=8)
    for split in splits:
        digest.update(repr(tuple(split.images.shape)).encode())
        digest.update(split.images.contiguous().numpy().reshape(-1).data)
        digest.update(split.labels.contiguous().numpy().view(np.uint8).data)
    return digest.hexdigest()
