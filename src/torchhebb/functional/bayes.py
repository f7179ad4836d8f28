"""Bayes: what the soft winner-take-all infers, and how its prior is learned."""

import torch
from torch import Tensor


def log_prior_update(y_mean: Tensor, bias: Tensor, inverse_temperature: float = 1.0) -> Tensor:
    """db_k = E[y_k] exp(-t b_k) - 1; its fixed point is the log prior, exp(t b_k) = E[y_k].

    Args: y_mean (K,), the activity averaged over samples; bias (K,).  Returns: db (K,).
    Source: SoftHebb-2022, the bias update exp(-b) (y - exp(b)), with exp(b ln B) for a base B.

    >>> log_prior_update(torch.tensor([0.5, 0.25]), torch.tensor([0.5, 0.5]).log())
    tensor([ 0.0000, -0.5000])
    """
    return y_mean * torch.exp(-inverse_temperature * bias) - 1
