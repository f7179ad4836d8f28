"""Cholesky factor of a large matrix within its own memory."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.linalg import solve_triangular

BLOCK = 2048  # columns that are factored at once


class Factor:
    """The upper triangular factor U with U^T U = A, stored above the diagonal of `room`.

    U is computed one block row at a time.  With U_i the part of U above block j, the entries of A in this row minus
    U_i^T U are the corner U_j^T U_j and, solved by it, the rest of the row.  The blocks on the diagonal are stored
    separately, so that the diagonal of `room` and the part below it do not change.  If A is a function of them, it can
    be factored again for another strength, and only one matrix is held in memory.

    Args: room (n, n), of which the first `size` rows and columns are used; entries, rows -> these columns of A from
    their first row on, (size - start, stop - start), a tensor that may be overwritten.
    Raises ValueError if A is not positive definite to rounding.
    Source: Golub and Van Loan 2013, section 4.2.

    >>> a = torch.tensor([[4.0, 2.0], [2.0, 5.0]])
    >>> Factor(a, 2, lambda rows: a[rows.start :, rows].clone()).solve(torch.tensor([[8.0], [12.0]])).flatten()
    tensor([1., 2.])
    """

    def __init__(self, room: Tensor, size: int, entries: Callable[[slice], Tensor]) -> None:
        self.room, self.size = room, size
        self.corners: list[Tensor] = []
        for rows in blocks(size, BLOCK):
            panel = entries(rows)
            panel.addmm_(room[: rows.start, rows.start : size].T, room[: rows.start, rows], alpha=-1)
            corner, failed = torch.linalg.cholesky_ex(panel[: rows.stop - rows.start])
            if failed:
                raise ValueError(f"not positive definite from column {rows.start + int(failed)} on")
            self.corners.append(corner)
            room[rows, rows.stop : size] = solve_triangular(corner, panel[rows.stop - rows.start :].T, upper=False)

    def solve(self, right: Tensor) -> Tensor:
        """A^-1 `right` (size, k): first U^T y = right, then U x = y."""
        x = right.clone()
        steps = list(zip(blocks(self.size, BLOCK), self.corners, strict=True))
        for rows, corner in steps:
            x[rows] -= self.room[: rows.start, rows].T @ x[: rows.start]
            x[rows] = solve_triangular(corner, x[rows], upper=False)
        for rows, corner in reversed(steps):
            x[rows] -= self.room[rows, rows.stop : self.size] @ x[rows.stop :]
            x[rows] = solve_triangular(corner.T, x[rows], upper=True)
        return x


def blocks(size: int, width: int) -> Iterator[slice]:
    """Slices from 0 to `size`, each of at most `width`.

    >>> list(blocks(5, 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    for start in range(0, size, width):
        yield slice(start, min(start + width, size))
