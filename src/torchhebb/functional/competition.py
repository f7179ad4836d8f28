"""Competition: from pre-activations u to post-synaptic activity y.

| symbol | meaning |
|---|---|
| u | pre-activation, neurons along `dim` |
| b | bias of the neurons, the log prior of their hidden causes |
| y | activity after the competition |
"""

import torch
from torch import Tensor

from torchhebb.functional.form import falling_order, in_kernel, under_autocast, widened


def soft_wta(
    u: Tensor,
    inverse_temperature: float = 1.0,
    *,
    bias: Tensor | None = None,
    anti_hebbian: bool = False,
    dim: int = 1,
) -> Tensor:
    """Soft winner-take-all: the posterior over hidden causes.

    y_k = exp(t (u_k + b_k)) / sum_l exp(t (u_l + b_l)), t the inverse temperature (ln B for a base B).
    With `anti_hebbian`, y_k changes sign for every neuron but the one with the largest u + b.  float16 and bfloat16 are
    computed in float32.

    Args: u of any shape; bias of shape (size of `dim`,).  Returns: y, shaped as u.
    Raises ValueError if bias does not have one entry per neuron.
    Source: SoftHebb-2022, eq. of the posterior; SoftHebb-2023, section 3 (anti-Hebbian losers).

    >>> soft_wta(torch.tensor([[2.0, 0.0]]), 1.0, anti_hebbian=True)
    tensor([[ 0.8808, -0.1192]])
    """
    dtype = u.dtype if bias is None else torch.promote_types(u.dtype, bias.dtype)
    u = u.to(widened(dtype))
    if bias is not None:
        u = u + _along(bias, u, dim)
    moved = dim not in (-1, u.dim() - 1)
    u = u.movedim(dim, -1) if moved else u  # channels-last u: neurons lie together in memory, and nothing below copies
    if in_kernel():
        y = _soft_wta_in_one_pass(u, inverse_temperature, anti_hebbian)
    else:
        y = torch.softmax(u if inverse_temperature == 1.0 else u * inverse_temperature, -1)
        if anti_hebbian:
            winner = u.max(-1, keepdim=True).indices  # faster than argmax on a CPU
            largest = y.gather(-1, winner)
            y = y.neg() if y.requires_grad else y.neg_()  # y is no other's, but a gradient needs it as it is
            y = y.scatter_(-1, winner, largest)
    y = y.movedim(-1, dim) if moved else y
    return y if under_autocast(y.device) else y.to(dtype)  # autocast leaves a softmax in float32


def _soft_wta_in_one_pass(u: Tensor, inverse_temperature: float, anti_hebbian: bool) -> Tensor:
    """Over the last dim, in terms that Inductor vectorises: it does not vectorise the index of a maximum."""
    largest = u.amax(-1, keepdim=True)
    powers = torch.exp(inverse_temperature * (u - largest))
    y = powers * powers.sum(-1, keepdim=True).reciprocal()
    if anti_hebbian:
        order = falling_order(u.shape[-1], u.device)
        first = torch.where(u == largest, order, -torch.inf).amax(-1, keepdim=True)
        y = torch.where(order == first, y, -y)
    return y


def hard_wta(u: Tensor, *, dim: int = 1) -> Tensor:
    """Hard winner-take-all: y_k = 1 for the largest u_k (the first of equals), 0 elsewhere.

    Args: u of any shape.  Returns: y, shaped as u.
    Source: the limit of `soft_wta` for inverse temperature to infinity (SoftHebb-2022).

    >>> hard_wta(torch.tensor([[0.1, 0.9, 0.3]]))
    tensor([[0., 1., 0.]])
    """
    return torch.zeros_like(u).scatter_(dim, u.argmax(dim, keepdim=True), 1.0)


def ranked_wta(u: Tensor, *, rank: int = 2, delta: float = 0.4, dim: int = 1) -> Tensor:
    """Ranked competition of Krotov and Hopfield: +1 for the winner, -delta for the neuron at `rank`, 0 elsewhere.

    Args: u of any shape; rank counts from 1, the winner.  Returns: y, shaped as u.
    Raises ValueError unless 2 <= rank <= number of neurons.
    Source: Krotov and Hopfield 2019, eq. 9.

    >>> ranked_wta(torch.tensor([[0.1, 0.9, 0.3]]))
    tensor([[ 0.0000,  1.0000, -0.4000]])
    """
    if not 2 <= rank <= u.shape[dim]:
        raise ValueError(f"rank must lie between 2 and the number of neurons ({u.shape[dim]}), got {rank}")
    order = u.topk(rank, dim).indices
    y = torch.zeros_like(u)
    ranked = order.narrow(dim, rank - 1, 1)
    y.scatter_(dim, ranked, y.new_full(ranked.shape, -delta))  # Inductor rounds a bare number to float32
    return y.scatter_(dim, order.narrow(dim, 0, 1), 1.0)


def signed_wta(u: Tensor, *, bias: Tensor | None = None, dim: int = 1) -> Tensor:
    """Winner-take-all of both signs: y_k = u_k for the largest |u_k| + b_k (the first of equals), 0 elsewhere.

    Args: u of any shape; bias of shape (size of `dim`,).  Returns: y, shaped as u.
    Raises ValueError if bias does not have one entry per neuron.
    Source: orthogonal matching pursuit with one component, OMP-1: Coates and Ng 2011.

    >>> signed_wta(torch.tensor([[0.1, -0.9, 0.3]]))
    tensor([[ 0.0000, -0.9000,  0.0000]])
    """
    strength = u.abs() if bias is None else u.abs() + _along(bias, u, dim)
    winner = strength.argmax(dim, keepdim=True)
    return torch.zeros_like(u).scatter_(dim, winner, u.gather(dim, winner))


def _along(vector: Tensor, like: Tensor, dim: int) -> Tensor:
    if vector.shape != (like.shape[dim],):
        raise ValueError(f"bias must have shape ({like.shape[dim]},), got {tuple(vector.shape)}")
    shape = [1] * like.dim()
    shape[dim] = -1
    return vector.view(shape)
