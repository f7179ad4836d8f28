"""Names -> data sets: the embedded digits, hub data sets from local Parquet or the hub, a user's own folder of images.

A source knows what it is made from (`key`, which the store hashes, so that changed files give fresh data) and how to
give the records of a split. Whatever the source, images are decoded once and memory-mapped afterwards.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from torchhebb.data.decode import ParquetSplit, Records, checked, decode, need, reason
from torchhebb.data.folder import ImageFolder, stamp
from torchhebb.data.images import SPLITS, Data, Images, fingerprint, stratified_split
from torchhebb.data.store import Store, Writer
from torchhebb.errors import UserError, unknown_name
from torchhebb.progress import SILENT, Progress

ENVIRONMENT = "TORCHHEBB_DATA"
_FOLDER = "folder:"
_FORMAT = 1


@dataclass(frozen=True)
class HubName:
    """Where the hub keeps a data set and what its columns are called."""

    path: str
    image: str
    label: str
    channels: int
    test: str = "test"  # "valid" where the hub has no labels for what it calls test

    @property
    def splits(self) -> dict[str, str]:
        """Our names of the splits to the hub's."""
        return {"train": "train", "test": self.test}


_HUB = {
    "mnist": HubName("ylecun/mnist", "image", "label", 1),
    "fashion_mnist": HubName("zalando-datasets/fashion_mnist", "image", "label", 1),
    "cifar10": HubName("uoft-cs/cifar10", "img", "label", 3),
    "cifar100": HubName("uoft-cs/cifar100", "img", "fine_label", 3),
    "tiny_imagenet": HubName("zh-plus/tiny-imagenet", "image", "label", 3, test="valid"),
}


class Split(Protocol):
    """The records of one split, `count` of them, and the classes' names (empty where the source names none)."""

    @property
    def count(self) -> int: ...

    @property
    def names(self) -> Sequence[str]: ...

    def records(self) -> Records: ...


class Source(Protocol):
    """Where a data set comes from; `open` is called only when the store does not have it."""

    key: dict[str, Any]

    def open(self, size: int | None) -> tuple[int, Mapping[str, Split]]:
        """(channels, split of each name)"""
        ...


def list_data() -> tuple[str, ...]:
    """The names that `load_data` knows, beside `folder:PATH`.

    >>> list_data()
    ('cifar10', 'cifar100', 'digits', 'fashion_mnist', 'mnist', 'tiny_imagenet')
    """
    return tuple(sorted(["digits", *_HUB]))


def load_data(
    name: str,
    *,
    data_dir: Path | str | None = None,
    size: int | None = None,
    store: Store | None = None,
    progress: Progress | None = None,
) -> Data:
    """The data set called `name`: one of `list_data()`, or `folder:PATH` for your own images by class.

    `data_dir` (else $TORCHHEBB_DATA) holds `<name>/data/train-*.parquet` and `test-*.parquet` (tiny_imagenet:
    `valid-*.parquet`); once set, a data set missing there is an error, and without it the hub is asked. A folder is
    PATH/train/<class>/* with PATH/test/<class>/*, or PATH/<class>/*, of which a fixed fifth is held out. `size` resizes
    to size x size.
    Errors: UserError, in one line, for whatever is missing, unreadable or does not fit together.

    >>> data = load_data("digits")
    >>> tuple(data.train.images.shape), len(data.test), data.fingerprint == load_data("digits").fingerprint
    ((1348, 1, 8, 8), 449, True)
    """
    if size is not None and size < 1:
        raise UserError(f"size must be at least 1, got {size}")
    if name == "digits":
        return _digits(size)
    source = _source(name, data_dir)
    key = {"data": name.partition(":")[0], "format": _FORMAT, "size": size, **source.key}
    made = (store or Store()).get(key, lambda writer: _make(writer, source, size, name, progress or SILENT))
    about = json.loads(made["about"].numpy().tobytes())
    train, test = (Images(made[f"{split}_images"], made[f"{split}_labels"]) for split in SPLITS)
    return Data(name, train, test, tuple(about["classes"]), about["fingerprint"])


def _source(name: str, data_dir: Path | str | None) -> Source:
    if name.startswith(_FOLDER):
        if name == _FOLDER:
            raise UserError(f"{_FOLDER} needs a path, as in {_FOLDER}photos")
        return ImageFolder(Path(name.removeprefix(_FOLDER)).expanduser().resolve())
    if name not in _HUB:
        raise unknown_name("data set", name, [*list_data(), f"{_FOLDER}PATH"])
    chosen = data_dir or os.environ.get(ENVIRONMENT)
    return _Parquet(name, Path(chosen).expanduser().resolve()) if chosen else _Hub(name)


