"""torchhebb embed: write the features of images to a file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from torchhebb.bounds import SIZE, Checked
from torchhebb.cli.flags import parse
from torchhebb.distributed import ProcessGroup, joined, planned
from torchhebb.errors import UserError
from torchhebb.files import write_atomically
from torchhebb.progress import SILENT
from torchhebb.train.device import own_device


@dataclass(frozen=True)
class EmbedFlags(Checked):
    """Features of images by a trained network, written to one file; a stopped call can be resumed."""

    model: tyro.conf.Positional[str]
    """A run folder, whose first seed is used, a weights file, or a trained network that ships (torchhebb list)."""
    images: tyro.conf.Positional[tuple[str, ...]]
    """What to embed: folder:PATH, parquet:PATH, hub:OWNER/NAME, a name of the catalogue, image files or folders."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """The file to write: .parquet (file, label where known, embedding), .npz or .csv.  Must be given."""
    dim: int | None = field(default=None, metadata=SIZE)
    """Project the features onto this many principal components of unit variance, fitted on the run's training features
    and kept with it: smaller, and better for finding neighbours."""
    skip_unreadable: bool = False
    """Leave out images that cannot be read, and list them in FILE.skipped.txt; otherwise they are an error."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    data_dir: Path | None = None
    """Folder of the data sets of the catalogue; by default $TORCHHEBB_DATA, else the hub."""


def run(arguments: list[str]) -> int:
    """torchhebb embed RUN|MODEL SOURCE --out FILE, or torchrun --nproc-per-node N -m torchhebb embed ..."""
    rank, _ = planned()
    try:
        flags = parse(EmbedFlags, arguments, "torchhebb embed")
        if not flags.images or flags.out is None:
            raise UserError("embed needs images and a file: torchhebb embed RUN SOURCE --out features.parquet")
        device = own_device(flags.device)
    except UserError:
        if rank == 0:  # all of them see the same mistake: one says it
            raise
        return 2
    with joined(device) as workers:
        return _embed(flags, str(device), workers)


def _embed(flags: EmbedFlags, device: str, workers: ProcessGroup) -> int:
    from torchhebb.data import open_inputs
    from torchhebb.embedding import open_encoder, write_embeddings
    from torchhebb.embedding.formats import format_of
    from torchhebb.progress_display import make_progress

    assert flags.out is not None
    format_of(flags.out)
    progress = make_progress() if workers.first else None
    try:
        inputs = open_inputs(flags.images, flags.data_dir)
        if not workers.first:
            workers.wait()  # rank 0 fits the projection
        shown = progress or SILENT
        encoder = open_encoder(flags.model, dim=flags.dim, device=device, data_dir=flags.data_dir, progress=shown)
        if workers.first:
            workers.wait()
        written = write_embeddings(
            encoder, inputs, flags.out, skip_unreadable=flags.skip_unreadable, workers=workers, progress=shown
        )
    finally:
        if progress is not None:
            progress.close()
    if workers.first:
        listing = flags.out.with_name(f"{flags.out.name}.skipped.txt")
        if written.skipped:
            write_atomically(listing, "".join(f"{place}\n" for place in written.skipped))
            print(f"left out {len(written.skipped)} images that cannot be read: {listing}")
        print(f"{written.rows:,} images of {written.width:,} features: {flags.out}")
    return 0
