"""Writers of embeddings in parts: Parquet, npz and csv. No more than one part is in memory."""

import csv
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from torchhebb.errors import UserError, need


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows: embeddings (n, F) float32, the files they are of, and their classes' names where these are known."""

    embeddings: np.ndarray
    files: Sequence[str]
    labels: Sequence[str] | None = None


Parts = Callable[[], Iterable[Part]]
"""Returns an iterator over all parts in order, each time that it is called."""


def write_parquet(path: Path, parts: Parts, width: int, labelled: bool) -> None:
    """Columns file, label where known, embedding as a list of `width` float32; a row group for every part."""
    pa, parquet = need("pyarrow", "writing Parquet"), need("pyarrow.parquet", "writing Parquet")
    label = [("label", pa.string())] if labelled else []
    schema = pa.schema([("file", pa.string()), *label, ("embedding", pa.list_(pa.float32(), width))])
    with parquet.ParquetWriter(path, schema) as writer:
        for part in parts():
            flat = pa.array(part.embeddings.reshape(-1))
            columns = [pa.array(list(part.files), pa.string())]
            columns += [pa.array(list(part.labels), pa.string())] if part.labels is not None else []
            columns += [pa.FixedSizeListArray.from_arrays(flat, width)]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def write_npz(path: Path, parts: Parts, width: int, labelled: bool) -> None:
    """Arrays embeddings (N, F) float32, files (N,), and labels (N,) where known: what `numpy.load` reads."""
    rows, files, labels = 0, 1, 1  # of texts the longest decides how many bytes each takes
    for part in parts():
        rows += len(part.files)
        files = max(files, *map(len, part.files), 0)
        labels = max(labels, *map(len, part.labels or [""]))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        _member(archive, "embeddings", np.dtype("<f4"), (rows, width), (part.embeddings for part in parts()))
        _member(archive, "files", np.dtype(f"<U{files}"), (rows,), (np.array(part.files) for part in parts()))
        if labelled:
            texts = (np.array(part.labels) for part in parts())
            _member(archive, "labels", np.dtype(f"<U{labels}"), (rows,), texts)


def write_csv(path: Path, parts: Parts, width: int, labelled: bool) -> None:
    """A header, then file, label where known, and the features, which read back as the same float32."""
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(["file", *(["label"] if labelled else []), *(f"feature{i}" for i in range(width))])
        for part in parts():
            for row, name in enumerate(part.files):
                label = [part.labels[row]] if part.labels is not None else []
                writer.writerow([name, *label, *(f"{value:.9g}" for value in part.embeddings[row])])


FORMATS = {".parquet": write_parquet, ".npz": write_npz, ".csv": write_csv}


def format_of(path: Path) -> Callable[[Path, Parts, int, bool], None]:
    """The writer for a file, by its extension; raises UserError for an unknown one.

    >>> format_of(Path("features.npz")).__name__
    'write_npz'
    """
    if path.suffix not in FORMATS:
        raise UserError(f"out must end in {', '.join(FORMATS)}, got {path.name!r}")
    return FORMATS[path.suffix]


def _member(
    archive: zipfile.ZipFile, name: str, dtype: np.dtype, shape: tuple[int, ...], arrays: Iterator[np.ndarray]
) -> None:
    header = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, described)
    # A date of its own would make equal embeddings unequal files.
    member = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
    with archive.open(member, "w", force_zip64=True) as file:
        file.write(header.getvalue())
        for array in arrays:
            file.write(np.ascontiguousarray(array, dtype).tobytes())
