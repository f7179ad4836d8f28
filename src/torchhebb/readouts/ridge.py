"""Ridge regression on one-hot targets in closed form; one eigendecomposition serves every strength."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from torchhebb.readouts.base import Fitted, percent_correct
from torchhebb.readouts.linear import LinearPlan
from torchhebb.readouts.standardized import Standardized

_COLUMNS = 1024


@dataclass(frozen=True)
class Ridge(LinearPlan):
    """W = argmin |Y - Z W|^2 / N + strength |W|^2 on standardised features Z (N, F), centred one-hot targets Y.

    The smaller Gram matrix of the kept training images is decomposed once, G = Q L Q^T, so that every strength needs
    one product: W = Q (L + N strength)^-1 Q^T Z^T Y, or its dual with Z Z^T if N < F.  The strength with the best
    accuracy on held-out training images is then solved for on all of them.  All computations are in float64.

    Raises UserError for features too wide for the memory, or settings out of range.
    Source: Hoerl and Kennard 1970.

    Example:
        >>> x, labels = torch.eye(2).repeat(20, 1), torch.arange(2).repeat(20)
        >>> fitted = Ridge().fit(x, labels, 2)
        >>> fitted.readout(torch.eye(2)).argmax(1).tolist(), fitted.notes["held_out_accuracy"]
        ([0, 1], 100.0)
    """

    def _scores(
        self, z: Standardized, held: Tensor, labels: Tensor, classes: int, strengths: Iterable[float]
    ) -> Iterator[tuple[float, float]]:
        target, mean = _targets(labels[z.index], classes)
        gram, right = _system(z, target)
        values, vectors = torch.linalg.eigh(gram)
        del gram
        right = vectors.T @ right
        inputs = torch.cat([_basis(z, x) @ vectors for x in z.rows(held)])
        for strength in strengths:
            logits = inputs @ (right / (values + strength * len(z)).unsqueeze(1)) + mean
            yield strength, percent_correct(logits, labels[held])

    def _solve(self, z: Standardized, labels: Tensor, classes: int, strength: float) -> Fitted:
        target, mean = _targets(labels, classes)
        gram, right = _system(z, target)
        gram.diagonal().add_(strength * len(z))
        solution = torch.cholesky_solve(right, torch.linalg.cholesky(gram))
        if _is_dual(z):
            solution = torch.cat([block.T @ solution for block in z.columns(_COLUMNS)])
        return Fitted(z.scaling.fold(solution.T, mean))

    def _bytes(self, samples: int, width: int) -> int:
        # Gram, eigenvectors and LAPACK's workspace of twice their size, with one block of float64 features.
        size = min(samples, width)
        return 8 * (5 * size * size + _COLUMNS * max(samples, width))


def _is_dual(z: Standardized) -> bool:
    return len(z) < z.features.shape[1]


def _system(z: Standardized, target: Tensor) -> tuple[Tensor, Tensor]:
    """Gram matrix and right side: Z^T Z and Z^T Y, or Z Z^T and Y if there are fewer samples than features."""
    size = min(len(z), z.features.shape[1])
    gram = torch.zeros(size, size, dtype=torch.float64, device=target.device)
    if _is_dual(z):
        for block in z.columns(_COLUMNS):
            gram.addmm_(block, block.T)
        return gram, target
    right = torch.zeros(size, target.shape[1], dtype=torch.float64, device=target.device)
    done = 0
    for x in z.rows():
        gram.addmm_(x.T, x)
        right.addmm_(x.T, target[done : done + len(x)])
        done += len(x)
    return gram, right


def _basis(z: Standardized, x: Tensor) -> Tensor:
    """The factor of the solution for samples x: x itself, or x Z^T in the dual."""
    return torch.cat([x @ other.T for other in z.rows()], 1) if _is_dual(z) else x


def _targets(labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Centred one-hot targets (N, classes) and their mean."""
    target = torch.nn.functional.one_hot(labels, classes).double()
    mean = target.mean(0)
    return target - mean, mean
