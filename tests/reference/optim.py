"""The step of one parameter, from what learning left in its gradient (minus the mean update)."""

import numpy as np
from numpy.typing import NDArray

from tests.reference.plasticity import norm_adaptive_step

Array = NDArray[np.float64]


def step(parameter: Array, gradient: Array, lr: float, power: float = 0.5, groups: int = 1) -> Array:
    """Weights take the norm-adaptive step; a bias moves by lr * update / max(1, largest |update|)."""
    update = -gradient
    if parameter.ndim > 1:
        return norm_adaptive_step(parameter, update, lr, power, groups)
    largest = max(abs(value) for value in update)
    return parameter + lr * update / max(1.0, largest)