def _make(writer: Writer, source: Source, size: int | None, name: str, progress: Progress) -> None:
    """Decode both splits into the store's entry, and note what was learned on the way."""
    channels, splits = source.open(size)
    done, names = [], list(splits["train"].names)
    progress.start(f"decoding {name}", sum(split.count for split in splits.values()), "images")
    try:
        for split_name, split in splits.items():
            labels = writer.array(f"{split_name}_labels", (split.count,), torch.int64)
            allocate = partial(_allocate, writer, f"{split_name}_images")
            done.append(Images(decode(split.records(), labels, channels, size, allocate, progress), labels))
    finally:
        progress.finish()
    train, test = done
    if train.images.shape[1:] != test.images.shape[1:]:
        raise UserError(
            f"{name} has training images of {_shape(train)} and test images of {_shape(test)}; "
            "bring them to one size with --size N"
        )
    classes = names or [str(label) for label in range(int(max(train.labels.max(), test.labels.max())) + 1)]
    text = json.dumps({"classes": classes, "fingerprint": fingerprint(done)}).encode()
    writer.array("about", (len(text),), torch.uint8)[:] = torch.frombuffer(bytearray(text), dtype=torch.uint8)


def _allocate(writer: Writer, name: str, shape: tuple[int, ...]) -> torch.Tensor:
    return writer.array(name, shape, torch.uint8)


def _shape(split: Images) -> str:
    height, width = split.images.shape[2:]
    return f"{width}x{height}"


class _Parquet:
    """A hub data set kept as local Parquet."""

    def __init__(self, name: str, data_dir: Path) -> None:
        if not data_dir.is_dir():
            raise UserError(f"no such data folder: {data_dir}")
        self._hub, folder = _HUB[name], data_dir / name / "data"
        self._files = {}
        for split, stored in self._hub.splits.items():
            self._files[split] = sorted(folder.glob(f"{stored}-*.parquet"))
            if not self._files[split]:
                raise UserError(f"no data set {name!r} in {data_dir}: expected {folder}/{stored}-*.parquet")
        self.key = {"from": str(folder), "files": stamp(file for files in self._files.values() for file in files)}

    def open(self, size: int | None) -> tuple[int, Mapping[str, Split]]:
        hub = self._hub
        return hub.channels, {split: ParquetSplit(files, hub.image, hub.label) for split, files in self._files.items()}


class _Hub:
    """A hub data set, fetched by `datasets` into its own cache."""

    def __init__(self, name: str) -> None:
        self._name, self._hub = name, _HUB[name]
        self.key = {"from": f"hub:{self._hub.path}"}

    def open(self, size: int | None) -> tuple[int, Mapping[str, Split]]:
        datasets = need("datasets", f"fetching {self._name} from the hub")
        try:
            tables = datasets.load_dataset(self._hub.path)
        # The hub's client raises many types; each means that the data cannot be had from here now.
        except Exception as error:
            raise UserError(
                f"cannot fetch {self._name!r} from the hub ({reason(error)}); "
                f"with a local copy set --data-dir or {ENVIRONMENT}"
            ) from error
        hub = self._hub
        return hub.channels, {split: _Table(tables[stored], hub, datasets) for split, stored in hub.splits.items()}


class _Table:
    """One split of a data set that `datasets` has on disk."""

    def __init__(self, table: Any, hub: HubName, datasets: Any) -> None:
        self._hub, self.count = hub, len(table)
        self._table = table.cast_column(hub.image, datasets.Image(decode=False))
        self.names = getattr(table.features[hub.label], "names", [])

    def records(self) -> Records:
        for row, sample in enumerate(self._table):
            yield checked(
                f"row {row} of {self._hub.path}", sample[self._hub.image], sample[self._hub.label], len(self.names)
            )


def _digits(size: int | None) -> Data:
    """scikit-learn's 1797 handwritten digits, 8 x 8, a fixed stratified quarter of them held out."""
    digits = need("sklearn.datasets", "the digits data set").load_digits()
    pixels = torch.from_numpy(np.rint(digits.images * (255 / 16)).astype(np.uint8))[:, None]
    if size is not None:
        image = need("PIL.Image", "resizing images")
        resized = [image.fromarray(x.numpy()).resize((size, size), image.Resampling.BILINEAR) for x in pixels[:, 0]]
        pixels = torch.from_numpy(np.stack([np.asarray(x) for x in resized]))[:, None]
    every = Images(pixels, torch.from_numpy(digits.target.astype(np.int64)))
    train, test = (every.select(index) for index in stratified_split(every.labels, 0.25, seed=0))
    return Data("digits", train, test, tuple(str(digit) for digit in range(10)), fingerprint([train, test]))
