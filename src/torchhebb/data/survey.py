"""A summary of the images of a source before decoding: their number, channels, sizes and labels."""

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import islice
from statistics import median
from typing import Any

import torch

from torchhebb.data.decode import read_header, read_pixels, sizes_differ
from torchhebb.data.preprocessing import Fit, Preprocessing
from torchhebb.data.sources import CATALOGUE, Source, Split
from torchhebb.data.sources.arrays import ArraySplit
from torchhebb.data.sources.hub import HubRows
from torchhebb.data.store import Store, Writer
from torchhebb.errors import UserError
from torchhebb.progress import SILENT, Progress

STREAMED = 1000  # images of a stream that are looked at


@dataclass(frozen=True)
class Survey:
    """Counts, channels, and sizes as (width, height); `other` is the first image of another size than `first`.

    >>> import numpy as np
    >>> from torchhebb.data import from_arrays
    >>> survey(from_arrays(np.zeros((5, 8, 8, 3), np.uint8))).channels
    3
    """

    images: int
    channels: int
    classes: int
    """0 where there are no labels."""
    first: tuple[str, tuple[int, int]]
    other: tuple[str, tuple[int, int]] | None
    typical: tuple[int, int]
    """The medians of widths and heights."""
    streamed: bool = False
    """Whether the training images are streamed."""
    skipped: Mapping[str, tuple[tuple[int, str], ...]] = field(default_factory=dict)
    """Of each split the positions and places of images that cannot be read, where these are left out."""

    def preprocessing(self, size: int | None, fit: Fit = "crop") -> Preprocessing:
        """The preprocessing of these images to size x size, or at their size; UserError for several sizes without one.

        >>> Survey(2, 3, 0, ("a.jpg", (40, 30)), None, (40, 30)).preprocessing(None).shape
        (3, 30, 40)
        """
        if size is not None:
            return Preprocessing(self.channels, size, size, fit)
        if self.other is not None:
            raise sizes_differ(*self.first, *self.other)
        width, height = self.first[1]
        return Preprocessing(self.channels, height, width, fit)


def survey(
    source: Source, *, skip_unreadable: bool = False, store: Store | None = None, progress: Progress = SILENT
) -> Survey:
    """Read the headers of all images, of a catalogue's data set and of arrays only the first ones, of a stream some.

    The store keeps what was found for as long as the images stay the same.  With `skip_unreadable` every image is
    decoded once, and those that cannot be are listed, not refused.
    Raises UserError for an image that cannot be read.

    >>> import numpy as np
    >>> from torchhebb.data import from_arrays
    >>> found = survey(from_arrays(np.zeros((5, 8, 8), np.uint8), labels=[0, 1, 0, 1, 0]))
    >>> found.images, found.classes, found.typical
    (5, 2, (8, 8))
    """
    if source.name == "digits" or source.name.startswith("arrays:"):
        return _look(source, skip_unreadable, SILENT)

    def keep(writer: Writer) -> None:
        text = json.dumps(asdict(_look(source, skip_unreadable, progress))).encode()
        writer.array("survey", (len(text),), torch.uint8)[:] = torch.frombuffer(bytearray(text), dtype=torch.uint8)

    key = {"kind": "survey", "source": source.name, "skip_unreadable": skip_unreadable, **source.key}
    kept = json.loads((store or Store()).get(key, keep)["survey"].numpy().tobytes())
    return Survey(**{name: _tuples(value) for name, value in kept.items()})


def _look(source: Source, skip_unreadable: bool, progress: Progress) -> Survey:
    splits, known = source.open(), CATALOGUE.get(source.name)
    seen: list[tuple[bool, tuple[int, int]]] = []
    first, other, skipped = None, None, dict[str, tuple[tuple[int, str], ...]]()
    most = 1 if known else None
    streamed = any(isinstance(split, HubRows) for split in splits.values())
    if known is None and streamed:
        most = STREAMED
    total = sum(min(split.count, most or split.count) for split in splits.values())
    progress.start("looking at the images", total, "images")
    for name, split in splits.items():
        bad = []
        looked_at = 1 if isinstance(split, ArraySplit) else most  # images of an array are of one size, and readable
        with closing(split.records()) as records:
            for position, (place, content, _) in enumerate(islice(records, looked_at)):
                progress.advance(1)
                place = f"the first {name} image" if known else place
                try:
                    grey, size = read_header(place, content)
                    if skip_unreadable:
                        read_pixels(place, content, Preprocessing(3, 1, 1))
                except UserError:
                    if not skip_unreadable:
                        raise
                    bad.append((position, place))
                    continue
                seen.append((grey, size))
                first = first or (place, size)
                if other is None and size != first[1]:
                    other = (place, size)
        if bad:
            skipped[name] = tuple(bad)
    progress.finish()
    if first is None:
        raise UserError(f"{source.name} has no image that can be read")
    channels = known.channels if known else 1 if all(grey for grey, _ in seen) else 3
    typical = round(median(size[0] for _, size in seen)), round(median(size[1] for _, size in seen))
    images = sum(split.count for split in splits.values()) - sum(map(len, skipped.values()))
    return Survey(images, channels, _classes(splits, streamed), first, other, typical, streamed, skipped)


def _classes(splits: Mapping[str, Split], streamed: bool) -> int:
    split = next(iter(splits.values()))
    if not split.labelled:
        return 0
    return len(split.names) or (0 if streamed else 1 + max(split.labels(), default=-1))


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _tuples(item) for name, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
