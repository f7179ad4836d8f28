"""Export of a trained network to a file that works without torchhebb: ONNX or torch.export."""

import copy
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from torchhebb.config import to_json
from torchhebb.data import Images, Preprocessing, Store
from torchhebb.errors import UserError
from torchhebb.export.formats import Format, format_of
from torchhebb.export.frozen import Frozen
from torchhebb.nn import Network
from torchhebb.progress import SILENT, Progress
from torchhebb.runs.folder import read_config, read_preprocessing
from torchhebb.runs.run import Run, open_run
from torchhebb.runs.trained import open_trained

__all__ = ["Exported", "export"]

TOLERANCE = 1e-4
"""The largest allowed difference to the original, in units of the largest output, or of 1 if that is less."""
CHECKED = 1000
_BATCH = 100

Output = Literal["features", "logits"]


@dataclass(frozen=True)
class Exported:
    """The written file: accuracies, in percent, are on the images with which it was checked.

    >>> Exported(Path("model.onnx"), "logits", size=1000, checked=100, difference=1e-6).accuracy is None
    True
    """

    path: Path
    output: Output
    size: int
    """Bytes of the file."""
    checked: int
    """The number of images that the file and the original were compared on."""
    difference: float
    """The largest difference between the two, in units of the largest output, or of 1 where that is smaller."""
    accuracy: float | None = None
    original_accuracy: float | None = None


def export(
    target: Run | Network | Path | str,
    out: Path | str,
    *,
    output: Output | None = None,
    int8: bool = False,
    images: int = CHECKED,
    data_dir: Path | str | None = None,
    store: Store | None = None,
    progress: Progress = SILENT,
) -> Exported:
    """Write a trained network to a .onnx or .pt2 file: the first seed of a run, a weights file, a name of the package.

    The file maps `pixels` (B, C, H, W) in [0, 1], for any B, to `logits`, or `features` (B, F).  Its metadata describe
    the preprocessing.  It is written under another name, opened as by a user, compared with the original on test images
    of the run (on random pixels if there is no run), and kept only if they agree.

    Args: output, by default logits where there is a readout; int8, keep the weights as 8-bit integers, where what the
    file is compared with is the network with these weights; images, how many to compare on; data_dir, where the data
    sets of the catalogue lie.
    Raises UserError for a file name of another kind, logits of a network without a readout, or a file that differs.

    >>> import tempfile
    >>> from torchhebb.recipes import create_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export(create_model("softhebb2023-digits"), Path(folder) / "model.pt2").output
    'features'
    """
    out = Path(out)
    kind = format_of(out)
    if images < 1:
        raise UserError(f"images must be at least 1, got {images}")
    network, folder = open_trained(target)
    assert network.architecture is not None
    if output is None:
        output = "features" if network.readout is None else "logits"
    if output == "logits" and network.readout is None:
        raise UserError("output must be features: the network has no readout")
    original = copy.deepcopy(network.classifier if output == "logits" else network).cpu().float().eval()
    shown = _test_images(target, folder, network, images, data_dir, store, progress)
    exact, written = Frozen(original), Frozen(original, int8=int8)
    metadata = _metadata(network, folder, output, int8)
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.with_name(f".{os.getpid()}.{out.name}")
    try:
        kind.write(written, torch.zeros(2, *network.architecture.input_shape), output, metadata, beside)
        found = _compared(kind, beside, exact, written, shown, out, output, progress)
        os.replace(beside, out)
    finally:
        with suppress(OSError):  # renamed already, or in a folder that became read-only
            beside.unlink()
    return found


def _test_images(
    target: Any,
    folder: Path | None,
    network: Network,
    count: int,
    data_dir: Path | str | None,
    store: Store | None,
    progress: Progress,
) -> Images:
    """Test images of the run, spread evenly over them, or random ones without labels."""
    assert network.architecture is not None
    if folder is None:
        shape, generator = (min(count, _BATCH), *network.architecture.input_shape), torch.Generator().manual_seed(0)
        return Images(torch.rand(shape, generator=generator), torch.full(shape[:1], -1))
    if isinstance(target, Run):
        test = target.data.test
    else:
        own = read_config(folder)[1]
        if data_dir is not None:
            own = replace(own, data_dir=str(data_dir))
        test = open_run(folder, own, store=store, progress=progress).data.test
    return test.select(torch.linspace(0, len(test) - 1, min(count, len(test))).round().long())


@torch.no_grad()
def _compared(
    kind: Format,
    path: Path,
    exact: nn.Module,
    written: nn.Module,
    images: Images,
    out: Path,
    output: Output,
    progress: Progress,
) -> Exported:
    """The outputs of the file and of the original for images.  Raises UserError if they differ."""
    run = kind.open(path)
    pixels = images.images / 255.0 if images.images.dtype == torch.uint8 else images.images
    progress.start("checking the file", len(pixels), "images")
    parts = []
    for part in (pixels[:1], *pixels[1:].split(_BATCH)):  # one image first: the number of images is free
        if len(part):
            parts.append((exact(part), written(part), run(part)))
            progress.advance(len(part))
    progress.finish()
    original, expected, found = (torch.cat(columns) for columns in zip(*parts, strict=True))
    difference = _difference(expected, found)
    if not difference <= TOLERANCE:
        raise UserError(f"{out} was not kept: it differs from the original by {difference:.1e}, above {TOLERANCE}")
    labelled = output == "logits" and bool((images.labels >= 0).all())
    accuracies = [_accuracy(logits, images.labels) if labelled else None for logits in (found, original)]
    return Exported(out, output, path.stat().st_size, len(pixels), difference, *accuracies)


def _difference(expected: Tensor, found: Tensor) -> float:
    """Infinite where the shapes, or the entries that are not finite, are not the same."""
    finite = expected.isfinite()
    if expected.shape != found.shape or not torch.equal(expected[~finite], found[~finite]):
        return float("inf")
    apart = (expected - found)[finite].abs().max().item()
    return apart / max(1.0, expected[finite].abs().max().item())


def _accuracy(logits: Tensor, labels: Tensor) -> float:
    return 100.0 * (logits.argmax(1) == labels).double().mean().item()


def _metadata(network: Network, folder: Path | None, output: Output, int8: bool) -> dict[str, Any]:
    """The metadata for a user of the file."""
    assert network.architecture is not None
    preprocessing = read_preprocessing(folder) if folder else Preprocessing(*network.architecture.input_shape)
    return {
        "recipe": read_config(folder)[0].name if folder else None,
        "input": {"name": "pixels", "shape": ["batch", *network.architecture.input_shape], "range": [0, 1]},
        "output": {
            "name": output,
            "classes": list(network.classes) if output == "logits" and network.classes else None,
        },
        "preprocessing": f"{preprocessing.described} Means and standard deviations are applied inside the file.",
        "preprocessing_settings": to_json(preprocessing),
        "weights": "int8, one factor a row" if int8 else "float32",
    }
