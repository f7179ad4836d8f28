"""Activation: what a layer hands on, apart from the competition that it learns by."""

from torch import Tensor


def triangle(u: Tensor, power: float = 1.0, *, dim: int = 1) -> Tensor:
    """Triangle activation: relu(u - mean of u over the neurons) ** power.

    Args: u of any shape, neurons along `dim`; power > 0.  Returns: a tensor shaped as u.
    Source: Coates, Ng and Lee 2011 (power 1); SoftHebb-2023, section 3 (power).

    >>> import torch
    >>> triangle(torch.tensor([[3.0, 0.0, 0.0]]), power=2.0)
    tensor([[4., 0., 0.]])
    """
    rectified = (u - u.mean(dim, keepdim=True)).relu_()
    return rectified if power == 1.0 else rectified.pow(power)
