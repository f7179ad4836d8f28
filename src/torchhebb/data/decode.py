"""Images in files -> uint8 tensors: records of a source are brought to one mode and size, and written by slices.

A record is (place, content, label): what to name when it fails, the encoded image as bytes or as a path, its class.
"""

import io
import json
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from gc import collect
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchhebb.errors import UserError, need
from torchhebb.progress import SILENT, Progress

Record = tuple[str, bytes | Path, int]
Records = Generator[Record, None, None]
Allocate = Callable[[tuple[int, ...]], Tensor]
Box = tuple[float, float, float, float]
Cut = Callable[[int, int], Box]
NO_LABEL = -1
UNLABELLED = -1  # in place of a number of classes
_ROWS = 256
_ORIENTATION = 0x0112
_TURNED = 5


def decode(
    records: Records,
    labels: Tensor,
    channels: int,
    size: int | None,
    allocate: Allocate,
    progress: Progress = SILENT,
    *,
    cut: Cut | None = None,
) -> Tensor:
    """Fill `labels` (N,) and a uint8 tensor (N, channels, H, W) from exactly N records, and return the images.

    The first image sets H x W, unless `size` does, to which each is resized (bilinear, antialiased): all of it with its
    aspect given up, or what `cut(width, height)` leaves of it, see `centre_square`.
    `allocate((N, channels, H, W))` gives the tensor. Errors: UserError for an unreadable image or another size.
    """
    images, first, count = None, "", 0
    # An error holds on to this frame: without closing, a half-read stream would outlive it (see _by_datasets).
    with closing(records):
        for place, content, label in records:
            pixels = read_pixels(place, content, channels, size, cut)
            if images is None:
                images, first = allocate((len(labels), *pixels.shape)), place
            if pixels.shape != images.shape[1:]:
                raise sizes_differ(first, images.shape[:1:-1], place, pixels.shape[:0:-1])
            images[count] = torch.from_numpy(pixels)
            labels[count] = label
            count += 1
            progress.advance(1)
    if images is None or count != len(labels):
        raise UserError(f"expected {len(labels)} images, found {count}")
    return images


def centre_square(width: int, height: int) -> Box:
    """The largest square in the middle: cut before scaling, it gives the shorter side scaled and the centre cropped.

    >>> centre_square(500, 300)
    (100.0, 0.0, 400.0, 300.0)
    """
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def read_pixels(
    place: str, content: bytes | Path, channels: int, size: int | None, cut: Cut | None = None
) -> np.ndarray:
    """One image as uint8 (channels, H, W): turned upright, alpha dropped, grey or RGB as `channels` says.

    With a size, the box (left, top, right, bottom) that `cut(width, height)` gives, or everything, is scaled to it.
    """
    image, operations = need("PIL.Image", "reading images"), need("PIL.ImageOps", "reading images")
    with opened(place, content) as picture:
        upright = operations.exif_transpose(picture)
        if upright.mode.startswith("I;16"):
            # A 16-bit image keeps its upper byte; convert would clip it at 255.
            upright = image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
        if upright.mode == "P":
            # By way of RGBA: PIL warns where a palette with transparency goes to RGB at once.
            upright = upright.convert("RGBA")
        same = upright.convert("L" if channels == 1 else "RGB")
        if size is not None:
            whole = (0.0, 0.0, *map(float, same.size))
            box = whole if cut is None else cut(*same.size)
            if same.size != (size, size) or box != whole:
                same = same.resize((size, size), image.Resampling.BILINEAR, box=box)
        pixels = np.array(same, dtype=np.uint8)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def read_header(place: str, content: bytes | Path) -> tuple[bool, tuple[int, int]]:
    """(is grey, (width, height) once upright), without decoding the pixels."""
    with opened(place, content) as picture:
        width, height = picture.size
        turned = picture.getexif().get(_ORIENTATION, 1) >= _TURNED
        grey = picture.mode in {"1", "L", "LA", "La"} or picture.mode.startswith("I;16")
    return grey, (height, width) if turned else (width, height)


@contextmanager
def opened(place: str, content: bytes | Path) -> Iterator[Any]:
    """The PIL image of `content`; whatever goes wrong while it is read becomes a UserError that names `place`."""
    image = need("PIL.Image", "reading images")
    try:
        with image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as picture:
            if picture.mode in {"I", "F"}:
                raise ValueError("32-bit pixels; save it with 8 bits")
            yield picture
    # A damaged image makes PIL raise nearly anything: OSError, ValueError, SyntaxError, struct.error, its bomb error.
    except Exception as error:
        detail = "it is not an image" if type(error).__name__ == "UnidentifiedImageError" else reason(error)
        raise UserError(f"cannot read the image {place}: {detail}") from error


