"""Nearest neighbours and near-duplicates by cosine similarity, and outliers by distance."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from torchhebb.embedding.projection import fit_projection
from torchhebb.errors import UserError

COMPONENTS = 128
_ROWS = 1024


@dataclass(frozen=True, eq=False)
class Neighbours:
    """index (N, k) and similarity (N, k) in [-1, 1] of the nearest others of each image, the nearest first.

    >>> nearest(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), 1).index
    tensor([[1],
            [0],
            [1]])
    """

    index: Tensor
    similarity: Tensor

    def duplicates(self, least: float, most: int) -> list[tuple[int, int, float]]:
        """The pairs (i, j, similarity) with i < j that are at least so similar, the most similar first."""
        found: dict[tuple[int, int], float] = {}
        for i, row in enumerate(self.index.tolist()):
            for j, similarity in zip(row, self.similarity[i].tolist(), strict=True):
                if similarity < least:
                    break
                found[min(i, j), max(i, j)] = similarity
        pairs = sorted(((i, j, s) for (i, j), s in found.items()), key=lambda pair: (-pair[2], pair[:2]))
        return pairs[:most]


def decorrelated(features: Tensor, dim: int = COMPONENTS) -> Tensor:
    """Features (N, F) on at most `dim` principal components of their own, of unit variance: (N, D).

    With few images there are at most a quarter as many components, since more would make all images dissimilar.
    """
    dim = max(1, min(dim, len(features) // 4, features.shape[1]))
    while len(features) > 2:
        try:
            return fit_projection(features, dim)(features)
        except UserError:  # fewer directions vary
            if dim == 1:
                break
            dim //= 2
    return torch.ones(len(features), 1)


def nearest(features: Tensor, count: int) -> Neighbours:
    """The `count` nearest others of every row of features (N, D).

    >>> found = nearest(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]]), 1)
    >>> found.index.flatten().tolist()
    [2, 2, 0]
    """
    unit = normalize(features, dim=1)
    count = min(count, len(unit) - 1)
    indices, similarities = [], []
    for start in range(0, len(unit), _ROWS):
        here = unit[start : start + _ROWS] @ unit.T
        rows = torch.arange(len(here))
        here[rows, start + rows] = -torch.inf
        similarity, index = here.topk(count, 1)
        indices.append(index)
        similarities.append(similarity.clamp(-1, 1))
    return Neighbours(torch.cat(indices), torch.cat(similarities))


def outliers(features: Tensor, most: int, *, among: int = 5) -> list[tuple[int, float]]:
    """The rows (i, mean Euclidean distance to the `among` nearest) of features (N, D) that lie farthest from others.

    Unlike an angle, a distance also detects features with larger norms than those of all others.

    >>> outliers(torch.tensor([[0.0], [0.1], [3.0]]), 1, among=1)
    [(2, 2.9)]
    """
    among = min(among, len(features) - 1)
    if among < 1:
        return []
    means = []
    for start in range(0, len(features), _ROWS):
        here = torch.cdist(features[start : start + _ROWS], features)
        rows = torch.arange(len(here))
        here[rows, start + rows] = torch.inf
        means.append(here.topk(among, 1, largest=False).values.mean(1))
    mean = torch.cat(means)
    order = mean.argsort(descending=True, stable=True)[:most]
    return [(int(i), round(mean[i].item(), 4)) for i in order]
