"""The catalogue of named data sets: the embedded digits, and hub data sets from local Parquet or the hub."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from torchhebb.data.files import reason
from torchhebb.data.images import stratified_split
from torchhebb.data.sources.arrays import ArraySplit
from torchhebb.data.sources.hub import HubRows, Table
from torchhebb.data.sources.parquet import ParquetSplit
from torchhebb.data.sources.source import Split, stamp
from torchhebb.errors import UserError, need

ENVIRONMENT = "TORCHHEBB_DATA"


@dataclass(frozen=True)
class HubName:
    """The path of a data set on the hub and the names of its columns."""

    path: str
    image: str
    label: str
    channels: int
    test: str = "test"  # "valid" where the hub has no labels for what it calls test
    train: str | None = "train"  # None: for evaluation alone
    unlabelled: str | None = None
    config: str | None = None
    size: int | None = None  # images of all sizes: cut and scaled to this
    streamed: bool = False  # the training images do not fit in memory
    gated: bool = False  # the hub requires users to accept its terms

    @property
    def splits(self) -> dict[str, str]:
        """Our names of the splits to the hub's."""
        named = {"train": self.train, "test": self.test, "unlabelled": self.unlabelled}
        return {split: stored for split, stored in named.items() if stored is not None}


CATALOGUE = {
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


def list_data() -> tuple[str, ...]:
    """The names of the catalogue; beside them stand `folder:PATH`, `parquet:PATH` and `hub:OWNER/NAME`.

    >>> list_data()
    ('cifar10', 'cifar100', 'digits', 'fashion_mnist', 'imagenet', 'imagenette', 'imagenetv2', 'mnist', 'stl10', \
'tiny_imagenet')
    """
    return tuple(sorted(["digits", *CATALOGUE]))


class DigitsSource:
    """scikit-learn's 1797 handwritten digits, 8 x 8, a fixed stratified quarter of them held out."""

    name = "digits"
    key: dict[str, Any] = {"from": "scikit-learn"}

    def open(self) -> Mapping[str, Split]:
        return dict(_digits())


@cache
def _digits() -> dict[str, Split]:
    """Read once a process, as scikit-learn parses a table of text; the arrays are read-only."""
    digits = need("sklearn.datasets", "the digits data set").load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = digits.target.astype(np.int64)
    names = tuple(str(digit) for digit in range(10))
    splits: dict[str, Split] = {}
    for split, index in zip(("train", "test"), stratified_split(labels, 0.25, seed=0), strict=True):
        arrays = pixels[index.numpy()], labels[index.numpy()]
        for array in arrays:
            array.setflags(write=False)
        splits[split] = ArraySplit(*arrays, names, f"digits/{split}")
    return splits


class LocalSource:
    """A hub data set kept as local Parquet."""

    def __init__(self, name: str, data_dir: Path) -> None:
        if not data_dir.is_dir():
            raise UserError(f"no such data folder: {data_dir}")
        self.name, self.hub, folder = name, CATALOGUE[name], data_dir / name / "data"
        self._files: dict[str, list[Path]] = {}
        for split, stored in self.hub.splits.items():
            if found := sorted(folder.glob(f"{stored}-*.parquet")):
                self._files[split] = found
            elif split != "unlabelled":  # a copy may go without
                raise UserError(f"no data set {name!r} in {data_dir}: expected {folder}/{stored}-*.parquet")
        self.key = {"from": str(folder), "files": stamp(file for files in self._files.values() for file in files)}

    def open(self) -> Mapping[str, Split]:
        return {
            split: ParquetSplit(files, self.hub.image, None if split == "unlabelled" else self.hub.label)
            for split, files in self._files.items()
        }


class FetchedSource:
    """A hub data set, fetched by `datasets` into its own cache."""

    def __init__(self, name: str) -> None:
        self.name, self.hub = name, CATALOGUE[name]
        self.key = {"from": f"hub:{self.hub.path}"}

    def open(self) -> Mapping[str, Split]:
        return self._splits

    @cached_property
    def _splits(self) -> Mapping[str, Split]:
        datasets, hub = need("datasets", f"fetching {self.name} from the hub"), self.hub
        try:
            if hub.streamed:
                return {
                    split: HubRows(datasets, hub.path, stored, hub.image, hub.label, config=hub.config)
                    for split, stored in hub.splits.items()
                }
            tables = datasets.load_dataset(hub.path, hub.config)
        # The hub's client raises many types; each means that the data cannot be had from here now.
        except Exception as error:
            address = f"https://huggingface.co/datasets/{hub.path}"
            gate = f"; it is gated: accept its terms at {address}, then `hf auth login`" if hub.gated else ""
            raise UserError(
                f"cannot fetch {self.name!r} from the hub ({reason(error)}{gate}); "
                f"with a local copy set --data-dir or {ENVIRONMENT}"
            ) from error
        return {
            split: Table(datasets, tables[stored], hub.image, None if split == "unlabelled" else hub.label, hub.path)
            for split, stored in hub.splits.items()
        }
