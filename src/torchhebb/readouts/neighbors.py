"""k nearest neighbours by cosine similarity, in bounded memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchhebb.bounds import SIZE, between, each
from torchhebb.errors import UserError
from torchhebb.readouts.base import ChoosingPlan, FitContext, Fitted, best, kept_and_held, percent_correct

_QUERIES = 1000
_REFERENCES = 2000


@dataclass(frozen=True)
class Neighbors(ChoosingPlan):
    """The most frequent class among the k most similar training images, with k chosen on held-out training images.

    Similarity is the cosine of raw features; ties go to the class whose neighbours are more similar.
    Raises UserError for a k that is not positive or exceeds the number of images.

    Example:
        >>> x, labels = torch.eye(2).repeat(20, 1), torch.arange(2).repeat(20)
        >>> Neighbors(k=(1, 3)).fit(x, labels, 2).readout(torch.eye(2)).argmax(1).tolist()
        [0, 1]
    """

    k: tuple[int, ...] = field(default=(1, 3, 5, 10, 20, 50), metadata=each(SIZE))
    """Numbers of neighbours to choose from."""
    holdout: float = field(default=0.1, metadata=between(0, 1))
    """Share of the training images on which k is chosen."""

    def check(self, samples: int, width: int, device: torch.device) -> None:
        return  # one block of similarities at a time

    def check_samples(self, labels: Tensor, shape: Sequence[int]) -> None:
        kept, _ = kept_and_held(labels, self.holdout, 0, labels.device)
        self._check_k(len(kept))

    def _check_k(self, kept: int) -> None:
        if max(self.k) > kept:
            raise UserError(f"k must be at most {kept}, the training images to choose from, got {max(self.k)}")

    def _fit(self, features: Tensor, labels: Tensor, classes: int, context: FitContext) -> Fitted:
        kept, held = kept_and_held(labels, self.holdout, context.seed, features.device)
        self._check_k(len(kept))
        nearest = NearestNeighbors(features, labels, classes, max(self.k))
        absent = torch.zeros(len(features), dtype=torch.bool, device=features.device)
        absent[held] = True
        found = [nearest.find(features[part].float(), absent) for part in held.split(_QUERIES)]
        similarity, votes = (torch.cat(parts) for parts in zip(*found, strict=True))
        scores = (
            (k, percent_correct(_tally(similarity[:, :k], votes[:, :k], classes), labels[held])) for k in sorted(self.k)
        )
        k, accuracy = best(scores)
        nearest.k = int(k)
        return Fitted(nearest, {"k": k, "held_out_accuracy": accuracy})


class NearestNeighbors(nn.Module):
    """x (B, F) -> votes of the k most similar references (B, classes).

    Args: features (N, F), which may be memory-mapped; labels (N,).
    """

    def __init__(self, features: Tensor, labels: Tensor, classes: int, k: int) -> None:
        super().__init__()
        self.features, self.labels, self.classes, self.k = features, labels, classes, k
        norms = [torch.linalg.vector_norm(part.float(), dim=1) for part in features.split(_REFERENCES)]
        self.norms = torch.cat(norms).clamp_min(torch.finfo(torch.float32).tiny)

    def forward(self, x: Tensor) -> Tensor:
        found = [self.find(part.float()) for part in x.flatten(1).split(_QUERIES)]
        return torch.cat([_tally(similarity, votes, self.classes) for similarity, votes in found])

    def find(self, x: Tensor, absent: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Similarities and labels (B, k) of the nearest references, the most similar first, without `absent` (N,)."""
        x = F.normalize(x, dim=1, eps=torch.finfo(torch.float32).tiny)
        values = x.new_empty(len(x), 0)
        indices = torch.empty(len(x), 0, dtype=torch.long, device=x.device)
        for block in torch.arange(len(self.features), device=x.device).split(_REFERENCES):
            here = slice(int(block[0]), int(block[-1]) + 1)
            similarity = x @ self.features[here].float().T / self.norms[here]
            if absent is not None:
                similarity.masked_fill_(absent[here], -torch.inf)
            candidates = torch.cat([indices, block.expand(len(x), -1)], 1)
            merged = torch.cat([values, similarity], 1)
            values, chosen = merged.topk(min(self.k, merged.shape[1]), 1)
            indices = candidates.gather(1, chosen)
        return values, self.labels[indices]


def _tally(similarity: Tensor, votes: Tensor, classes: int) -> Tensor:
    """One vote each; similarities add less than one vote in total, so that they only decide ties."""
    weight = 1 + similarity / (3 * similarity.shape[1])
    return weight.new_zeros(len(votes), classes).scatter_add_(1, votes, weight)
