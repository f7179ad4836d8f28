"""The two terms of the local loss, one pair of rows at a time."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def cosine(a: Array, b: Array) -> float:
    """Cosine of two vectors, each norm at least 1e-12, so that the cosine with a zero vector is zero."""
    norm_a, norm_b = (max(sum(value**2 for value in vector) ** 0.5, 1e-12) for vector in (a, b))
    return float(sum(p * q for p, q in zip(a, b, strict=True)) / (norm_a * norm_b))


def structure_loss(x: Array, z: Array) -> float:
    """Mean over all pairs of samples of (cos(x_a, x_b) - cos(z_a, z_b))^2."""
    batch = x.shape[0]
    pairs = [(a, b) for a in range(batch) for b in range(batch)]
    return sum((cosine(x[a], x[b]) - cosine(z[a], z[b])) ** 2 for a, b in pairs) / batch**2


def orthogonality_loss(z: Array) -> float:
    """Mean over all pairs of columns of (cos(z_:p, z_:q) - [p = q])^2."""
    width = z.shape[1]
    pairs = [(p, q) for p in range(width) for q in range(width)]
    return sum((cosine(z[:, p], z[:, q]) - float(p == q)) ** 2 for p, q in pairs) / width**2
