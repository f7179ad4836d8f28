"""torchhebb report: an HTML page about finished runs."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from torchhebb.bounds import Checked
from torchhebb.cli.flags import parse
from torchhebb.errors import UserError


@dataclass(frozen=True)
class ReportFlags(Checked):
    """One self-contained HTML page about finished runs; several are compared."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders."""
    out: Path | None = None
    """The file; by default report.html in the folder of a single run, for several in the current folder."""
    device: str = "auto"
    """Device on which to compute features that are no longer in the store."""
    data_dir: Path | None = None
    """Folder of the data sets; by default that of the run."""


def run(arguments: list[str]) -> int:
    """torchhebb report RUN... [--out FILE]"""
    from torchhebb.progress_display import make_progress
    from torchhebb.report import write_report

    flags = parse(ReportFlags, arguments, "torchhebb report")
    if not flags.runs:
        raise UserError("report needs run folders: torchhebb report RUN...")
    progress = make_progress()
    try:
        page = write_report(flags.runs, flags.out, device=flags.device, data_dir=flags.data_dir, progress=progress)
    finally:
        progress.close()
    print(page)
    return 0
