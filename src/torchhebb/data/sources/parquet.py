"""The source for images in Parquet: the schema of the hub, or any table with a column of encoded images."""

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from glob import escape
from pathlib import Path
from typing import Any

from torchhebb.data.decode import NO_LABEL, Records
from torchhebb.data.files import reason
from torchhebb.data.sources.source import ALL, Split, checked, stamp
from torchhebb.errors import UserError, need

IMAGE_NAMES = ("image", "img", "picture", "photo", "jpg", "jpeg", "png", "webp", "bytes", "content")
LABEL_NAMES = ("label", "labels", "class", "cls", "fine_label", "target", "category")
TEST_NAMES = ("test", "validation", "valid", "val", "dev")
_ROWS = 256


class ParquetSplit:
    """One split kept as Parquet: a column of images, bytes or {bytes, path}, and one of labels, integers or names.

    With a label of None that column is not read, and every label is NO_LABEL.
    Errors: UserError naming the file that is no Parquet or lacks a column.
    """

    def __init__(self, files: Sequence[Path], image: str, label: str | None) -> None:
        parquet = need("pyarrow.parquet", "reading Parquet")
        self.files, self.image, self.label = files, image, label
        self._stream: Any = None  # of `datasets`: making it costs more than reading a small file
        self.count, self._told = 0, list[str]()
        for file in files:
            with _reading(file):
                schema = parquet.read_schema(file)
                self.count += parquet.read_metadata(file).num_rows
                self._told = features_of(schema).get(label or "", {}).get("names", self._told)
            if missing := set(self.columns) - set(schema.names):
                lacking, present = ", ".join(sorted(missing)), ", ".join(schema.names)
                raise UserError(f"{file} has no column {lacking}; its columns: {present}")

    @property
    def names(self) -> Sequence[str]:
        return self._told or self._texts

    @property
    def labelled(self) -> bool:
        return self.label is not None

    @property
    def classes(self) -> int | None:
        """How many classes the labels may name: 0 where that is not known, None without labels."""
        return None if self.label is None else len(self.names)

    @property
    def columns(self) -> list[str]:
        return [self.image] if self.label is None else [self.image, self.label]

    @property
    def place(self) -> str:
        return str(self.files[0].parent)

    def labels(self) -> Sequence[int]:
        if self.label is None:
            return [NO_LABEL] * self.count
        return [label for batch in self._batches([self.label]) for label in self._numbers(batch[self.label])]

    def records(self) -> Records:
        for file in self.files:
            row = 0
            with closing(self._batches(self.columns, [file])) as batches:
                for batch in batches:
                    images = batch[self.image]
                    labels = self._numbers(batch[self.label]) if self.label else [NO_LABEL] * len(images)
                    for content, label in zip(images, labels, strict=True):
                        yield checked(f"row {row} of {file}", content, label, self.classes)
                        row += 1

    def stream(self, datasets: Any) -> Any:
        """The rows as an `IterableDataset`, a shard for every file, images not decoded."""
        if self._stream is None:
            files = [escape(str(file)) for file in self.files]
            stream = datasets.load_dataset("parquet", data_files=files, split="train", streaming=True)
            stream = stream.cast_column(self.image, datasets.Image(decode=False))
            self._stream = stream.select_columns(self.columns)
        return self._stream

    def _batches(
        self, columns: list[str], files: Sequence[Path] | None = None
    ) -> Generator[dict[str, list[Any]], None, None]:
        parquet = need("pyarrow.parquet", "reading Parquet")
        for file in self.files if files is None else files:
            with _reading(file):
                opened_file = parquet.ParquetFile(file)
            with opened_file:
                batches = opened_file.iter_batches(_ROWS, columns=columns)
                while True:
                    with _reading(file):
                        batch = next(batches, None)
                        rows = None if batch is None else batch.to_pydict()
                    if rows is None:
                        break
                    yield rows

    @cached_property
    def _texts(self) -> list[str]:
        """The names of the classes where labels are texts: those that occur, sorted."""
        if self.label is None:
            return []
        found: set[str] = set()
        for batch in self._batches([self.label]):
            given = [label for label in batch[self.label] if label is not None]
            if not all(isinstance(label, str) for label in given):
                return []
            found.update(given)
        return sorted(found)

    def _numbers(self, labels: list[Any]) -> list[Any]:
        if not any(isinstance(label, str) for label in labels):
            return labels
        numbers = {name: number for number, name in enumerate(self.names)}
        return [numbers.get(label) for label in labels]


