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

from torchhebb.data.decode import (
    NO_LABEL,
    UNLABELLED,
    Cut,
    ParquetSplit,
    Records,
    centre_square,
    checked,
    decode,
    reason,
)
from torchhebb.data.folder import ImageFolder, stamp
from torchhebb.data.images import Data, Images, fingerprint, stratified_split
from torchhebb.data.store import Store, Writer
from torchhebb.data.stream import Rows, Stream, in_file_order
from torchhebb.errors import UserError, need, unknown_name
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
    train: str | None = "train"  # None: for evaluation alone
    unlabelled: str | None = None
    config: str | None = None
    size: int | None = None  # images of all sizes: the square in their middle, scaled to this
    streamed: bool = False  # the training images are never all at hand
    gated: bool = False  # the hub asks who wants it to accept its terms

    @property
    def splits(self) -> dict[str, str]:
        """Our names of the splits to the hub's."""
        named = {"train": self.train, "test": self.test, "unlabelled": self.unlabelled}
        return {split: stored for split, stored in named.items() if stored is not None}


_HUB = {
    "mnist": HubName("ylecun/mnist", "image", "label", 1),
    "fashion_mnist": HubName("zalando-datasets/fashion_mnist", "image", "label", 1),
    "cifar10": HubName("uoft-cs/cifar10", "img", "label", 3),
    "cifar100": HubName("uoft-cs/cifar100", "img", "fine_label", 3),
    "tiny_imagenet": HubName("zh-plus/tiny-imagenet", "image", "label", 3, test="valid"),
    "stl10": HubName("jxie/stl10", "image", "label", 3, unlabelled="unlabeled"),
    "imagenette": HubName("frgfm/imagenette", "image", "label", 3, test="validation", config="160px", size=160),
    "imagenet": HubName(
        "ILSVRC/imagenet-1k", "image", "label", 3, test="validation", size=160, streamed=True, gated=True
    ),
    "imagenetv2": HubName("clip-benchmark/wds_imagenetv2", "webp", "cls", 3, train=None, size=160),
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
    ('cifar10', 'cifar100', 'digits', 'fashion_mnist', 'imagenet', 'imagenette', 'imagenetv2', 'mnist', 'stl10', \
'tiny_imagenet')
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

    `data_dir` (else $TORCHHEBB_DATA) holds `<name>/data/train-*.parquet` and `test-*.parquet` (docs/guides/data.md
    names exceptions); once set, a data set missing there is an error, and without it the hub is asked. A folder
    is PATH/train/<class>/* with PATH/test/<class>/*, or PATH/<class>/*, of which a fixed fifth is held out. `size`
    resizes to size x size; photographs of all sizes (imagenette, imagenet, imagenetv2) give the square in their middle,
    160 x 160 unless `size` says otherwise. The training images of imagenet are a `Stream`.
    Errors: UserError, in one line, for whatever is missing, unreadable or does not fit together.

    >>> data = load_data("digits")
    >>> tuple(data.train.images.shape), len(data.test), data.fingerprint == load_data("digits").fingerprint
    ((1348, 1, 8, 8), 449, True)
    """
    if size is not None and size < 1:
        raise UserError(f"size must be at least 1, got {size}")
    if name == "digits":
        return _digits(size)
    hub = _HUB.get(name)
    if hub is not None and hub.train is None:
        raise UserError(f"{name} is for evaluation alone: torchhebb evaluate accuracy RUN --test-data {name}")
    source = _source(name, data_dir)
    size, cut = _framing(hub, size)
    streamed = hub is not None and hub.streamed
    made, about = _stored(source, name, size, cut, store, progress, leave_out={"train"} if streamed else set())
    classes, test = tuple(about["classes"]), Images(made["test_images"], made["test_labels"])
    if streamed:
        assert hub is not None and size is not None
        train: Images = _stream(source, hub, size)
        return Data(name, train, test, classes, f"{about['fingerprint']}-{len(train)}")
    train = Images(made["train_images"], made["train_labels"])
    unlabelled = Images(made["unlabelled_images"], made["unlabelled_labels"]) if "unlabelled_images" in made else None
    return Data(name, train, test, classes, about["fingerprint"], unlabelled)


def load_test(
    name: str,
    *,
    data_dir: Path | str | None = None,
    size: int | None = None,
    store: Store | None = None,
    progress: Progress | None = None,
) -> tuple[Images, tuple[str, ...]]:
    """The test images of a data set and the names of its classes, for those that have nothing else too (imagenetv2).

    Arguments and errors as in `load_data`.

    >>> images, classes = load_test("digits")
    >>> len(images), classes[:3]
    (449, ('0', '1', '2'))
    """
    hub = _HUB.get(name)
    if hub is None or hub.train is not None:
        data = load_data(name, data_dir=data_dir, size=size, store=store, progress=progress)
        return data.test, data.classes
    source = _source(name, data_dir)
    size, cut = _framing(hub, size)
    made, about = _stored(source, name, size, cut, store, progress, leave_out=set())
    return Images(made["test_images"], made["test_labels"]), tuple(about["classes"])


def _framing(hub: HubName | None, size: int | None) -> tuple[int | None, Cut | None]:
    """(size to scale to, what of an image is scaled)"""
    return (size or hub.size, centre_square) if hub is not None and hub.size is not None else (size, None)


def _stored(
    source: Source,
    name: str,
    size: int | None,
    cut: Cut | None,
    store: Store | None,
    progress: Progress | None,
    leave_out: set[str],
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The decoded splits and what is known of them: classes and fingerprint."""
    key = {"data": name.partition(":")[0], "format": _FORMAT, "size": size, **source.key}
    if cut is not None:
        key["cut"] = cut.__name__
    made = (store or Store()).get(
        key, lambda writer: _make(writer, source, size, cut, leave_out, name, progress or SILENT)
    )
    return made, json.loads(made["about"].numpy().tobytes())


def _stream(source: Source, hub: HubName, size: int) -> Stream:
    _, splits = source.open(size)
    split = splits["train"]
    assert isinstance(split, Rows)
    return Stream(split, hub.channels, size)


def _source(name: str, data_dir: Path | str | None) -> Source:
    if name.startswith(_FOLDER):
        if name == _FOLDER:
            raise UserError(f"{_FOLDER} needs a path, as in {_FOLDER}photos")
        return ImageFolder(Path(name.removeprefix(_FOLDER)).expanduser().resolve())
    if name not in _HUB:
        raise unknown_name("data set", name, [*list_data(), f"{_FOLDER}PATH"])
    chosen = data_dir or os.environ.get(ENVIRONMENT)
    return _Parquet(name, Path(chosen).expanduser().resolve()) if chosen else _Hub(name)


def _make(
    writer: Writer,
    source: Source,
    size: int | None,
    cut: Cut | None,
    leave_out: set[str],
    name: str,
    progress: Progress,
) -> None:
    """Decode the splits into the store's entry, and note what was learned on the way."""
    channels, opened = source.open(size)
    splits = {split: opened[split] for split in opened if split not in leave_out}
    done: dict[str, Images] = {}
    names = list(opened.get("train", opened["test"]).names)
    progress.start(f"decoding {name}", sum(split.count for split in splits.values()), "images")
    try:
        for split_name, split in splits.items():
            labels = writer.array(f"{split_name}_labels", (split.count,), torch.int64)
            allocate = partial(_allocate, writer, f"{split_name}_images")
            images = decode(split.records(), labels, channels, size, allocate, progress, cut=cut)
            done[split_name] = Images(images, labels)
    finally:
        progress.finish()
    test = done["test"]
    for split_name, part in done.items():
        if part.images.shape[1:] != test.images.shape[1:]:
            kind = {"train": "training"}.get(split_name, split_name)
            raise UserError(
                f"{name} has {kind} images of {_shape(part)} and test images of {_shape(test)}; "
                "bring them to one size with --size N"
            )
    classes = names or [str(label) for label in range(1 + max(int(part.labels.max()) for part in done.values()))]
    text = json.dumps({"classes": classes, "fingerprint": fingerprint(list(done.values()))}).encode()
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
        self._files: dict[str, list[Path]] = {}
        for split, stored in self._hub.splits.items():
            if found := sorted(folder.glob(f"{stored}-*.parquet")):
                self._files[split] = found
            elif split != "unlabelled":  # a copy may go without
                raise UserError(f"no data set {name!r} in {data_dir}: expected {folder}/{stored}-*.parquet")
        self.key = {"from": str(folder), "files": stamp(file for files in self._files.values() for file in files)}

    def open(self, size: int | None) -> tuple[int, Mapping[str, Split]]:
        hub = self._hub
        return hub.channels, {
            split: ParquetSplit(files, hub.image, None if split == "unlabelled" else hub.label)
            for split, files in self._files.items()
        }


class _Hub:
    """A hub data set, fetched by `datasets` into its own cache."""

    def __init__(self, name: str) -> None:
        self._name, self._hub = name, _HUB[name]
        self.key = {"from": f"hub:{self._hub.path}"}

    def open(self, size: int | None) -> tuple[int, Mapping[str, Split]]:
        datasets, hub = need("datasets", f"fetching {self._name} from the hub"), self._hub
        try:
            if hub.streamed:
                return hub.channels, {split: _HubRows(hub, stored, datasets) for split, stored in hub.splits.items()}
            tables = datasets.load_dataset(hub.path, hub.config)
        # The hub's client raises many types; each means that the data cannot be had from here now.
        except Exception as error:
            address = f"https://huggingface.co/datasets/{hub.path}"
            gate = f"; it is gated: accept its terms at {address}, then `hf auth login`" if hub.gated else ""
            raise UserError(
                f"cannot fetch {self._name!r} from the hub ({reason(error)}{gate}); "
                f"with a local copy set --data-dir or {ENVIRONMENT}"
            ) from error
        return hub.channels, {
            split: _Table(tables[stored], hub, datasets, labelled=split != "unlabelled")
            for split, stored in hub.splits.items()
        }


class _Table:
    """One split of a data set that `datasets` has on disk."""

    def __init__(self, table: Any, hub: HubName, datasets: Any, *, labelled: bool = True) -> None:
        self._hub, self.count, self._labelled = hub, len(table), labelled
        self._table = table.cast_column(hub.image, datasets.Image(decode=False))
        self.names = getattr(table.features[hub.label], "names", []) if labelled else []

    def records(self) -> Records:
        classes = len(self.names) if self._labelled else UNLABELLED
        for row, sample in enumerate(self._table):
            label = sample[self._hub.label] if self._labelled else NO_LABEL
            yield checked(f"row {row} of {self._hub.path}", sample[self._hub.image], label, classes)


class _HubRows:
    """One split that stays on the hub, read as a stream."""

    def __init__(self, hub: HubName, stored: str, datasets: Any) -> None:
        self._hub, self._stored, self.image = hub, stored, hub.image
        self.label: str | None = hub.label
        about = datasets.load_dataset_builder(hub.path, hub.config).info
        self.count: int = about.splits[stored].num_examples
        self.names = getattr(about.features[hub.label], "names", [])

    @property
    def classes(self) -> int:
        return len(self.names)

    @property
    def place(self) -> str:
        return f"{self._hub.path} ({self._stored})"

    def stream(self, datasets: Any) -> Any:
        hub = self._hub
        stream = datasets.load_dataset(hub.path, hub.config, split=self._stored, streaming=True)
        return stream.cast_column(hub.image, datasets.Image(decode=False)).select_columns([hub.image, hub.label])

    def records(self) -> Records:
        return in_file_order(self)


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
