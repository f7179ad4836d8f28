"""torchhebb explore: an HTML page to explore images by their features."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from torchhebb.bounds import SIZE, Checked
from torchhebb.cli.flags import parse
from torchhebb.errors import UserError


@dataclass(frozen=True)
class ExploreFlags(Checked):
    """A page with a map of images, their nearest neighbours, near-duplicates and outliers; it works offline."""

    model: tyro.conf.Positional[str]
    """A run folder, whose first seed is used, a weights file, or a trained network that ships (torchhebb list)."""
    images: tyro.conf.Positional[str]
    """What to show: folder:PATH, parquet:PATH, hub:OWNER/NAME, a name of the catalogue, or a folder."""
    out: Path | None = None
    """The page; by default explore.html in the run folder."""
    most: int = field(default=5000, metadata=SIZE)
    """The largest number of images to show, evenly spaced over all."""
    map: Literal["tsne", "pca"] = "tsne"
    """The layout: t-SNE of 50 principal components, or the first two components, which is faster."""
    skip_unreadable: bool = False
    """Leave out images that cannot be read; otherwise they are an error."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    data_dir: Path | None = None
    """Folder of the data sets of the catalogue; by default $TORCHHEBB_DATA, else the hub."""


def run(arguments: list[str]) -> int:
    """torchhebb explore RUN SOURCE [--out FILE] [--most N] [--map pca]"""
    from torchhebb.explore import explore
    from torchhebb.progress_display import make_progress

    if len([argument for argument in arguments[:2] if not argument.startswith("-")]) < 2 and "--help" not in arguments:
        raise UserError("explore needs a run and images: torchhebb explore RUN folder:PHOTOS")
    flags = parse(ExploreFlags, arguments, "torchhebb explore")
    progress = make_progress()
    try:
        page = explore(
            flags.model,
            flags.images,
            flags.out,
            most=flags.most,
            kind=flags.map,
            skip_unreadable=flags.skip_unreadable,
            device=flags.device,
            data_dir=flags.data_dir,
            progress=progress,
        )
    finally:
        progress.close()
    print(page)
    return 0
