"""The interface of a source of images: splits, each with its records and, if known, its labels."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

from torchhebb.data.decode import NO_LABEL, Content, Record, Records
from torchhebb.errors import UserError

MOST_CLASSES = 100_000
"""Of labels without names, which all become classes up to the largest."""
ALL = "all"
"""The name of a split that the source has not divided into `train` and `test`."""


class Split(Protocol):
    """The records of one split, `count` of them; `names` are those of the classes, empty where none are known."""

    @property
    def count(self) -> int: ...

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def labelled(self) -> bool: ...

    def labels(self) -> Sequence[int]:
        """The label of every record, NO_LABEL where there are none, without reading the images."""
        ...

    def records(self) -> Records:
        """(place, content, label) of every image, in a fixed order."""
        ...


class Source(Protocol):
    """Where images come from; `open` is called only when the store does not have them.

    `name` is what a user writes, with an absolute path; `key` changes when the images do.

    >>> import numpy as np
    >>> from torchhebb.data import from_arrays
    >>> source: Source = from_arrays(np.zeros((5, 8, 8), np.uint8))
    >>> source.name.split(":")[0]
    'arrays'
    """

    name: str
    key: dict[str, Any]

    def open(self) -> Mapping[str, Split]:
        """The splits by name: `train` and `test`, perhaps `unlabelled`; or `all` alone, to be divided."""
        ...


@dataclass(frozen=True)
class Subset:
    """The records of a split at the positions `index`, which rise."""

    whole: Split
    index: Sequence[int]

    @property
    def count(self) -> int:
        return len(self.index)

    @property
    def names(self) -> Sequence[str]:
        return self.whole.names

    @property
    def labelled(self) -> bool:
        return self.whole.labelled

    def labels(self) -> Sequence[int]:
        labels = self.whole.labels()
        return [labels[i] for i in self.index]

    def records(self) -> Records:
        wanted = set(self.index)
        with closing(self.whole.records()) as records:
            yield from (record for position, record in enumerate(records) if position in wanted)


def checked(place: str, content: Any, label: Any, classes: int | None) -> Record:
    """A record from one row of a table; UserError for a row without an image or without a class.

    Args: content, bytes or {bytes, path}; classes, how many the label may name: 0 where that is not known, None where
    there are no labels.
    """
    data: Content | None = content.get("bytes") if isinstance(content, dict) else content
    if not isinstance(data, bytes) or not data:
        raise UserError(f"{place} holds no image")
    if classes is None:
        return place, data, NO_LABEL
    if not classes and isinstance(label, int) and label >= MOST_CLASSES:
        raise UserError(
            f"{place} has the label {label}: without names of classes labels must be below {MOST_CLASSES:,}"
        )
    if not isinstance(label, int) or label < 0 or (classes and label >= classes):
        raise UserError(
            f"{place} has the label {label!r}; expected 0 to {classes - 1}" if classes else f"{place} has no label"
        )
    return place, data, label


def stamp(files: Iterable[Path]) -> str:
    """A hash that changes when a file is added, removed, renamed or written: names, sizes, times of change."""
    digest = blake2b(digest_size=16)
    for file in files:
        try:
            status = file.stat()
            told = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:  # whoever reads the file says so
            told = "unreadable"
        digest.update(f"{file} {told}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
