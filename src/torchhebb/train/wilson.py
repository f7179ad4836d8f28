"""The interval of an accuracy over the images that it was measured on."""

from collections.abc import Sequence
from math import sqrt

NORMAL_95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution, which bounds the middle 95 %."""


def wilson(accuracies: Sequence[float], images: int) -> tuple[float, float]:
    """The 95 % interval in % of the mean accuracy over the images of one test set, whatever the number of seeds.

        (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    It stays within [0, 100] and is not empty at either end.
    Source: Wilson 1927.

    >>> tuple(round(bound, 2) for bound in wilson([50.0], 100))
    (40.38, 59.62)
    """
    p, z2 = sum(accuracies) / len(accuracies) / 100, NORMAL_95**2
    centre = p + z2 / (2 * images)
    spread = NORMAL_95 * sqrt(p * (1 - p) / images + z2 / (4 * images**2))
    low, high = ((centre + sign * spread) / (1 + z2 / images) for sign in (-1, 1))
    return 100 * max(0.0, low), 100 * min(1.0, high)