def reason(error: BaseException) -> str:
    """The first line of an error, or its type where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def sizes_differ(first: str, first_size: Sequence[int], other: str, other_size: Sequence[int]) -> UserError:
    """The error for two images of different (width, height)."""
    one, two = ("x".join(map(str, size)) for size in (first_size, other_size))
    return UserError(f"images differ in size: {first} is {one}, {other} is {two}; bring them to one size with --size N")


class ParquetSplit:
    """One split kept as local Parquet in the hub's schema: an image column {bytes, path} and an integer label column.

    With a label of None that column is not read, and every label is NO_LABEL.
    Errors: UserError naming the file that is no Parquet or lacks a column.
    """

    def __init__(self, files: Sequence[Path], image: str, label: str | None) -> None:
        parquet = need("pyarrow.parquet", "reading Parquet")
        self.files, self.image, self.label = files, image, label
        self._stream: Any = None  # of `datasets`: making it costs more than reading a small file
        self.count, self.names = 0, list[str]()
        for file in files:
            with _reading(file):
                schema = parquet.read_schema(file)
                self.count += parquet.read_metadata(file).num_rows
                about = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
                self.names = about.get("info", {}).get("features", {}).get(label, {}).get("names", self.names)
            if missing := set(self.columns) - set(schema.names):
                lacking, present = ", ".join(sorted(missing)), ", ".join(schema.names)
                raise UserError(f"{file} has no column {lacking}; its columns: {present}")

    @property
    def classes(self) -> int:
        """How many classes the labels may name: 0 where that is not known, UNLABELLED without labels."""
        return UNLABELLED if self.label is None else len(self.names)

    @property
    def columns(self) -> list[str]:
        return [self.image] if self.label is None else [self.image, self.label]

    def records(self) -> Records:
        """The rows in order, read by `datasets`, or by pyarrow alone where `datasets` is not installed."""
        try:
            import datasets
        except ImportError:
            batches = self._by_pyarrow()
        else:
            batches = self._by_datasets(datasets)
        row = 0
        with closing(batches):
            while True:
                with _reading(self.place):
                    columns = next(batches, None)
                if columns is None:
                    return
                for content, label in zip(*columns, strict=True):
                    yield checked(f"row {row} of {self.place}", content, label, self.classes)
                    row += 1

    def stream(self, datasets: Any) -> Any:
        """The rows as an `IterableDataset`, a shard for every file, images not decoded."""
        if self._stream is not None:
            return self._stream
        files = [escape(str(file)) for file in self.files]
        stream = datasets.load_dataset("parquet", data_files=files, split="train", streaming=True)
        stream = stream.cast_column(self.image, datasets.Image(decode=False))
        self._stream = stream.select_columns(self.columns)
        return self._stream

    @property
    def place(self) -> str:
        return str(self.files[0].parent)

    def _by_datasets(self, datasets: Any) -> Generator[tuple[list, list], None, None]:
        stream = self.stream(datasets)
        batches = stream.iter(_ROWS)
        try:
            for batch in batches:
                yield batch[self.image], self._labels(batch)
        finally:
            # A stream that is left half read can keep the interpreter from exiting (apache/arrow issue 45214).
            batches.close()
            del batches, stream
            collect()

    def _by_pyarrow(self) -> Generator[tuple[list, list], None, None]:
        parquet = need("pyarrow.parquet", "reading Parquet")
        for file in self.files:
            with parquet.ParquetFile(file) as opened_file:
                for batch in opened_file.iter_batches(_ROWS, columns=self.columns):
                    yield batch[self.image].to_pylist(), self._labels(batch.to_pydict())

    def _labels(self, batch: Any) -> list[int]:
        return [NO_LABEL] * len(batch[self.image]) if self.label is None else batch[self.label]


def checked(place: str, content: Any, label: Any, classes: int) -> Record:
    """A record from one row of a table; UserError for a row without an image or without a class."""
    if not content or not content.get("bytes"):
        raise UserError(f"{place} holds no image")
    if label == NO_LABEL and classes == UNLABELLED:
        return place, content["bytes"], label
    if not isinstance(label, int) or label < 0 or (classes and label >= classes):
        raise UserError(
            f"{place} has the label {label!r}; expected 0 to {classes - 1}" if classes else f"{place} has no label"
        )
    return place, content["bytes"], label


@contextmanager
def _reading(place: Path | str) -> Iterator[None]:
    try:
        yield
    # pyarrow and datasets raise a dozen unrelated types for a damaged or unreadable file.
    except Exception as error:
        raise UserError(f"cannot read the Parquet in {place}: {reason(error)}") from error
