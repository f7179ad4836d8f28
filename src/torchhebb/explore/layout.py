"""Two-dimensional layouts of features: t-SNE or principal components."""

from typing import Literal

import torch
from torch import Tensor

from torchhebb.errors import need

Map = Literal["tsne", "pca"]
FEWEST = 10  # images for which t-SNE makes sense
PERPLEXITY = 30.0


def flat_map(features: Tensor, kind: Map = "tsne", *, seed: int = 0) -> Tensor:
    """features (N, D) -> (N, 2) in [-1, 1]: their first two principal components, or t-SNE of the first 50.

    Of fewer than 10 images it is the former.
    Source: van der Maaten and Hinton 2008.

    >>> flat_map(torch.rand(5, 8), "pca").shape
    torch.Size([5, 2])
    """
    decomposition, manifold = need("sklearn.decomposition", "a map"), need("sklearn.manifold", "a map")
    values = features.double().numpy()
    dim = min(2 if kind == "pca" or len(values) < FEWEST else 50, *values.shape)
    if not values.std(0).any():  # one image, or all the same
        return torch.zeros(len(values), 2)
    reduced = decomposition.PCA(dim, random_state=seed).fit_transform(values)
    if kind == "tsne" and len(values) >= FEWEST:
        perplexity = min(PERPLEXITY, (len(values) - 1) / 3)
        reduced = manifold.TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced)
    points = torch.zeros(len(values), 2, dtype=torch.float64)
    points[:, : min(2, reduced.shape[1])] = torch.from_numpy(reduced[:, :2])
    points -= (points.amax(0) + points.amin(0)) / 2
    return (points / points.abs().amax().clamp_min(1e-12)).float()
