"""Batch normalisation by accurate statistics of the samples of all ranks.

Torch's own batch norm adds the values of a channel one after another in float32 where these lie channels last in the
memory of a CPU: 131,072 of them move the mean by 1e-4 of itself, and gradients by 1 %.  The sums here are pairwise.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from torchhebb.distributed import all_reduce, gather, world_size

CHUNK = 1 << 20  # values that are centred at once: they and their temporaries stay in a CPU's cache


def accurate_batch_norm(
    x: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    momentum: float,
    eps: float,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """weight (x - mean) / sqrt(var + eps) + bias per channel, by the statistics of all ranks' samples and positions.

    Of the parts r, each of n_r values with mean m_r and sum of squares M_r around it, the whole has
    mean = sum n_r m_r / n and var = (sum M_r + sum n_r (m_r - mean)^2) / n.  The gradient to x is that of the whole
    batch as well: with g the incoming one and y = (x - mean) / sqrt(var + eps), weight (g - <g> - y <g y>) /
    sqrt(var + eps), where <.> is the mean over all ranks; those to weight and bias are this rank's sums of g y and g.
    Where all ranks hold a single value a channel, the running statistics take the place of its own, and do not move.

    Args: x (B, C, ...), B from 0; running statistics, moved in place by `momentum` towards mean and n / (n - 1) var;
    weight and bias (C,), both or none.
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
    return _Normalize.apply(x, mean.to(dtype), var.to(dtype), weight, bias, eps, count)


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
    parts = [_part(values) for values in _chunks(x)]
    own = _joined(*_whole(torch.stack(parts))) if parts else x.new_zeros(2 * x.shape[1] + 1, dtype=torch.float64)
    count, mean, squares = _whole(gather(own))
    return count, mean, squares / count


def _part(x: Tensor) -> Tensor:
    """Of some samples, in a row: values per channel, mean, and sum of squares around it."""
    dims, n = _all_but_channels(x), x.numel() // x.shape[1]
    wide = _at_least_float32(x)
    mean = wide.sum(dims) / n
    centred = wide - _per_channel(mean, x)
    rest = centred.sum(dims).double()  # what rounding left of the mean
    squares = centred.square_().sum(dims).double() - rest.square() / n
    return _joined(torch.full((), n, dtype=torch.float64, device=x.device), mean.double() + rest / n, squares)


def _whole(parts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same of all parts (R, 2 C + 1) together; means are not defined without any value."""
    counts, means, squares = parts[:, :1], *parts[:, 1:].chunk(2, 1)
    count = counts.sum()
    mean = (counts * means).sum(0) / count
    return count, mean, squares.sum(0) + (counts * (means - mean).square()).sum(0)


def _joined(count: Tensor, mean: Tensor, squares: Tensor) -> Tensor:
    return torch.cat([count.view(1), mean, squares])


class _Normalize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        mean: Tensor,
        var: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
        count: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(x, mean, var, weight, count)
        ctx.eps = eps
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, var, weight, count = ctx.saved_tensors
        dims = _all_but_channels(x)

        def normalized(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
            return F.batch_norm(_at_least_float32(x), mean, var, weight, bias, False, 0.0, ctx.eps)

        pieces = [(values, _at_least_float32(g)) for values, g in zip(_chunks(x), _chunks(gradient), strict=True)]
        own = gradient.new_zeros(2, x.shape[1], dtype=torch.float64)
        for values, g in pieces:
            own += torch.stack([g.sum(dims), normalized(values).mul_(g).sum(dims)])
        sums = all_reduce(own.clone())
        rise, slope = torch.where(count > 1, sums / count, 0.0).to(mean.dtype)
        factor = (var + ctx.eps).rsqrt() * (1 if weight is None else weight)
        weights, biases, factors = -factor * slope, -factor * rise, _per_channel(factor, x)
        gradients = (normalized(values, weights, biases).addcmul_(g, factors) for values, g in pieces)
        if len(pieces) == 1:
            x_gradient = next(gradients).to(gradient.dtype)
        else:
            x_gradient = torch.empty_like(x, dtype=gradient.dtype)
            for out, found in zip(_chunks(x_gradient), gradients, strict=True):
                out.copy_(found)
        affine = (None, None) if weight is None else (own[1].to(weight.dtype), own[0].to(weight.dtype))
        return x_gradient, None, None, *affine, None, None


def _chunks(x: Tensor) -> Sequence[Tensor]:
    """Some samples at a time; nothing of an empty batch."""
    return x.split(max(1, CHUNK // max(1, x[0].numel()))) if x.numel() else ()


def _per_channel(numbers: Tensor, x: Tensor) -> Tensor:
    """Numbers (C,) in a shape that goes with x (B, C, ...)."""
    return numbers.view(1, -1, *[1] * (x.dim() - 2))


def _all_but_channels(x: Tensor) -> list[int]:
    return [dim for dim in range(x.dim()) if dim != 1]


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
