"""Ridge regression from the products of samples alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor
from torch.linalg import solve_triangular

from torchhebb.errors import UserError
from torchhebb.readouts.products import Tiled


@dataclass(frozen=True)
class DualRidge:
    """A ridge as one number a class for each fitted sample, `dual` (fitted, classes).

    `prior` is the mean target; `held_logits` are what the ridge on the kept samples alone answers to those held out.
    """

    dual: Tensor
    prior: Tensor
    held_logits: Tensor

    def logits(self, products: Tiled) -> Tensor:
        """What the ridge answers to the others of the matrix that it was solved for."""
        columns = list(enumerate(products.columns))
        rows = range(len(columns), len(products.rows))
        return self.prior + torch.cat(
            [_sum(products.tile(i, j) @ self.dual[part] for j, part in columns) for i in rows]
        )


def dual_ridge(products: Tiled, targets: Tensor, kept: int, strength: float) -> DualRidge:
    """The ridge on all fitted samples, and the one on the first `kept` of them, by one Cholesky factor.

    With A = K + strength I over the fitted samples and A = L L^T, the leading part of L is the factor for those kept:
    what a ridge on them alone answers to the others is A_21 A_11^-1 Y = L_21 (L_11^-1 Y), so one factorization judges a
    strength on held-out samples and solves for it on all.

    Args: products, centred, in units in which the strength is given; targets (fitted, classes), one-hot; kept, where a
    row of tiles begins.
    Raises UserError for a matrix that is not positive definite in float32.
    Source: Saunders, Gammerman and Vovk 1998; Golub and Van Loan 2013, section 4.2.
    """
    factor = _factor(products, strength)
    columns = list(enumerate(products.columns))
    prior, kept_prior = targets.mean(0), targets[:kept].mean(0)
    half = torch.cat([targets - prior, targets - kept_prior], 1)
    for i, rows in columns:
        for j, part in columns[:i]:
            half[rows] -= factor[i, j] @ half[part]
        half[rows] = solve_triangular(factor[i, i], half[rows], upper=False)
    dual, kept_half = half.chunk(2, 1)
    first = [(j, part) for j, part in columns if part.stop <= kept]
    held = [_sum(factor[i, j] @ kept_half[part] for j, part in first) for i, _ in columns[len(first) :]]
    for j, part in reversed(columns):
        for i, rows in columns[j + 1 :]:
            dual[part] -= factor[i, j].T @ dual[rows]
        dual[part] = solve_triangular(factor[j, j].T, dual[part], upper=True)
    held_logits = torch.cat([kept_half.new_empty(0, len(prior)), *held]) + kept_prior
    return DualRidge(dual.contiguous(), prior, held_logits)


def _sum(terms: Iterable[Tensor]) -> Tensor:
    return reduce(torch.add, terms)


def _factor(products: Tiled, strength: float) -> dict[tuple[int, int], Tensor]:
    """The tiles of L with L L^T = products + strength I."""
    factor: dict[tuple[int, int], Tensor] = {}
    size = len(products.columns)
    for j in range(size):
        for i in range(j, size):
            tile = products.tile(i, j)
            if i == j:
                tile.diagonal().add_(strength)
            for k in range(j):
                tile.addmm_(factor[i, k], factor[j, k].T, alpha=-1)
            if i > j:
                factor[i, j] = solve_triangular(factor[j, j], tile.T, upper=False).T.contiguous()
                continue
            factor[j, j], failed = torch.linalg.cholesky_ex(tile)
            if failed:
                raise UserError(f"the ridge of strength {strength} is not positive definite: give larger strengths")
    return factor
