"""Embeddings in shards: a resumed call reuses complete shards, which are joined at the end.

The shards are in `FILE.shards` next to the file, with a plan that says what they contain.  The division of rows into
shards and batches is part of the plan, so that a resumed call, or several processes, give the same bits.
"""

import io
import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch

from torchhebb.data import Inputs
from torchhebb.distributed import ProcessGroup
from torchhebb.embedding.encoder import Encoder
from torchhebb.embedding.formats import Part, format_of
from torchhebb.errors import UserError
from torchhebb.files import read_bytes, read_json, write_json, written_beside
from torchhebb.memory import adaptive_chunks
from torchhebb.progress import SILENT, Progress

SHARD_BYTES = 1 << 26
SHARD_ROWS = 4096


@dataclass(frozen=True)
class Written:
    """What a file of embeddings holds: rows, features a row, and the images that could not be read.

    >>> Written(rows=10, width=64, skipped=()).rows
    10
    """

    rows: int
    width: int
    skipped: tuple[str, ...]


def write_embeddings(
    encoder: Encoder,
    inputs: Inputs,
    out: Path,
    *,
    skip_unreadable: bool = False,
    workers: ProcessGroup = ProcessGroup(),  # noqa: B008  frozen
    progress: Progress = SILENT,
) -> Written:
    """Write the embedding of every image to `out`: .parquet, .npz or .csv.

    If a call was stopped, the same call continues it.  Of several workers each computes every n-th shard, and rank 0
    puts them together.
    Raises UserError for another ending, an image that cannot be read unless these are skipped, or shards beside the
    file that are of other images or another network.

    >>> import tempfile
    >>> import numpy as np
    >>> from torchhebb.data import from_arrays, open_inputs
    >>> from torchhebb.embedding import open_encoder
    >>> encoder = open_encoder("softhebb2023-digits", device="cpu")
    >>> inputs = open_inputs([from_arrays(np.zeros((5, 8, 8), np.uint8))])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_embeddings(encoder, inputs, Path(folder) / "features.npz").rows
    5
    """
    write, folder = format_of(out), out.with_name(f"{out.name}.shards")
    plan = None
    if workers.first:
        plan = _planned(encoder, inputs, folder, skip_unreadable)
    plan = workers.broadcast(plan)
    assert plan is not None
    parts = [range(start, min(start + plan["shard"], plan["rows"])) for start in range(0, plan["rows"], plan["shard"])]
    own = [(number, part) for number, part in enumerate(parts) if number % workers.world_size == workers.rank]
    missing = [(number, part) for number, part in own if not _shard(folder, number).exists()]
    progress.start("embedding", sum(len(part) for _, part in own), "images")
    progress.advance(sum(len(part) for number, part in own if (number, part) not in missing))
    ranges = [part for _, part in missing]
    stream = inputs.parts(encoder.preprocessing, plan["batch"], ranges, skip_unreadable=skip_unreadable)
    for (number, _), (_, batches) in zip(missing, stream, strict=True):
        files, labels, skipped = list[str](), list[int](), list[str]()
        features = [np.zeros((0, plan["width"]), np.float32)]
        for batch in batches:
            files += batch.places
            labels += batch.labels
            skipped += batch.skipped
            features.append(_features(encoder, batch.pixels))
            progress.advance(len(batch.places) + len(batch.skipped))
        _keep(folder, number, np.concatenate(features), files, labels, skipped)
    progress.finish()
    workers.wait()
    written = None
    if workers.first:
        written = _join(out, folder, len(parts), plan["width"], inputs, write)
    return workers.broadcast(written)  # type: ignore[return-value]  # by then rank 0 has it


def _planned(encoder: Encoder, inputs: Inputs, folder: Path, skip_unreadable: bool) -> dict[str, Any]:
    """The plan that the folder keeps for the same embeddings, or a new one."""
    identity = {
        "encoder": encoder.key,
        "images": inputs.key,
        "rows": inputs.count,
        "skip_unreadable": skip_unreadable,
    }
    path = folder / "plan.json"
    plan = None
    with suppress(FileNotFoundError, ValueError):  # a damaged one is made again, and the shards with it
        plan = read_json(path)
    if plan is not None and plan.get("of") != json.loads(json.dumps(identity)):
        raise UserError(f"{folder} keeps shards of other images or another network: remove it, or choose another file")
    if plan is not None:
        return plan
    width = encoder.width
    batch = encoder.batch_size(min(inputs.count, SHARD_ROWS))
    rows = max(1, min(SHARD_ROWS, SHARD_BYTES // (4 * width)) // batch) * batch
    plan = {"of": identity, "rows": inputs.count, "width": width, "batch": batch, "shard": rows}
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_json(path, plan)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}; choose another file") from error
    return plan


def _features(encoder: Encoder, pixels: torch.Tensor) -> np.ndarray:
    """The features of a batch, of parts of it where memory runs out."""
    found: list[np.ndarray] = []

    def some(begin: int, end: int) -> None:
        found.append(encoder(pixels[begin:end]).numpy())

    if len(pixels):
        adaptive_chunks(some, len(pixels), len(pixels), what="the embedding")
    return np.concatenate(found) if found else np.zeros((0, encoder.width), np.float32)


def _shard(folder: Path, number: int) -> Path:
    return folder / f"shard-{number:06}.npz"


def _keep(
    folder: Path, number: int, embeddings: np.ndarray, files: list[str], labels: list[int], skipped: list[str]
) -> None:
    path = _shard(folder, number)
    try:
        with written_beside(path) as beside, open(beside, "wb") as file:
            np.savez(file, embeddings=embeddings, files=_texts(files), labels=np.array(labels), skipped=_texts(skipped))
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}; free some space, then run the same command again"
        ) from error


def _texts(texts: list[str]) -> np.ndarray:
    """File names as NumPy keeps them; bytes that are no UTF-8 become escapes, since no format could hold them."""
    return np.array([text.encode("utf-8", "backslashreplace").decode() for text in texts], dtype=np.str_)


def _read(folder: Path, number: int) -> dict[str, np.ndarray]:
    path = _shard(folder, number)
    try:
        with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as kept:
            return {name: kept[name] for name in ("embeddings", "files", "labels", "skipped")}
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        with suppress(OSError):
            path.unlink()
        raise UserError(f"{path} was damaged ({error}) and is removed: the same command makes it again") from error


def _join(out: Path, folder: Path, count: int, width: int, inputs: Inputs, write: Any) -> Written:
    """Put the shards together as the file, and remove them."""
    skipped: list[str] = []
    rows = 0

    def parts() -> Iterator[Part]:
        for number in range(count):
            kept = _read(folder, number)
            labels = [inputs.classes[label] for label in kept["labels"]] if inputs.labelled else None
            yield Part(kept["embeddings"], kept["files"].tolist(), labels)

    for number in range(count):
        kept = _read(folder, number)
        rows += len(kept["embeddings"])
        skipped += kept["skipped"].tolist()
    try:
        with written_beside(out) as beside:
            write(beside, parts, width, inputs.labelled)
    except OSError as error:
        raise UserError(
            f"cannot write {out}: {error.strerror}; free some space, then run the same command again"
        ) from error
    shutil.rmtree(folder, ignore_errors=True)
    return Written(rows, width, tuple(skipped))
