"""The source for data sets of the Hugging Face hub, downloaded or streamed by `datasets`."""

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from torchhebb.data.decode import NO_LABEL, Records
from torchhebb.data.files import reason
from torchhebb.data.sources.parquet import LABEL_NAMES, TEST_NAMES, choose_columns
from torchhebb.data.sources.source import ALL, Split, checked
from torchhebb.data.stream import in_file_order
from torchhebb.errors import UserError, need

UNLABELLED_NAMES = ("unlabelled", "unlabeled", "unsupervised")


class Table:
    """One split of a data set that `datasets` has on disk; labels are integers, or texts that name classes."""

    def __init__(self, datasets: Any, table: Any, image: str, label: str | None, place: str) -> None:
        self.image, self.label, self.place = image, label, place
        self.count, self.labelled = len(table), label is not None
        self._table = table.cast_column(image, datasets.Image(decode=False))
        self.names: Sequence[str] = getattr(table.features[label], "names", []) if label else []
        self._numbers: dict[Any, int] = {}
        if label and not self.names and getattr(table.features[label], "dtype", "") in ("string", "large_string"):
            self.names = sorted(set(table[label]))
            self._numbers = {name: number for number, name in enumerate(self.names)}

    def labels(self) -> Sequence[int]:
        if self.label is None:
            return [NO_LABEL] * self.count
        return [self._numbers.get(label, label) for label in self._table[self.label]]

    def records(self) -> Records:
        classes = len(self.names) if self.label else None
        for row, sample in enumerate(self._table):
            label = sample[self.label] if self.label else NO_LABEL
            yield checked(f"row {row} of {self.place}", sample[self.image], self._numbers.get(label, label), classes)


class HubRows:
    """One split that stays on the hub, read as a stream."""

    def __init__(
        self,
        datasets: Any,
        path: str,
        stored: str,
        image: str,
        label: str | None,
        *,
        config: str | None = None,
        revision: str | None = None,
    ) -> None:
        self._path, self._stored, self._config, self._revision = path, stored, config, revision
        self.image, self.label = image, label
        about = datasets.load_dataset_builder(path, config, **_pinned(revision)).info
        self.count: int = about.splits[stored].num_examples
        self.names: Sequence[str] = getattr(about.features[label], "names", []) if label else []

    @property
    def labelled(self) -> bool:
        return self.label is not None

    @property
    def classes(self) -> int | None:
        return None if self.label is None else len(self.names)

    @property
    def place(self) -> str:
        return f"{self._path} ({self._stored})"

    def stream(self, datasets: Any) -> Any:
        stream = datasets.load_dataset(
            self._path, self._config, split=self._stored, streaming=True, **_pinned(self._revision)
        )
        columns = [self.image] if self.label is None else [self.image, self.label]
        return stream.cast_column(self.image, datasets.Image(decode=False)).select_columns(columns)

    def labels(self) -> Sequence[int]:
        raise UserError(f"{self.place} is streamed: its labels are not all in memory")

    def records(self) -> Records:
        return in_file_order(self)


class HubSource:
    """`hub:OWNER/NAME` or `hub:OWNER/NAME@REVISION`: any data set of images on the hub.

    Its columns are found by their types, its splits by their names.  Where the training images take more bytes than
    `memory_allowed()` and there is a test split, they are a stream.
    Errors: UserError for a name without an owner, a set that cannot be had, or columns that are not clear.
    """

    def __init__(self, name: str) -> None:
        path, _, revision = name.partition("@")
        if path.count("/") != 1 or not all(path.split("/")):
            raise UserError(f"hub: needs OWNER/NAME or OWNER/NAME@REVISION, got {name!r}")
        self.name, self._path, self._revision = f"hub:{name}", path, revision or None
        self.key: dict[str, Any] = {"from": self.name}

    def open(self) -> Mapping[str, Split]:
        return self._opened

    @cached_property
    def _opened(self) -> Mapping[str, Split]:
        datasets = need("datasets", f"fetching {self._path} from the hub")
        try:
            about = datasets.load_dataset_builder(self._path, **_pinned(self._revision)).info
            stored = _splits(list(about.splits or {}))
            image, label = self._columns(about.features or {}, datasets)
            train = about.splits[stored[next(iter(stored))]] if about.splits else None
            if train is not None and "test" in stored and (train.num_bytes or 0) > memory_allowed():
                return {
                    split: HubRows(datasets, self._path, name, image, label, revision=self._revision)
                    for split, name in stored.items()
                }
            tables = datasets.load_dataset(self._path, **_pinned(self._revision))
            return {
                split: Table(datasets, tables[name], image, None if split == "unlabelled" else label, self._path)
                for split, name in _splits(list(tables)).items()
            }
        except UserError:
            raise
        # The hub's client raises many types; each means that the data cannot be had from here now.
        except Exception as error:
            raise UserError(f"cannot fetch {self._path!r} from the hub ({reason(error)})") from error

    def _columns(self, features: Mapping[str, Any], datasets: Any) -> tuple[str, str | None]:
        images = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
        labels = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
        labels = labels or [name for name in features if name in LABEL_NAMES]
        return choose_columns(images, labels, list(features), self._path)


def memory_allowed() -> int:
    """Half of the machine's memory, in bytes: more than that of a data set on the hub is read as a stream."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (ValueError, OSError, AttributeError):
        return 4 << 30


def _splits(stored: Sequence[str]) -> dict[str, str]:
    """Our names of the splits to those of a data set on the hub."""
    test = next((name for name in TEST_NAMES if name in stored), None)
    if "train" not in stored or test is None:
        return {ALL: "train" if "train" in stored else stored[0]}
    found = {"train": "train", "test": test}
    unlabelled = next((name for name in UNLABELLED_NAMES if name in stored), None)
    return found if unlabelled is None else {**found, "unlabelled": unlabelled}


def _pinned(revision: str | None) -> dict[str, str]:
    return {} if revision is None else {"revision": revision}
