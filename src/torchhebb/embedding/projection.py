"""Principal components of a run's training features, scaled to unit variance, fitted once and saved with the run."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torchhebb.errors import UserError
from torchhebb.nn.saving import read_tensors, write_tensors

FITTED_ON = 4096  # training images at most, evenly spaced: their Gram matrix fits in any memory


@dataclass(frozen=True, eq=False)
class Projection:
    """features (B, F) -> (features - mean) components^T, (B, D).

    components (D, F) are orthogonal rows, scaled for unit variance over the training features: a few
    directions with a large variance, such as brightness, then do not dominate the similarity of images.
    """

    mean: Tensor
    components: Tensor

    @property
    def key(self) -> str:
        """A short hash of both."""
        digest = blake2b(digest_size=8)
        for tensor in (self.mean, self.components):
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def __call__(self, features: Tensor) -> Tensor:
        return (features - self.mean.to(features)) @ self.components.to(features).T


def fit_projection(features: Tensor, dim: int) -> Projection:
    """The first `dim` principal components of features (N, F), of unit variance; of each the largest entry is positive.

    They are computed from the Gram matrix of the samples, which is fast for many features.
    Raises UserError for a dim that the features do not have.

    >>> x = torch.tensor([[0.0, 0.0], [2.0, 2.0], [4.0, 4.0]])
    >>> fit_projection(x, 1)(x).flatten()
    tensor([-1.2247,  0.0000,  1.2247])
    """
    mean = features.mean(0)
    centred = (features - mean).double()
    most = min(len(features) - 1, features.shape[1])
    if not 1 <= dim <= most:
        raise UserError(
            f"dim must be from 1 to {most} for {len(features)} images of {features.shape[1]} features, got {dim}"
        )
    values, vectors = torch.linalg.eigh(centred @ centred.T)
    values, vectors = values.flip(0)[:dim], vectors.flip(1)[:, :dim]
    if not values[-1] > 1e-10 * values[0]:
        raise UserError(f"dim must be at most {int((values > 1e-10 * values[0]).sum())}, as many as vary, got {dim}")
    # Divided by its length, vectors^T centred would have orthonormal rows; a second time makes the variance 1.
    components = (vectors / values).T @ centred * len(features) ** 0.5
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    return Projection(mean, (components * largest.sign()).float())


def run_projection(folder: Path, dim: int, key: Any, features: Callable[[int], Tensor]) -> Projection:
    """The projection on `dim` components that a run folder keeps for a network, fitted where it keeps none.

    Args: key, what tells the network; features(most), the training features of at most this many images.
    """
    path = folder / f"pca-{dim}.safetensors"
    mark = blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=8).hexdigest()
    with suppress(UserError):  # missing, damaged, or of another network: fitted again
        tensors, header = read_tensors(path)
        if header.get("fitted_for") == mark:
            return Projection(tensors["mean"], tensors["components"])
    fitted = fit_projection(features(FITTED_ON), dim)
    write_tensors(
        {"mean": fitted.mean, "components": fitted.components}, {"format": "torchhebb pca", "fitted_for": mark}, path
    )
    return fitted
