"""Competitions, one vector of pre-activations at a time."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def along(compete: Callable[[Array], Array], u: Array, axis: int = 1) -> Array:
    """Applies a competition of one vector to every vector of `u` along `axis`."""
    lines = np.moveaxis(np.asarray(u, np.float64), axis, -1)
    y = np.zeros(lines.shape)
    for position in np.ndindex(*lines.shape[:-1]):
        y[position] = compete(lines[position])
    return np.moveaxis(y, -1, axis)


def soft_wta(
    u: Array, inverse_temperature: float = 1.0, bias: Array | None = None, anti_hebbian: bool = False
) -> Array:
    """y_k = B^(u_k + b_k) / sum_l B^(u_l + b_l) with B = e^inverse_temperature; losers negative when anti-Hebbian."""
    total = u if bias is None else u + bias
    powers = np.array([np.exp(inverse_temperature * (value - max(total))) for value in total])
    y = powers / sum(powers)
    if anti_hebbian:
        winner = list(total).index(max(total))
        for k in range(len(y)):
            if k != winner:
                y[k] = -y[k]
    return y


def hard_wta(u: Array) -> Array:
    """One for the largest, zero for every other neuron."""
    y = np.zeros(len(u))
    y[list(u).index(max(u))] = 1.0
    return y


def signed_wta(u: Array, bias: Array | None = None) -> Array:
    """The value of the neuron whose distance from zero, and its bias, are the largest in sum; zero elsewhere."""
    strength = [abs(value) + (0.0 if bias is None else bias[k]) for k, value in enumerate(u)]
    y = np.zeros(len(u))
    winner = strength.index(max(strength))
    y[winner] = u[winner]
    return y


def ranked_wta(u: Array, rank: int = 2, delta: float = 0.4) -> Array:
    """+1 for the largest, -delta for the rank-th largest, zero elsewhere (Krotov and Hopfield)."""
    order = sorted(range(len(u)), key=lambda k: -u[k])
    y = np.zeros(len(u))
    y[order[0]] = 1.0
    y[order[rank - 1]] = -delta
    return y
