"""Means, spreads and 95 % intervals: the one place where questions, tables and claims compute them."""

from collections.abc import Sequence
from math import inf, sqrt
from statistics import fmean, stdev

import torch
from torch import Tensor

from torchhebb.train import Curve, Measure
from torchhebb.train.wilson import NORMAL_95


def normal_interval(mean: float, std: float, samples: int) -> tuple[float, float]:
    """The 95 % interval of a mean over N samples with standard deviation s: mean -+ z s / sqrt(N)."""
    half = NORMAL_95 * std / sqrt(samples)
    return mean - half, mean + half


def mean_interval(samples: Tensor) -> tuple[float, float]:
    """The 95 % interval of the mean of samples (N,); unbounded for a single sample.

    For the differences of two networks on each image, it is the interval of a paired comparison.

    >>> tuple(round(bound, 2) for bound in mean_interval(torch.tensor([1.0, 2.0, 3.0, 4.0])))
    (1.23, 3.77)
    """
    std = samples.std().item() if len(samples) > 1 else inf
    return normal_interval(samples.mean().item(), std, len(samples))


def welch(one: Measure | float, other: Measure | float) -> float | None:
    """Half of the 95 % interval of the difference of two means; None if their variance is not known.

        t sqrt(s1^2 / n1 + s2^2 / n2), degrees of freedom by Welch and Satterthwaite

    over seeds if both sides have several.  Otherwise, or if all seeds have equal values, it follows from the intervals
    of the two measures over images.
    Source: Welch 1947.

    >>> round(welch(Measure("a", "%", (1.0, 2.0, 3.0)), Measure("b", "%", (2.0, 2.0))), 3)
    2.484
    """
    from scipy.stats import t

    sides = [side for side in (one, other) if isinstance(side, Measure)]
    several = all(len(side.values) > 1 for side in sides)
    if several:
        parts = [((side.std or 0.0) ** 2 / len(side.values), len(side.values) - 1) for side in sides]
        variance = sum(part for part, _ in parts)
        if variance > 0:
            freedom = variance**2 / sum(part**2 / free for part, free in parts)
            return float(t.ppf(0.975, freedom)) * sqrt(variance)
    if any(side.interval is None for side in sides):
        return 0.0 if several else None
    return sqrt(sum(((side.interval[1] - side.interval[0]) / 2) ** 2 for side in sides if side.interval is not None))


def mean_curve(name: str, x_label: str, y_label: str, x: Sequence[float], lines: Sequence[Sequence[float]]) -> Curve:
    """The mean over seeds of lines with the same x, with the standard deviation if there are several lines.

    >>> mean_curve("loss", "images", "nats", [0, 10], [[2.0, 1.0], [4.0, 1.0]]).y
    (3.0, 1.0)
    """
    values = torch.tensor(lines, dtype=torch.float64)
    std = tuple(values.std(0).tolist()) if len(values) > 1 else None
    return Curve(name, x_label, y_label, tuple(x), tuple(values.mean(0).tolist()), std)


def points_curve(name: str, x_label: str, y_label: str, points: Sequence[tuple[float, Sequence[float]]]) -> Curve:
    """The mean of the values at each x, with their standard deviation if any x has several values.

    >>> points_curve("accuracy", "labels", "%", [(10, [50.0, 60.0]), (20, [70.0])]).y
    (55.0, 70.0)
    """
    std = tuple(stdev(values) if len(values) > 1 else 0.0 for _, values in points)
    mean, x = tuple(fmean(values) for _, values in points), tuple(float(at) for at, _ in points)
    return Curve(name, x_label, y_label, x, mean, std if any(std) else None)


def first_reached(x: Sequence[float], y: Sequence[float], level: float) -> float | None:
    """The first x at which the linear interpolation of the points reaches a level; None if it never does.

    >>> first_reached([0, 100, 200], [50.0, 70.0, 90.0], 80.0), first_reached([0, 100], [50.0, 70.0], 80.0)
    (150.0, None)
    """
    if y[0] >= level:
        return float(x[0])
    for i in range(1, len(x)):
        if y[i] >= level:
            return x[i - 1] + (x[i] - x[i - 1]) * (level - y[i - 1]) / (y[i] - y[i - 1])
    return None


def percent(which: Tensor) -> float:
    """The fraction of True in %.

    >>> percent(torch.tensor([True, False]))
    50.0
    """
    return 100 * which.double().mean().item()
