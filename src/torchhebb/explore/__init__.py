"""Exploring images by their features: a map, neighbours, near-duplicates and outliers on one page."""

from pathlib import Path

import torch

from torchhebb.data import Preprocessing, open_inputs
from torchhebb.embedding import open_encoder
from torchhebb.errors import UserError
from torchhebb.explore.layout import Map, flat_map
from torchhebb.explore.neighbours import Neighbours, decorrelated, nearest, outliers
from torchhebb.explore.page import Explored, thumbnail, write_page
from torchhebb.progress import SILENT, Progress

__all__ = ["Explored", "Map", "Neighbours", "explore"]

THUMBNAIL = 64
NEIGHBOURS = 12
OUTLIERS = 24


def explore(
    run: Path | str,
    source: str | Path,
    out: Path | None = None,
    *,
    most: int = 5000,
    kind: Map = "tsne",
    skip_unreadable: bool = False,
    device: str = "auto",
    data_dir: Path | str | None = None,
    progress: Progress = SILENT,
) -> Path:
    """Write one self-contained page about the images of a source and their features by a run, and return its path.

    Args: out, by default RUN/explore.html; most, the largest number of images, evenly spaced; kind, of the map.
    Raises UserError for a run or a source that cannot be read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = explore("softhebb2023-digits", "digits", Path(folder) / "page.html", most=50, kind="pca")
    ...     page.name
    'page.html'
    """
    if most < 1:
        raise UserError(f"most must be at least 1, got {most}")
    encoder = open_encoder(run, device=device, data_dir=data_dir)
    inputs = open_inputs([source], data_dir)
    some = inputs.evenly(most)
    framed = encoder.preprocessing
    shown = Preprocessing(3, THUMBNAIL, THUMBNAIL, "pad" if framed.fit == "squash" else framed.fit)
    size = encoder.batch_size(some.count)
    features, places, labels, left_out = [], list[str](), list[int](), list[str]()
    progress.start("features", some.count, "images")
    for batch in some.batches(framed, size, skip_unreadable=skip_unreadable):
        features.append(encoder(batch.pixels))
        places += batch.places
        labels += batch.labels
        left_out += batch.skipped
        progress.advance(len(batch.places) + len(batch.skipped))
    progress.finish()
    if not places:
        raise UserError(f"{source} has no image that can be read")
    thumbnails: list[str] = []
    progress.start("thumbnails", some.count, "images")
    for batch in some.batches(shown, size, skip_unreadable=skip_unreadable):
        thumbnails += map(thumbnail, batch.pixels)
        progress.advance(len(batch.places) + len(batch.skipped))
    progress.finish()
    progress.start("map", 1, "maps")
    whole = torch.cat(features)
    close = decorrelated(whole)
    points = flat_map(whole if kind == "pca" else close, kind)
    progress.advance(1)
    progress.finish()
    target = Path(run) / "explore.html" if out is None and Path(run).is_dir() else out or Path("explore.html")
    explored = Explored(
        str(source),
        inputs.count,
        places,
        [inputs.classes[label] for label in labels] if inputs.labelled else None,
        inputs.classes,
        points,
        nearest(close, NEIGHBOURS),
        outliers(close, OUTLIERS),
        thumbnails,
        left_out,
    )
    write_page(explored, target, kind)
    return target
