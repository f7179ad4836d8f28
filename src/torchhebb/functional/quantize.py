"""Quantisation of weights to a signed fixed-point grid."""

from typing import Literal

import torch
from torch import Tensor

from torchhebb.functional.form import widened

Rounding = Literal["nearest", "stochastic"]


def quantize(
    weight: Tensor,
    bits: int,
    *,
    scale: float | Tensor,
    rounding: Rounding = "nearest",
    generator: torch.Generator | None = None,
) -> Tensor:
    """q = scale * clip(round(w / scale), -L, L) with L = 2^(bits - 1) - 1 levels on either side of zero.

    nearest: ties are rounded to the even level. stochastic: up with a probability equal to the fraction above the level
    below, so that E[q] = w within the range; a weight on the grid is unchanged. Both are exact for a power of two.

    Args: weight of any shape and float dtype; bits, 2 to 64; scale > 0, the size of a level, a number or a tensor that
    broadcasts with weight; generator, of the stochastic draws, on weight's device.
    Returns: a tensor shaped as weight.  Raises ValueError for other bits or another rounding.
    Source: Gupta et al. 2015 for stochastic rounding.

    >>> quantize(torch.tensor([0.3, -0.6, 5.0]), 4, scale=0.5)
    tensor([ 0.5000, -0.5000,  3.5000])
    """
    most = _levels(bits)
    if rounding not in ("nearest", "stochastic"):
        raise ValueError(f"rounding must be nearest or stochastic, got {rounding!r}")
    position = weight.to(widened(weight.dtype)) / scale
    if rounding == "nearest":
        level = position.round()
    else:
        below = position.floor()  # the fraction is exact; position plus a draw would not be
        draw = torch.rand(weight.shape, generator=generator, device=weight.device, dtype=position.dtype)
        level = below + (draw < position - below).to(position.dtype)
    return (level.clamp(-most, most) * scale).to(weight.dtype)


def power_of_two_scale(weight: Tensor, bits: int, *, per: Literal["neuron", "layer"] = "neuron") -> Tensor:
    """The smallest power of two that is a level at which `quantize` clips no weight: 2^ceil(log2(max |w| / L)).

    One exponent for each neuron, or one for the layer.  When weights shrink the level halves.  Every value of the old
    grid is on the new one, so this changes no weight.

    Args: weight (out, ...); bits, 2 to 64.
    Returns: (out, 1, ...) or (1, 1, ...); 1 where all weights are zero.  Raises ValueError for other bits.

    >>> power_of_two_scale(torch.tensor([[7.0, 1.0], [0.0, -0.8]]), 4)
    tensor([[1.0000],
            [0.1250]])
    """
    dims = list(range(0 if per == "layer" else 1, weight.dim()))
    level = weight.to(widened(weight.dtype)).abs().amax(dims, keepdim=True) / _levels(bits)
    mantissa = torch.frexp(level).mantissa  # in [0.5, 1), or zero; unlike a power, the division by it is exact
    scale = level / torch.where(mantissa == 0.5, 1.0, mantissa)
    return torch.where(level > 0, scale, 1.0).to(weight.dtype)


def _levels(bits: int) -> int:
    if not 2 <= bits <= 64:
        raise ValueError(f"bits must lie from 2 to 64, got {bits}")
    return 2 ** (bits - 1) - 1
