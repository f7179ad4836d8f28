"""Ridge regression from the products of samples by conjugate gradients, where a factorization takes too long."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from torchhebb.errors import UserError
from torchhebb.readouts.dual import DualRidge
from torchhebb.readouts.factor import blocks
from torchhebb.readouts.products import TILE, Tiled

LANDMARKS = 1  # columns of tiles, from the first on, that precondition
CORNER = 512  # rows of a symmetric matrix that are computed at once, up to the diagonal
ROUNDING = 1e-7  # of entries in float32, in units of the largest


class Held(Tiled):
    """The tiles of another matrix over the fitted samples, computed once; those of the others at each call."""

    def __init__(self, source: Tiled) -> None:
        self.source, self.rows, self.fitted = source, source.rows, source.fitted
        self.tiles = {(i, j): source.tile(i, j) for i, j in self.places() if i < len(self.columns)}

    def tile(self, i: int, j: int) -> Tensor:
        return self.tiles[i, j] if (i, j) in self.tiles else self.source.tile(i, j)


def iterative_ridges(
    products: Tiled,
    targets: Tensor,
    kept: int,
    strengths: Iterable[float],
    *,
    tolerance: float = 1e-3,
    most: int = 300,
) -> Iterator[DualRidge]:
    """What `dual_ridge` returns for each strength, up to residuals of `tolerance` times the targets.

    A step takes N^2 operations, a factorization N^3.  The ridge on all fitted samples and that on the kept ones are
    solved side by side.  With K_m the columns of the first few thousand kept samples, K is near K_m K_mm^-1 K_m^T,
    whose ridge has a closed form: it preconditions.  The matrix is held once more, as `dual_ridge` holds a factor, and
    it and K_m^T K_m are computed once for all strengths.

    Args: as in `dual_ridge`; most, the steps after which it gives up.
    Raises UserError where the residuals are larger after so many steps.
    Source: Hestenes and Stiefel 1952; Rudi, Carratino and Rosasco 2017, for the preconditioner.
    """
    held = Held(products)
    prior, kept_prior = targets.mean(0), targets[:kept].mean(0)
    classes = len(prior)
    inside = torch.ones(len(targets), 2 * classes, device=targets.device)
    inside[kept:, classes:] = 0  # the second half of the columns belongs to the ridge on the kept samples
    right = torch.cat([targets - prior, targets - kept_prior], 1) * inside
    landmarks = _Landmarks(held, kept, len(targets))
    for strength in strengths:

        def apply(x: Tensor, strength: float = strength) -> Tensor:
            return _times(held, x) * inside + strength * x

        dual = _conjugate_gradients(apply, right, landmarks.preconditioner(strength), tolerance, most)
        held_logits = _times(held, dual[:, classes:].contiguous())[kept:] + kept_prior
        yield DualRidge(dual[:, :classes].contiguous(), prior, held_logits)


def _times(products: Tiled, x: Tensor) -> Tensor:
    """The matrix over the fitted samples times x (fitted, c)."""
    out = torch.zeros_like(x)
    for j, columns in enumerate(products.columns):
        for i in range(j, len(products.columns)):
            rows, tile = products.rows[i], products.tile(i, j)
            out[rows] += tile @ x[columns]
            if i > j:
                out[columns] += tile.T @ x[rows]
    return out


class _Landmarks:
    """K_m, the columns of the first of the kept samples, and K_m^T K_m over the kept samples and over all."""

    def __init__(self, held: Tiled, kept: int, fitted: int) -> None:
        columns = [j for j, rows in enumerate(held.columns) if rows.stop <= kept][:LANDMARKS]
        self.columns = torch.cat(
            [
                torch.cat([held.tile(i, j) if i >= j else held.tile(j, i).T for j in columns], 1)
                for i in range(len(held.columns))
            ]
        )
        of_kept = self._gram(slice(kept))
        self.grams = ((fitted, of_kept + self._gram(slice(kept, fitted))), (kept, of_kept))

    def preconditioner(self, strength: float) -> Callable[[Tensor], Tensor]:
        """(K_m K_mm^-1 K_m^T + strength I)^-1 over all samples and over the kept, for half of the columns each."""
        sides = []
        for count, gram in self.grams:
            system = gram + strength * self.columns[: len(gram)].double()
            system.diagonal().add_(ROUNDING * float(system.diagonal().max()))
            sides.append((self.columns[:count], torch.linalg.cholesky(system)))

        def solve(x: Tensor) -> Tensor:
            found = torch.zeros_like(x)
            for (part, factor), half, out in zip(sides, x.chunk(2, 1), found.chunk(2, 1), strict=True):
                some = half[: len(part)]
                inner = torch.cholesky_solve((part.T @ some).double(), factor).to(x.dtype)
                out[: len(part)] = (some - part @ inner) / strength
            return found

        return solve

    def _gram(self, rows: slice) -> Tensor:
        """K_m^T K_m over some rows in float64, of which a Cholesky factorization reads the lower triangle."""
        size = self.columns.shape[1]
        gram = torch.zeros(size, size, dtype=torch.float64, device=self.columns.device)
        for part in self.columns[rows].split(TILE):
            exact = part.double()
            for some in blocks(size, CORNER):
                gram[some, : some.stop].addmm_(exact[:, some].T, exact[:, : some.stop])
        return gram


def _conjugate_gradients(
    apply: Callable[[Tensor], Tensor],
    right: Tensor,
    precondition: Callable[[Tensor], Tensor],
    tolerance: float,
    most: int,
) -> Tensor:
    """x with apply(x) = right, column by column."""
    x, residual = torch.zeros_like(right), right.clone()
    z = precondition(residual)
    direction, rho = z, (residual * z).sum(0)
    goal = tolerance * right.norm(dim=0).clamp_min(torch.finfo(right.dtype).tiny)
    for _ in range(most):
        if bool((residual.norm(dim=0) <= goal).all()):
            return x
        image = apply(direction)
        step = rho / (direction * image).sum(0).clamp_min(torch.finfo(right.dtype).tiny)
        x = x + step * direction
        residual = residual - step * image
        z = precondition(residual)
        last, rho = rho, (residual * z).sum(0)
        direction = z + rho / last.clamp_min(torch.finfo(right.dtype).tiny) * direction
    worst = float((residual.norm(dim=0) / goal).max()) * tolerance
    raise UserError(f"the ridge is not solved after {most} steps, residuals are {worst:.1g}: give larger strengths")
