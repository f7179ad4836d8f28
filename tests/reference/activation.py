"""Pre-activations by loops over positions, and the triangle."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Pair = tuple[int, int]


def source(index: int, size: int, mode: str) -> int | None:
    """Which entry of a line of `size` a padded line repeats at `index` (which may lie outside); None is a zero."""
    if 0 <= index < size:
        return index
    if mode == "zeros":
        return None
    if mode == "replicate":
        return 0 if index < 0 else size - 1
    if mode == "circular":
        return index + size if index < 0 else index - size
    return -index if index < 0 else 2 * (size - 1) - index  # reflect: the edge itself is not repeated


def pad(x: Array, padding: Pair, mode: str) -> Array:
    """x (B, C, H, W) -> (B, C, H + 2 padding[0], W + 2 padding[1]), entry by entry."""
    batch, channels, height, width = x.shape
    padded = np.zeros((batch, channels, height + 2 * padding[0], width + 2 * padding[1]))
    for i in range(padded.shape[2]):
        for j in range(padded.shape[3]):
            row, column = source(i - padding[0], height, mode), source(j - padding[1], width, mode)
            if row is not None and column is not None:
                padded[:, :, i, j] = x[:, :, row, column]
    return padded


def positions(length: int, kernel: int, stride: int, dilation: int) -> int:
    """How many places a kernel finds on a line: it starts at 0, stride, 2 stride, ... while its last tap is inside."""
    count = 0
    while count * stride + dilation * (kernel - 1) < length:
        count += 1
    return count


def patch(x: Array, i: int, j: int, kernel: Pair, stride: Pair, dilation: Pair) -> Array:
    """What the kernel at output position (i, j) sees of one padded image x (C, H, W): (C, kh, kw), tap by tap."""
    seen = np.zeros((x.shape[0], *kernel))
    for p in range(kernel[0]):
        for q in range(kernel[1]):
            seen[:, p, q] = x[:, i * stride[0] + p * dilation[0], j * stride[1] + q * dilation[1]]
    return seen


def conv2d(x: Array, weight: Array, stride: Pair = (1, 1), dilation: Pair = (1, 1), groups: int = 1) -> Array:
    """u_k(p) = <w_k, patch at p of the channels of k's group>, on an input that is already padded."""
    batch, channels = x.shape[:2]
    out, kernel = weight.shape[0], (weight.shape[2], weight.shape[3])
    height = positions(x.shape[2], kernel[0], stride[0], dilation[0])
    width = positions(x.shape[3], kernel[1], stride[1], dilation[1])
    u = np.zeros((batch, out, height, width))
    for b, i, j in np.ndindex(batch, height, width):
        seen = patch(x[b], i, j, kernel, stride, dilation)
        for k in range(out):
            first = (k // (out // groups)) * (channels // groups)
            u[b, k, i, j] = np.sum(weight[k] * seen[first : first + channels // groups])
    return u


def linear(x: Array, weight: Array) -> Array:
    """u_k = w_k . x for every sample."""
    return np.array([[sum(w * v for w, v in zip(row, sample, strict=True)) for row in weight] for sample in x])


def rectify(u: Array) -> Array:
    """One vector: relu(u - mean)."""
    return np.array([max(value - sum(u) / len(u), 0.0) for value in u])


def triangle(u: Array, power: float = 1.0, threshold: float = 0.0) -> Array:
    """One vector: relu(u - mean - threshold * deviation)^power."""
    mean = sum(u) / len(u)
    deviation = (sum((value - mean) ** 2 for value in u) / len(u)) ** 0.5
    above = [value - mean - threshold * deviation for value in u]
    return np.array([value**power if value > 0 else 0.0 for value in above])