class ParquetSource:
    """A Parquet file, or every one in a folder; files named train-* and test-* are its splits.

    The image column is the one of that type, or of a name in IMAGE_NAMES; the label column likewise, or there is none.
    Errors: UserError where there is no such file or column, or more than one column could be meant.
    """

    def __init__(self, path: Path) -> None:
        path = path.expanduser().absolute()
        if not path.exists():
            raise UserError(f"no such file or folder: {path}")
        self.name = f"parquet:{path}"
        files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        if not files:
            raise UserError(f"no Parquet in {path}: expected *.parquet")
        if other := next((file for file in files if file.exists() and not file.is_file()), None):
            raise UserError(f"{other} is no file")  # from a pipe Arrow would read for ever
        self._files = files
        self.key: dict[str, Any] = {"from": str(path), "parquet": stamp(files)}

    def open(self) -> Mapping[str, Split]:
        parquet = need("pyarrow.parquet", "reading Parquet")
        with _reading(self._files[0]):
            schema = parquet.read_schema(self._files[0])
        image, label = find_columns(schema, str(self._files[0]))
        named = {stem: _named(self._files, stem) for stem in ("train", *TEST_NAMES)}
        test = next((named[name] for name in TEST_NAMES if named[name]), [])
        parts = {"train": named["train"], "test": test} if named["train"] and test else {ALL: self._files}
        return {split: ParquetSplit(files, image, label) for split, files in parts.items()}


def features_of(schema: Any) -> dict[str, Any]:
    """What the hub's metadata in a schema say of its columns, by name, as far as they make sense."""
    try:
        told = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        found = {name: feature for name, feature in told.items() if isinstance(feature, dict)}
    except (ValueError, AttributeError, RecursionError):
        return {}
    return {name: feature for name, feature in found.items() if _names_classes(feature)}


def _names_classes(feature: dict[str, Any]) -> bool:
    """Whether the names of classes, where a feature gives some, are different texts."""
    names = feature.get("names", [])
    return isinstance(names, list) and all(isinstance(name, str) for name in names) and len({*names}) == len(names)


def find_columns(schema: Any, place: str) -> tuple[str, str | None]:
    """(image column, label column or None) of a Parquet schema."""
    types = need("pyarrow.types", "reading Parquet")
    features = features_of(schema)
    images = [name for name in schema.names if features.get(name, {}).get("_type") == "Image"]
    images = images or [field.name for field in schema if _holds_bytes(field.type, types)]
    labels = [name for name in schema.names if features.get(name, {}).get("_type") == "ClassLabel"]
    labels = labels or [
        field.name
        for field in schema
        if field.name in LABEL_NAMES and (types.is_integer(field.type) or _is_text(field.type, types))
    ]
    return choose_columns(images, labels, schema.names, place)


def choose_columns(
    images: Sequence[str], labels: Sequence[str], columns: Sequence[str], place: str
) -> tuple[str, str | None]:
    """Of the columns that could be meant the ones with the most usual names; UserError where that does not decide."""
    if not images:
        raise UserError(f"{place} has no column of images; its columns: {', '.join(columns)}")
    image = _first_of(images, IMAGE_NAMES)
    if image is None:
        raise UserError(f"{place} has several columns of images: {', '.join(images)}; name one of them image")
    label = _first_of(labels, LABEL_NAMES)
    if label is None and labels:
        raise UserError(f"{place} has several columns of labels: {', '.join(labels)}; name one of them label")
    return image, label


def _first_of(found: Sequence[str], names: Sequence[str]) -> str | None:
    return found[0] if len(found) == 1 else next((name for name in names if name in found), None)


def _named(files: Sequence[Path], stem: str) -> list[Path]:
    return [file for file in files if file.stem == stem or file.stem.startswith((f"{stem}-", f"{stem}_"))]


def _is_text(kind: Any, types: Any) -> bool:
    return types.is_string(kind) or types.is_large_string(kind)


def _holds_bytes(kind: Any, types: Any) -> bool:
    if types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return types.is_binary(kind) or types.is_large_binary(kind)


@contextmanager
def _reading(place: Path | str) -> Iterator[None]:
    try:
        yield
    # pyarrow and datasets raise a dozen unrelated types for a damaged or unreadable file.
    except Exception as error:
        raise UserError(f"cannot read the Parquet in {place}: {reason(error)}") from error
