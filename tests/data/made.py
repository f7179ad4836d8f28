"""Small data sets in the layout of large ones: the same files, columns and splits, a few images made of colours."""

import io
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def encoded(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def noise(count: int, size: int = 6, seed: int = 0) -> np.ndarray:
    """So many images of noise, (count, size, size, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def colour(label: int, number: int, width: int = 8, height: int = 8) -> np.ndarray:
    """An image of one grey value: (label, number) in its red and green, stripes in its blue."""
    array = np.zeros((height, width, 3), dtype=np.uint8)
    array[..., 0], array[..., 1] = label, number
    array[:, ::2, 2] = 30 * (label + 1)
    return array


def write(
    path: Path,
    images: list[np.ndarray],
    labels: list[int] | None,
    classes: int,
    image: str = "image",
    label: str = "label",
) -> None:
    """One Parquet file as the hub keeps them; labels of None leave the column out."""
    columns: dict = {image: datasets.Image()}
    rows: dict = {image: [{"bytes": encoded(array), "path": None} for array in images]}
    if labels is not None:
        columns[label] = datasets.ClassLabel(names=[f"class {number}" for number in range(classes)])
        rows[label] = labels
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(rows).cast(datasets.Features(columns).arrow_schema)
    pq.write_table(table, path, row_group_size=4)


def stl10(folder: Path, train: int = 40, test: int = 20, unlabelled: int = 30) -> Path:
    """STL-10's layout with two classes of 8 x 8 images; one file of the unlabelled part has labels of -1, one none."""
    data = folder / "stl10" / "data"
    for split, count in (("train", train), ("test", test)):
        labels = [number % 2 for number in range(count)]
        images = [colour(label, number) for number, label in enumerate(labels)]
        write(data / f"{split}-00000-of-00001.parquet", images, labels, 2)
    images = [colour(7, number) for number in range(unlabelled)]
    for part in range(2):
        write(data / f"unlabeled-0000{part}-of-00002-a1b2.parquet", images[part::2], None, 2)
    return folder


def imagenet(folder: Path, classes: int = 6, each: int = 20, shards: int = 12, size: int = 16) -> Path:
    """ImageNet's layout, the shards sorted by class, images of several sizes."""
    data = folder / "imagenet" / "data"
    labels = [label for label in range(classes) for _ in range(each)]
    images = [colour(label, number % each, size + number % 3, size + number % 5) for number, label in enumerate(labels)]
    step = len(labels) // shards
    for shard in range(shards):
        here = slice(shard * step, (shard + 1) * step)
        write(data / f"train-{shard:05}-of-{shards:05}.parquet", images[here], labels[here], classes)
    write(data / "validation-00000-of-00001.parquet", images[::4], labels[::4], classes)
    return folder


def imagenetv2(folder: Path, classes: int = 6) -> Path:
    """ImageNetV2's one split, with its own names of columns."""
    images, labels = [colour(label, 3, 20, 17) for label in range(classes)], list(range(classes))
    path = folder / "imagenetv2" / "data" / "test-00000-of-00001.parquet"
    write(path, images, labels, classes, image="webp", label="cls")
    return folder
