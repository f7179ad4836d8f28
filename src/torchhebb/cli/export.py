"""torchhebb export: write a trained network to a file that works without torchhebb."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from torchhebb.cli.flags import parse
from torchhebb.errors import UserError


@dataclass(frozen=True)
class ExportFlags:
    """Write a trained network as ONNX or as torch.export's file; it is compared with the original before it is kept."""

    model: tyro.conf.Positional[str]
    """A run folder, whose first seed is used, a weights file, or a trained network that ships (torchhebb list)."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """The file to write, .onnx (which needs the packages onnx, onnxscript and onnxruntime) or .pt2.  Must be given."""
    output: Literal["auto", "logits", "features"] = "auto"
    """What the file computes from pixels; auto: logits if there is a readout."""
    int8: bool = False
    """Store weights as 8-bit integers, about a quarter of the size; their accuracy is printed."""
    images: int = 1000
    """Compare the file with the original on this many test images."""
    data_dir: Path | None = None
    """Folder of the data sets of the catalogue; by default $TORCHHEBB_DATA, else the hub."""


def run(arguments: list[str]) -> int:
    """torchhebb export RUN --out model.onnx"""
    from torchhebb.export import export
    from torchhebb.progress_display import make_progress

    flags = parse(ExportFlags, arguments, "torchhebb export")
    if flags.out is None:
        raise UserError("export needs a file: torchhebb export RUN --out model.onnx")
    progress = make_progress()
    try:
        done = export(
            flags.model,
            flags.out,
            output=None if flags.output == "auto" else flags.output,
            int8=flags.int8,
            images=flags.images,
            data_dir=flags.data_dir,
            progress=progress,
        )
    finally:
        progress.close()
    print(f"{done.path}: {done.output}, {done.size / 1e6:.2f} MB")
    compared = "the network with int8 weights" if flags.int8 else "the network"
    print(f"differs from {compared} by {done.difference:.1e} on {done.checked:,} images")
    if done.accuracy is not None:
        print(f"accuracy on these: {done.accuracy:.2f} %, {done.original_accuracy:.2f} % by the network itself")
    return 0
