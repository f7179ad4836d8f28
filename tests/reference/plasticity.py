"""Statistics, the update and the step, sample by sample and neuron by neuron."""

import numpy as np
from numpy.typing import NDArray

from tests.reference.activation import Pair, patch

Array = NDArray[np.float64]


def linear_statistic(x: Array, y: Array) -> Array:
    """S_ki = sum over samples of y_k x_i."""
    statistic = np.zeros((y.shape[1], x.shape[1]))
    for b, k, i in np.ndindex(x.shape[0], y.shape[1], x.shape[1]):
        statistic[k, i] += y[b, k] * x[b, i]
    return statistic


def conv2d_statistic(
    x: Array, y: Array, kernel: Pair, stride: Pair = (1, 1), dilation: Pair = (1, 1), groups: int = 1
) -> Array:
    """S_k = sum over samples and positions of y_k(p) times the patch at p of the channels of k's group."""
    out, channels = y.shape[1], x.shape[1] // groups
    statistic = np.zeros((out, channels, *kernel))
    for b, i, j in np.ndindex(y.shape[0], y.shape[2], y.shape[3]):
        seen = patch(x[b], i, j, kernel, stride, dilation)
        for k in range(out):
            first = (k // (out // groups)) * channels
            statistic[k] += y[b, k, i, j] * seen[first : first + channels]
    return statistic


def plasticity(statistic: Array, weight: Array, decay: Array | None = None) -> Array:
    """dw_k = S_k - decay_k w_k, where the decay of Oja's rule is <S_k, w_k>."""
    update = np.zeros(weight.shape)
    for k in range(weight.shape[0]):
        factor = np.sum(statistic[k] * weight[k]) if decay is None else decay[k]
        update[k] = statistic[k] - factor * weight[k]
    return update


def norm_adaptive_step(weight: Array, update: Array, lr: float, power: float = 0.5, groups: int = 1) -> Array:
    """w_k + lr (| ||w_k|| - 1 | + 1e-10)^power dw_k / (largest |dw| in k's group)."""
    new = np.array(weight, np.float64)
    size = weight.shape[0] // groups
    for k in range(weight.shape[0]):
        group = update[(k // size) * size : (k // size + 1) * size]
        largest = max(abs(value) for value in group.ravel())
        radius = sum(value**2 for value in weight[k].ravel()) ** 0.5
        if largest > 0:
            new[k] += lr * (abs(radius - 1) + 1e-10) ** power * update[k] / largest
    return new
