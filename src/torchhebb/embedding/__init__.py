"""Features of images by a trained network: in memory, or in a file that may be larger than memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torchhebb.data import Data, Images, Source, from_arrays, open_inputs
from torchhebb.embedding.encoder import Encoder, open_encoder
from torchhebb.embedding.shards import Written, write_embeddings
from torchhebb.errors import UserError
from torchhebb.progress import SILENT, Progress
from torchhebb.runs.run import Run

__all__ = ["Encoder", "Written", "embed", "open_encoder", "write_embeddings"]


@torch.no_grad()
def embed(
    model_or_run: nn.Module | Run | Path | str,
    images: Any,
    *,
    dim: int | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    progress: Progress = SILENT,
) -> Tensor:
    """Features (N, F) float32, on the CPU, of images by a network or the first seed of a run.

    Images from files, and arrays of another size than the network takes, are resized as in training.

    Args: model_or_run, a Network, a weights file, a run folder, or the name of a trained network that ships with the
    package; images, a tensor or array (uint8, or floats in [0, 1]), `Images`, a source such as
    "folder:photos", an image file, or a list of these; dim, the number of principal components, fitted on a run's
    training features; batch_size, by default what memory allows.
    Raises UserError for a target or images that are none of these.

    >>> from torchhebb.recipes import create_model
    >>> embed(create_model("softhebb2023-digits"), torch.rand(2, 1, 8, 8)).dtype
    torch.float32
    """
    encoder = open_encoder(model_or_run, dim=dim, device=device)
    if batch_size is not None and batch_size < 1:
        raise UserError(f"batch_size must be at least 1, got {batch_size}")
    ready = _ready(images, encoder.preprocessing.shape)
    if ready is not None:
        size = batch_size or encoder.batch_size(len(ready))
        progress.start("embedding", len(ready), "images")
        found = [_counted(encoder(part), progress) for part in ready.split(size)]
    else:
        inputs = open_inputs(_named(images))
        size = batch_size or encoder.batch_size(inputs.count)
        progress.start("embedding", inputs.count, "images")
        batches = inputs.batches(encoder.preprocessing, size)
        found = [_counted(encoder(batch.pixels), progress) for batch in batches]
    progress.finish()
    return torch.cat(found) if found else torch.zeros(0, encoder.width)


def _counted(features: Tensor, progress: Progress) -> Tensor:
    progress.advance(len(features))
    return features


def _ready(images: Any, shape: tuple[int, int, int]) -> Tensor | None:
    """Images that are a tensor of what the network takes already."""
    if isinstance(images, Images):
        images = images.images
    if isinstance(images, np.ndarray):
        images = torch.from_numpy(images)
    if not isinstance(images, Tensor) or tuple(images.shape[1:]) != shape:
        return None
    if images.is_floating_point() and images.numel() and not (images.min() >= 0 and images.max() <= 1):
        raise UserError(f"images of floats must lie in [0, 1], got {images.min():g} to {images.max():g}")
    return images if images.dtype == torch.uint8 or images.is_floating_point() else None


def _named(images: Any) -> Sequence[str | Path | Source]:
    if isinstance(images, Data):
        raise UserError("images must be one split: data.train or data.test")
    if isinstance(images, Images):
        images = images.images
    if isinstance(images, Tensor | np.ndarray):
        return [from_arrays(images)]
    several = isinstance(images, Sequence) and not isinstance(images, str)
    if several and all(isinstance(item, str | Path) or hasattr(item, "open") for item in images):
        return images
    if several:
        return [from_arrays(images)]
    if isinstance(images, str | Path) or hasattr(images, "open"):
        return [images]
    raise UserError(f"images must be a tensor, an array, Images, or a source, got {type(images).__name__}")
