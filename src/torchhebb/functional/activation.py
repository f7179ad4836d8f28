"""The triangle activation."""

import torch
from torch import Tensor

from torchhebb.functional.form import widened


def triangle(
    u: Tensor,
    power: float = 1.0,
    *,
    threshold: float = 0.0,
    split: bool = False,
    detach_mean: bool = False,
    dim: int = 1,
) -> Tensor:
    """Triangle activation: relu(u - mean of u over the neurons - threshold * their standard deviation) ** power.

    With `detach_mean` no gradient passes through the mean, as in the released code of SoftHebb-2023; values are equal.
    With `split` the triangle of -u is appended along `dim`: how far a neuron is above the mean, and how far below it.

    Args: u of any shape, neurons along `dim`; power > 0; a larger threshold makes fewer neurons active.
    Returns: a tensor shaped as u, with `split` twice as long along `dim`.
    Source: Coates, Ng and Lee 2011 (power 1, threshold 0); Coates and Ng 2011, section 3.2 (split);
    SoftHebb-2023, section 3 (power).

    >>> triangle(torch.tensor([[3.0, 0.0, 0.0]]), power=2.0)
    tensor([[4., 0., 0.]])
    >>> triangle(torch.tensor([[3.0, 0.0, 0.0]]), split=True)
    tensor([[2., 0., 0., 0., 1., 1.]])
    """
    mean = u.mean(dim, keepdim=True)
    centred = u - (mean.detach() if detach_mean else mean)
    if threshold == 0.0:
        least = None
    else:  # the norm of centred values: torch's variance is many times slower over channels in channels-last order
        norm = torch.linalg.vector_norm(centred, dim=dim, keepdim=True, dtype=widened(u.dtype))
        least = (norm * (threshold / max(u.shape[dim], 1) ** 0.5)).to(u.dtype)
    sides = [centred, -centred] if split else [centred]
    above = [side if least is None else side - least for side in sides]
    rectified = (torch.cat(above, dim) if split else above[0]).relu_()
    return rectified if power == 1.0 else rectified.pow(power)
