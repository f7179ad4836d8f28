"""The bias as the log prior of a hidden cause, and the mixture of hidden causes written from its densities.

The densities are evaluated in mpmath with forty digits, in which nothing overflows: Bayes' rule and the means over
samples are then plain fractions and sums.
"""

from collections.abc import Sequence

import mpmath
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def log_prior_update(y_mean: Array, bias: Array, inverse_temperature: float = 1.0) -> Array:
    """db_k = B^(-b_k) (y_k - B^(b_k)) with B = e^inverse_temperature."""
    base = np.exp(inverse_temperature)
    return np.array([base**-b * (y - base**b) for y, b in zip(y_mean, bias, strict=True)])


def normaliser(dimension: int, kappa: float) -> mpmath.mpf:
    """C_d(kappa) = kappa^(d/2 - 1) / ((2 pi)^(d/2) I_{d/2 - 1}(kappa)); for kappa = 0, one over the sphere's area."""
    with mpmath.workdps(40):
        half = mpmath.mpf(dimension) / 2
        if kappa == 0:
            return mpmath.gamma(half) / (2 * mpmath.pi**half)
        return mpmath.mpf(kappa) ** (half - 1) / ((2 * mpmath.pi) ** half * mpmath.besseli(half - 1, kappa))


def mean_resultant_length(dimension: int, kappa: float) -> float:
    """I_{d/2}(kappa) / I_{d/2 - 1}(kappa)."""
    with mpmath.workdps(40):
        half = mpmath.mpf(dimension) / 2
        return float(mpmath.besseli(half, kappa) / mpmath.besseli(half - 1, kappa))


def component_density(x: Array, means: Array, kappa: float) -> list[list[mpmath.mpf]]:
    """p(x | k) = C_d(kappa) exp(kappa mu_k . x), for each sample a list over components."""
    constant = normaliser(x.shape[1], kappa)
    with mpmath.workdps(40):
        return [[constant * mpmath.exp(kappa * float(sample @ mean)) for mean in means] for sample in x]


def mixture_density(x: Array, means: Array, kappa: float, priors: Sequence[float]) -> list[mpmath.mpf]:
    """q(x) = sum_k pi_k p(x | k), for each sample."""
    with mpmath.workdps(40):
        return [
            mpmath.fsum(prior * density for prior, density in zip(priors, densities, strict=True))
            for densities in component_density(x, means, kappa)
        ]


def posterior(x: Array, means: Array, kappa: float, priors: Sequence[float]) -> Array:
    """Bayes' rule: P(k | x) = pi_k p(x | k) / q(x)."""
    evidence = mixture_density(x, means, kappa, priors)
    with mpmath.workdps(40):
        return np.array(
            [
                [float(prior * density / total) for prior, density in zip(priors, densities, strict=True)]
                for densities, total in zip(component_density(x, means, kappa), evidence, strict=True)
            ]
        )


def logarithm(values: Sequence[mpmath.mpf]) -> Array:
    """Natural logarithms, each rounded once."""
    with mpmath.workdps(40):
        return np.array([float(mpmath.log(value)) for value in values])
