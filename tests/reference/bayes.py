"""The bias as the log prior of a hidden cause."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def log_prior_update(y_mean: Array, bias: Array, inverse_temperature: float = 1.0) -> Array:
    """db_k = B^(-b_k) (y_k - B^(b_k)) with B = e^inverse_temperature."""
    base = np.exp(inverse_temperature)
    return np.array([base**-b * (y - base**b) for y, b in zip(y_mean, bias, strict=True)])
