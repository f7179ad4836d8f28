"""Whitening: the linear map after which inputs are uncorrelated and have equal variances."""

import torch
from torch import Tensor

from torchhebb.functional.form import widened


def whitening_matrix(
    covariance: Tensor, *, shrinkage: float = 0.1, components: int | None = None, rounding: float | None = None
) -> Tensor:
    """Z with Z C Z^T near the identity, for C = V diag(l) V^T and e = shrinkage * mean of l.

    Without `components` it is symmetric, V diag(l + e)^(-1/2) V^T: the whitening that changes inputs least (ZCA).
    With `components`, the rows diag(l + e)^(-1/2) V^T of that many largest l: principal components of one variance.

    Args: covariance (d, d), symmetric; shrinkage >= 0, in units of the mean variance; rounding, in units of the largest
    l + e: up to it a component does not vary, and its row is 0.  Returns: (components or d, d).
    Raises ValueError for a covariance that is not square or not finite, a negative shrinkage, components outside
    [1, d], rounding without components, or a variance of zero that neither of shrinkage, components and rounding
    leaves out.
    Source: Bell and Sejnowski 1997; Coates, Ng and Lee 2011, for patches.

    >>> whitening_matrix(torch.diag(torch.tensor([4.0, 1.0])), shrinkage=0.0)
    tensor([[0.5000, 0.0000],
            [0.0000, 1.0000]])
    """
    if covariance.dim() != 2 or covariance.shape[0] != covariance.shape[1]:
        raise ValueError(f"covariance must be square, got {tuple(covariance.shape)}")
    size = len(covariance)
    if shrinkage < 0:
        raise ValueError(f"shrinkage must not be negative, got {shrinkage}")
    if components is not None and not 1 <= components <= size:
        raise ValueError(f"components must lie from 1 to {size}, got {components}")
    if rounding is not None and components is None:
        raise ValueError("rounding must be None without components: the symmetric matrix has no rows to leave out")
    if not covariance.isfinite().all():
        raise ValueError("covariance must be finite")
    variances, directions = torch.linalg.eigh(covariance.double())
    variances, directions = variances.flip(0).clamp_min(0), directions.flip(1)
    scale = variances + shrinkage * variances.mean()
    kept = slice(components)
    least = max(size * torch.finfo(torch.float64).eps, rounding or 0.0) * scale[0]
    varies = scale[kept] > least
    if not (varies[0] if rounding else varies.all()):
        raise ValueError("covariance must have full rank where shrinkage is 0: raise shrinkage or lower components")
    rows = directions.T[kept] * torch.where(varies, scale[kept].rsqrt(), 0.0).unsqueeze(1)
    whitening = directions @ rows if components is None else rows * _signs(rows)
    return whitening.to(covariance.dtype)


def decorrelation_step(matrix: Tensor, x: Tensor, lr: float) -> Tensor:
    """Z + lr (I - <q q^T>) Z with q = Z x: outputs that are active together learn to inhibit each other.

    The rule is anti-Hebbian between outputs that are joined by lateral connections.  Its fixed point is <q q^T> = I.
    From a symmetric start Z stays nearly symmetric, and converges to the result of `whitening_matrix`.  Independent
    noise of variance e on the inputs acts as its shrinkage.

    Args: matrix (d, d); x (B, d), centred, the mean is over them; 0 < lr, small beside 1 / largest variance of q.
    Returns: the new matrix.
    Source: Foldiak 1989; Plumbley 1993; Cichocki and Unbehauen 1996.

    >>> decorrelation_step(torch.eye(2), torch.tensor([[2.0, 0.0], [0.0, 0.0]]), 0.1)
    tensor([[0.9000, 0.0000],
            [0.0000, 1.1000]])
    """
    wide = matrix.to(widened(matrix.dtype))
    q = x.to(wide.dtype) @ wide.T
    return (wide + lr * (wide - (q.T @ q / len(q)) @ wide)).to(matrix.dtype)


def _signs(rows: Tensor) -> Tensor:
    """The sign of the largest entry of each row, to make the sign of eigenvectors unique."""
    return rows.gather(1, rows.abs().argmax(1, keepdim=True)).sign()
