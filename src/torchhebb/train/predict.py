"""Classes of a user's own image files by a trained run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F

from torchhebb.data.decode import read_pixels
from torchhebb.errors import UserError
from torchhebb.nn import Network, load
from torchhebb.train.folder import read_classes, read_config


@dataclass(frozen=True)
class Prediction:
    """One image and its likeliest classes with their probabilities."""

    path: Path
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]


@torch.no_grad()
def predict_files(run: Path, images: Sequence[Path], *, top: int = 1) -> list[Prediction]:
    """Read image files, scale them to what the network takes, and classify them.

    Raises UserError for a folder without a finished run or a file that is no image.
    """
    recipe, _ = read_config(run)
    classes = read_classes(run)
    if not 1 <= top <= len(classes):
        raise UserError(f"top must lie between 1 and the number of classes ({len(classes)}), got {top}")
    if not (run / "readout.safetensors").exists():
        raise UserError(f"{run} is not finished: go on with torchhebb train --resume {run}")
    network = load(run)
    assert isinstance(network, Network)
    channels, height, width = recipe.architecture.input_shape
    logits = torch.cat([network.classifier.eval()(_read(path, channels, (height, width))) for path in images])
    probabilities = torch.softmax(logits, 1)
    values, indices = probabilities.topk(top, 1)
    return [
        Prediction(path, tuple(classes[i] for i in index), tuple(value))
        for path, index, value in zip(images, indices.tolist(), values.tolist(), strict=True)
    ]


def _read(path: Path, channels: int, size: tuple[int, int]) -> torch.Tensor:
    pixels = torch.from_numpy(read_pixels(str(path), path, channels, None)).unsqueeze(0).float()
    return F.interpolate(pixels, size, mode="bilinear", antialias=True).clamp(0, 255) / 255.0
