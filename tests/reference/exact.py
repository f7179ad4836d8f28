"""A layer's whole step in decimal numbers of 50 digits: what the golden vectors are made by.

Each result is rounded once, to the nearest float64, so it depends on no machine, library or order of summation.
A convolution is the same step on patches: samples are rows.
"""

from dataclasses import dataclass, fields
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.reference import activation

Array = NDArray[np.float64]
Exact = NDArray[Any]  # of Decimal
DIGITS = 50


@dataclass(frozen=True)
class Step:
    """u, y (samples, K); statistic, update, new_weight (K, D); decay (K,); of the bias, if there is one, (K,)."""

    u: Array
    y: Array
    statistic: Array
    decay: Array
    update: Array
    new_weight: Array
    bias_update: Array | None
    new_bias: Array | None
    winner_margin: float
    """The smallest distance of a winner's u + b from the next, over the largest |u|."""

    def tensors(self) -> dict[str, Array]:
        """The arrays by name."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in named.items() if isinstance(value, np.ndarray)}


def step(
    x: Array,
    weight: Array,
    bias: Array | None,
    *,
    inverse_temperature: float | None,
    anti_hebbian: bool,
    lr: float,
    power: float,
) -> Step:
    """Samples x (N, D), weight (K, D), bias (K,) -> everything up to the new weight.

    inverse_temperature None stands for the hard winner-take-all.
    """
    with localcontext() as context:
        context.prec = DIGITS
        inputs, w = _exact(x), _exact(weight)
        b = _exact(np.zeros(len(weight)) if bias is None else bias)
        u = np.array([[_sum(row * sample) for row in w] for sample in inputs])
        y = np.array([_compete(line + b, inverse_temperature, anti_hebbian) for line in u])
        statistic = np.array([[_sum(y[:, k] * inputs[:, i]) for i in range(w.shape[1])] for k in range(len(w))])
        decay = np.array([_sum(y[:, k] * u[:, k]) for k in range(len(w))])
        update = statistic - decay[:, None] * w
        bias_update = new_bias = None
        if bias is not None:
            mean = np.array([_sum(abs(y[:, k])) / len(y) for k in range(len(w))])
            prior = np.array([(Decimal(inverse_temperature or 1.0) * value).exp() for value in b])
            bias_update = mean / prior - 1
            new_bias = b + Decimal(lr) * bias_update / max(Decimal(1), *abs(bias_update))
        best = np.sort(u + b, axis=1)
        margin = min(best[:, -1] - best[:, -2]) / max(abs(u).ravel())
        return Step(  # type: ignore[misc]
            *map(_round, (u, y, statistic, decay, update, _stepped(w, update, lr, power))),
            bias_update=None if bias_update is None else _round(bias_update),
            new_bias=None if new_bias is None else _round(new_bias),
            winner_margin=float(margin),
        )


def patches(x: Array, kernel: tuple[int, int], stride: int, padding: int) -> Array:
    """x (B, C, H, W), reflected at its border -> (B H' W', C kh kw): what a kernel sees, position by position."""
    padded = activation.pad(x, (padding, padding), "reflect")
    height, width = (activation.positions(padded.shape[2 + i], kernel[i], stride, 1) for i in (0, 1))
    seen = [
        activation.patch(image, i, j, kernel, (stride, stride), (1, 1)).ravel()
        for image in padded
        for i in range(height)
        for j in range(width)
    ]
    return np.array(seen)


def _compete(total: Exact, inverse_temperature: float | None, anti_hebbian: bool) -> Exact:
    winner = list(total).index(max(total))
    if inverse_temperature is None:
        return np.array([Decimal(k == winner) for k in range(len(total))])
    powers = np.array([(Decimal(inverse_temperature) * (value - total[winner])).exp() for value in total])
    y = powers / _sum(powers)
    return np.array([-value if anti_hebbian and k != winner else value for k, value in enumerate(y)])


def _stepped(weight: Exact, update: Exact, lr: float, power: float) -> Exact:
    """w_k + lr (| ||w_k|| - 1 | + 1e-10)^power dw_k / largest |dw|."""
    largest = max(abs(update).ravel())
    distance = np.array([abs(_sum(row * row).sqrt() - 1) + Decimal("1e-10") for row in weight])
    rate = np.array([Decimal(lr) * value ** Decimal(power) for value in distance])
    return weight + rate[:, None] * update / largest


def _sum(values: Exact) -> Decimal:
    return sum(values.ravel(), Decimal(0))


def _exact(array: Array) -> Exact:
    return np.array([Decimal(float(value)) for value in array.ravel()], dtype=object).reshape(array.shape)


def _round(array: Exact) -> Array:
    return array.astype(np.float64)
