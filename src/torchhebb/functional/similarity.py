"""Local losses on Gram matrices, for blocks that learn structure (SPHeRe)."""

import torch
from torch import Tensor

from torchhebb.functional.form import widened


def structure_loss(x: Tensor, z: Tensor) -> Tensor:
    """Mean over B x B of (K(x) - K(z))^2, K the Gram matrix of rows scaled to unit norm (norms at least 1e-12).

    Zero if the cosine similarities between the samples are the same in x and z.

    Args: x (B, ...) and z (B, ...), flattened from the second dim.  Returns: a scalar.
    Raises ValueError if the batches differ in size.
    Source: SPHeRe-2025, the structural term of the loss.

    >>> structure_loss(torch.eye(2), torch.ones(2, 3))
    tensor(0.5000)
    """
    if x.shape[0] != z.shape[0]:
        raise ValueError(f"x and z must hold the same samples, got {x.shape[0]} and {z.shape[0]}")
    difference = _cosine_gram(x) - _cosine_gram(z)
    return difference.square().mean().to(torch.promote_types(x.dtype, z.dtype))


def orthogonality_loss(z: Tensor) -> Tensor:
    """Mean over D x D of (K(z^T) - I)^2: columns, scaled to unit norm over the batch, should be orthogonal.

    Args: z (B, D).  Returns: a scalar.
    Source: SPHeRe-2025, the orthogonality term of the loss.

    >>> orthogonality_loss(torch.eye(3))
    tensor(0.)
    """
    gram = _cosine_gram(z.mT)
    return (gram - torch.eye(len(gram), dtype=gram.dtype, device=z.device)).square().mean().to(z.dtype)


def _cosine_gram(x: Tensor) -> Tensor:
    """Cosine similarities (B, B) of the samples of x (B, ...), without a scaled copy of them."""
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        x = x.permute(0, 2, 3, 1)  # any order of the columns has the same Gram matrix, and this one needs no copy
    rows = x.flatten(1).to(widened(x.dtype))
    norms = torch.linalg.vector_norm(rows, dim=1).clamp_min(1e-12)
    return rows @ rows.mT / norms.outer(norms)
