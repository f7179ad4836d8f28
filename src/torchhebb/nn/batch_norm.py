"""Batch normalisation by accurate statistics of the samples of all ranks.

Torch's own batch norm adds the values of a channel one after another in float32 where these lie channels last in the
memory of a CPU: 131,072 of them move the mean by 1e-4 of itself, and gradients by 1 %.  The sums here are pairwise.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from torchhebb.distributed import all_reduce, gather, world_size


def accurate_batch_norm(x: Tensor, running_mean: Tensor, running_var: Tensor, momentum: float, eps: float) -> Tensor:
    """(x - mean) / sqrt(var + eps) per channel, by the statistics of the samples and positions of all ranks.

    Of the parts r, each of n_r values with mean m_r and sum of squares M_r around it, the whole has
    mean = sum n_r m_r / n and var = (sum M_r + sum n_r (m_r - mean)^2) / n.  The gradient to x is that of the whole
    batch as well: with g the incoming one and y the output, (g - <g> - y <g y>) / sqrt(var + eps), where <.> is the
    mean over all ranks.  Where these hold a single value a channel, the running statistics take the place of its own,
    and do not move.

    Args: x (B, C, ...), B from 0; running statistics, moved in place by `momentum` towards mean and n / (n - 1) var.
    Returns: a tensor shaped as x.
    Source: Ioffe and Szegedy 2015; the statistics of parts by Chan et al. 1979.
    """
    count, mean, var = _moments(x)
    several = count > 1  # a tensor: to ask for its value would stop the queue of a GPU
    mean, var = torch.where(several, mean, running_mean), torch.where(several, var, running_var)
    with torch.no_grad():
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        unbiased = torch.where(several, var * (count / (count - 1)), var)
        running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    dtype = torch.promote_types(running_mean.dtype, torch.float32)
    return _Normalize.apply(x, mean.to(dtype), var.to(dtype), eps, count)


def is_summed_accurately(x: Tensor) -> bool:
    """Whether torch's own batch norm of x (B, C, ...) sees the whole batch and sums it well.

    It does not where ranks share the batch, nor on a CPU in float32 or less where the channels lie last and a channel
    has more values than one after another add up to within 1e-5.

    >>> maps = torch.rand(8, 3, 16, 16)
    >>> is_summed_accurately(maps), is_summed_accurately(maps.contiguous(memory_format=torch.channels_last))
    (True, False)
    """
    if world_size() > 1:
        return False
    values = x.numel() // max(x.shape[1], 1)
    channels_last = x.stride(1) == 1 and values > 1 or values == x.shape[0]
    return x.device.type != "cpu" or x.dtype == torch.float64 or values <= 256 or not channels_last


@torch.no_grad()
def _moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Values per channel, mean and biased variance over all ranks, in float64: exact for any count."""
    dims, own = _all_but_channels(x), x.new_zeros(2 * x.shape[1] + 1, dtype=torch.float64)
    if x.numel():
        n = x.numel() // x.shape[1]
        wide = _at_least_float32(x)
        mean = wide.sum(dims) / n
        centred = wide - mean.view(1, -1, *[1] * (x.dim() - 2))
        rest = centred.sum(dims).double()  # what rounding left of the mean
        squares = centred.square_().sum(dims).double() - rest.square() / n
        own[0], own[1 : 1 + len(mean)], own[1 + len(mean) :] = n, mean.double() + rest / n, squares
    parts = gather(own)
    counts, means, squares = parts[:, :1], *parts[:, 1:].chunk(2, 1)
    count = counts.sum()
    mean = (counts * means).sum(0) / count
    var = (squares.sum(0) + (counts * (means - mean).square()).sum(0)) / count
    return count, mean, var


class _Normalize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, var: Tensor, eps: float, count: Tensor) -> Tensor:
        y = F.batch_norm(x, mean, var, None, None, False, 0.0, eps)
        ctx.save_for_backward(y, (var + eps).rsqrt(), count)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        y, scale, count = ctx.saved_tensors
        g, y = _at_least_float32(gradient), _at_least_float32(y)
        dims = _all_but_channels(y)
        sums = all_reduce(torch.stack([g.sum(dims), (g * y).sum(dims)]).double())
        means = torch.where(count > 1, sums / count, 0.0).to(g.dtype).view(2, 1, -1, *[1] * (y.dim() - 2))
        x_gradient = torch.addcmul(g, y, means[1], value=-1).sub_(means[0]).mul_(scale.to(g.dtype).view_as(means[0]))
        return x_gradient.to(gradient.dtype), None, None, None, None


def _all_but_channels(x: Tensor) -> list[int]:
    return [dim for dim in range(x.dim()) if dim != 1]


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
