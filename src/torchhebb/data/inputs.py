"""Reading of images for inference, one after another: from files, folders or any source."""

import os
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from torchhebb.data.decode import NO_LABEL, Record, Records, read_pixels
from torchhebb.data.preprocessing import Preprocessing
from torchhebb.data.sources import FolderSource, Source, Split, Subset, find_source
from torchhebb.data.sources.folder import FileSplit
from torchhebb.data.sources.source import stamp
from torchhebb.data.threads import in_order
from torchhebb.errors import UserError

THREADS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True, eq=False)
class Batch:
    """Some images in order: their places, labels, and pixels (B, C, H, W) uint8; `skipped` cannot be read."""

    places: tuple[str, ...]
    labels: tuple[int, ...]
    pixels: Tensor
    skipped: tuple[str, ...] = ()


Batches = Generator[Batch, None, None]


class Inputs:
    """The records of one or several sources, split after split.

    `classes` are the names of their labels, where all have the same ones; otherwise there are no labels.

    >>> from torchhebb.data import from_arrays
    >>> open_inputs([from_arrays(np.zeros((5, 8, 8), np.uint8))]).count
    5
    """

    def __init__(self, splits: Sequence[Split], key: str) -> None:
        self._splits, self.key = splits, key
        self.count = sum(split.count for split in splits)
        names = {tuple(split.names) for split in splits if split.labelled}
        self.labelled = bool(splits) and all(split.labelled for split in splits) and len(names) == 1
        self.classes: tuple[str, ...] = next(iter(names)) if self.labelled else ()

    def evenly(self, most: int) -> "Inputs":
        """At most this many of the images, evenly spaced."""
        if self.count <= most:
            return self
        rows = np.unique(np.linspace(0, self.count - 1, most).round().astype(int))
        parts: list[Split] = []
        start = 0
        for split in self._splits:
            inside = rows[(rows >= start) & (rows < start + split.count)] - start
            parts.append(Subset(split, inside.tolist()))
            start += split.count
        return Inputs(parts, f"{self.key}, {most} of {self.count}")

    def records(self) -> Records:
        """All records, in order."""
        for split in self._splits:
            with closing(split.records()) as records:
                yield from records

    def batches(self, preprocessing: Preprocessing, size: int, *, skip_unreadable: bool = False) -> Batches:
        """All images, decoded, `size` at a time; see `parts`."""
        for _, batches in self.parts(preprocessing, size, [range(self.count)], skip_unreadable=skip_unreadable):
            yield from batches

    def parts(
        self, preprocessing: Preprocessing, size: int, ranges: Sequence[range], *, skip_unreadable: bool = False
    ) -> Generator[tuple[range, Batches], None, None]:
        """The decoded records of every range, `size` at a time; of those between the ranges nothing is decoded.

        Threads decode a few images ahead.  The batches of a range must be consumed before the next range is started.
        Raises UserError for an image that cannot be read, unless these are skipped: a batch is then smaller.
        """

        def read(_: int, record: Record) -> tuple[str, int, np.ndarray | None]:
            place, content, label = record
            try:
                return place, label, read_pixels(place, content, preprocessing)
            except UserError:
                if not skip_unreadable:
                    raise
                return place, label, None

        at = 0
        with closing(self.records()) as records:
            for part in ranges:
                deque(islice(records, part.start - at), maxlen=0)
                at = part.stop
                with closing(in_order(read, islice(records, len(part)), 0, THREADS)) as decoded:
                    yield part, _batched(decoded, size, preprocessing)


def _batched(decoded: Iterator[tuple[str, int, np.ndarray | None]], size: int, framed: Preprocessing) -> Batches:
    while some := list(islice(decoded, size)):
        good = [(place, label, pixels) for place, label, pixels in some if pixels is not None]
        arrays = [pixels for _, _, pixels in good]
        yield Batch(
            tuple(place for place, _, _ in good),
            tuple(label for _, label, _ in good),
            torch.from_numpy(np.stack(arrays) if arrays else np.zeros((0, *framed.shape), np.uint8)),
            tuple(place for place, _, pixels in some if pixels is None),
        )


def open_inputs(names: Sequence[str | Path | Source], data_dir: Path | str | None = None) -> Inputs:
    """The images that a user names: image files, folders, or sources such as parquet:PATH.

    Raises UserError for a name that is none of these.

    >>> open_inputs(["digits"]).count  # a name of the catalogue: training and test images
    1797
    """
    splits: list[Split] = []
    keys = []
    for name in names:
        source: Source | None = None
        if isinstance(name, str | Path) and Path(name).is_dir():
            source = FolderSource(Path(name))
        elif isinstance(name, str) and not Path(name).exists() and (":" in name or not Path(name).suffix):
            source = find_source(name, data_dir)
        elif not isinstance(name, str | Path):
            source = name
        if source is None:
            assert isinstance(name, str | Path)
            splits.append(FileSplit([(Path(name), NO_LABEL)], ()))
            keys.append(stamp([Path(name).absolute()]))
        else:
            splits += source.open().values()
            keys.append(repr(sorted(source.key.items())))
    if not splits:
        raise UserError("no images were named")
    return Inputs(splits, " ".join(keys))
