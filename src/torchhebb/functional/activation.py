"""Activation: what a layer hands on, apart from the competition that it learns by."""

import torch
from torch import Tensor


def triangle(u: Tensor, power: float = 1.0, *, threshold: float = 0.0, dim: int = 1) -> Tensor:
    """Triangle activation: relu(u - mean of u over the neurons - threshold * their standard deviation) ** power.

    Args: u of any shape, neurons along `dim`; power > 0; the larger threshold, the fewer are active.
    Returns: a tensor shaped as u.
    Source: Coates, Ng and Lee 2011 (power 1, threshold 0); SoftHebb-2023, section 3 (power).

    >>> triangle(torch.tensor([[3.0, 0.0, 0.0]]), power=2.0)
    tensor([[4., 0., 0.]])
    """
    rectified = u - u.mean(dim, keepdim=True)
    if threshold != 0.0:  # a norm of what is centred: torch's variance is many times slower over channels that lie last
        norm = torch.linalg.vector_norm(rectified, dim=dim, keepdim=True)
        rectified = rectified - norm * (threshold / u.shape[dim] ** 0.5)
    rectified = rectified.relu_()
    return rectified if power == 1.0 else rectified.pow(power)
