"""Parquet files of strangers: odd schemas, odd rows, metadata that lie, damaged pages."""

import io
import json
import random
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from pyarrow import parquet

from tests.faults.campaign import Case, Kind, Outcome, Surface
from tests.faults.damage import damaged
from tests.faults.images import picture
from torchhebb.data import Store, load_data

NAMES = ("image", "img", "label", "class", "x", "", "bytes", "picture", "Label", "\x1b[31m", "a\nb", "ü" * 50)


def png(seed: int) -> bytes:
    content = io.BytesIO()
    picture(seed, 6, 5).save(content, "PNG")
    return content.getvalue()


IMAGES = [png(seed) for seed in range(12)]


def image_column(random: random.Random, rows: int) -> Any:
    """A column that may hold images."""
    encoded: list[Any] = [random.choice(IMAGES) for _ in range(rows)]
    if rows and random.random() < 0.3:
        encoded[random.randrange(rows)] = random.choice((None, b"", b"x", IMAGES[0][:40], random.randbytes(100)))
    kind = random.choice(("struct", "struct", "binary", "large", "path", "odd struct", "list", "dictionary", "fixed"))
    match kind:
        case "struct":
            return pyarrow.array([{"bytes": one, "path": None} for one in encoded])
        case "binary":
            return pyarrow.array(encoded, pyarrow.binary())
        case "large":
            return pyarrow.array(encoded, pyarrow.large_binary())
        case "path":
            paths = ("/etc/passwd", "../x.png", "http://localhost:1/x.png", "x.png", "")
            return pyarrow.array([{"bytes": None, "path": random.choice(paths)} for _ in encoded])
        case "odd struct":
            return pyarrow.array([{"bytes": "text", "size": 3} for _ in encoded])
        case "list":
            return pyarrow.array([[list(range(5))] * 6 for _ in encoded])
        case "dictionary":
            return pyarrow.array(encoded, pyarrow.binary()).dictionary_encode()
    return pyarrow.array([b"12345678"] * rows, pyarrow.binary(8))


def other_column(random: random.Random, rows: int) -> Any:
    """A column of labels, or of anything."""
    values: tuple[Any, ...] = (
        [number % 3 for number in range(rows)],
        [random.choice((0, 1, -1, 2**40, None)) for _ in range(rows)],
        [random.choice(("cat", "dog", "<script>alert(1)</script>", "\x1b[2J", "", "a\tb\n")) for _ in range(rows)],
        [random.choice((0.0, 1.0, 0.5, float("nan"), float("inf"))) for _ in range(rows)],
        [True, False] * (rows // 2) + [True] * (rows % 2),
        [None] * rows,
        [[1, 2]] * rows,
        [{"a": 1}] * rows,
        [b"\xff\xfe"] * rows,
        [str(number % 2) for number in range(rows)],
        [2**62 + number for number in range(rows)],
    )
    return pyarrow.array(random.choice(values))


def metadata(random: random.Random, names: list[str]) -> dict[bytes, bytes] | None:
    """What `datasets` writes beside a schema, or nonsense."""
    classes: tuple[Any, ...] = (["a", "b", "c"], ["a"], [], [1, 2], "abc", None, ["a"] * 3)
    kinds = ({"_type": "ClassLabel", "names": random.choice(classes)}, {"_type": "Image"}, {"_type": "Value"}, 3)
    features: Any = {name: random.choice(kinds) for name in names}
    told: Any = random.choice((None, {"info": {"features": features}}, {"info": features}, {"info": None}, [], "x"))
    if told is None:
        return None
    text = json.dumps(told).encode()
    return {b"huggingface": random.choice((text, text, text[:-3], b"\xff", b""))}


def made(random: random.Random) -> bytes:
    rows = random.choice((0, 1, 2, 10, 10, 30, 30))
    names = [name if random.random() < 0.7 else random.choice(NAMES) for name in ("image", "label")]
    if random.random() < 0.1:
        names.append("label")  # twice
    columns = [image_column(random, rows), *(other_column(random, rows) for _ in names[1:])]
    table = pyarrow.Table.from_arrays(columns, names).replace_schema_metadata(metadata(random, names))
    content, packed = io.BytesIO(), random.choice(("snappy", "zstd", "none"))
    parquet.write_table(table, content, row_group_size=random.choice((1, 5, 1000)), compression=packed)
    return content.getvalue()


def prepare(folder: Path) -> None:
    pass


def draw(ready: None, random: random.Random, folder: Path) -> Case:
    files = [random.choice(("train.parquet", "data.parquet", "train-00000-of-00001.parquet", "x.parquet"))]
    if random.random() < 0.3:
        files.append(random.choice(("test.parquet", "validation-0.parquet", "y.parquet")))
    group = "schemas and rows"
    what = "made"
    for name in files:
        content = made(random)
        if random.random() < 0.25:
            content, what = damaged(content, random)
            group = "damaged"
        (folder / name).write_bytes(content)
    size = random.choice((None, None, 4))
    return Case(f"{', '.join(files)}: {what}, size {size}", partial(loaded, folder, size), group)


def loaded(folder: Path, size: int | None) -> Outcome | None:
    data = load_data(f"parquet:{folder}", size=size, skip_unreadable=size is not None, store=Store(folder / "store"))
    labels = data.train.labels
    if data.labelled and not (int(labels.min()) >= 0 and int(labels.max()) < len(data.classes)):
        return Outcome(Kind.DIFFERENCE, f"labels {labels.tolist()} of {len(data.classes)} classes")
    assert data.train.images.dtype.itemsize == 1 and np.isfinite(data.train.images.float()).all()
    return None


SURFACES = (
    Surface(
        "parquet",
        "Hostile inputs",
        "`parquet:` folders whose tables have odd columns, types, rows, names and metadata, or are damaged. Right: "
        "images, and labels that name a class each.",
        prepare,
        draw,
        cases=10_000,
        quick=50,
    ),
)
