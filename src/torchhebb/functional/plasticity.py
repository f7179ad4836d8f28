"""Plasticity: statistics, updates and norm-adaptive steps of the weights.

| symbol | meaning |
|---|---|
| x, y | pre- and post-synaptic activity |
| S | statistic, the sum over samples and positions of y x^T |
| dw | update, S - decay w |
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from torchhebb.functional.form import in_kernel, widened


def linear_statistic(x: Tensor, y: Tensor, *, scale: float = 1.0, out: Tensor | None = None) -> Tensor:
    """S_ki = scale * sum over samples of y_k x_i.

    Args: x (B, in); y (B, out); out, where to put S.
    Returns: S (out, in), in float16 at most 65,504 like all its numbers.
    Source: SoftHebb-2022, the Hebbian term of the update.

    >>> linear_statistic(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0]]))
    tensor([[3., 6.]])
    """
    if scale == 1.0:
        return torch.mm(y.mT, x, out=out)
    if len(x) < x.shape[1]:  # then y has fewer numbers to scale than S
        return torch.mm((scale * y).mT, x, out=out)
    return torch.mm(y.mT, x, out=out).mul_(scale)


def conv2d_statistic(
    x: Tensor,
    y: Tensor,
    kernel_size: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """S_kcij = sum over samples and positions p of y_k(p) x_c(stride p + dilation (i, j)).

    This is the weight gradient of the convolution that made u, taken at y, so it costs one convolution.

    Args: x (B, in, H, W), already padded; y (B, out, H', W').  Returns: S (out, in / groups, kh, kw).
    Raises ValueError for a size, a stride, a dilation or groups that are not positive.
    Source: SoftHebb-2023, section 3: the convolutional form of the Hebbian term.

    >>> conv2d_statistic(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 2, 2), 2)
    tensor([[[[4., 4.],
              [4., 4.]]]])
    """
    for name, size in {"kernel_size": kernel_size, "stride": stride, "dilation": dilation, "groups": groups}.items():
        if not all(0 < one < 2**31 for one in pair(size)):
            raise ValueError(f"{name} must be positive and below 2^31, got {size}")
    layout = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    shape = (y.shape[1], x.shape[1] // groups, *pair(kernel_size))
    weight = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout)  # its values are not read
    return torch.ops.aten.convolution_backward(
        y, x, weight, None, pair(stride), (0, 0), pair(dilation), False, (0, 0), groups, (False, True, False)
    )[1]


def plasticity(statistic: Tensor, weight: Tensor, *, decay: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """dw_k = S_k - decay_k w_k; where decay is a matrix D, dw_k = S_k - sum over l of D_kl w_l.

    With `decay` None it is Oja-like, decay_k = <S_k, w_k>, which equals the sum of y_k u_k when u = w x.

    Args: statistic and weight (out, ...); decay (out,) or (out, out), additive over samples as S is; out, where to put
    dw, which may be the statistic.
    Returns: dw, shaped as weight.
    Source: SoftHebb-2022, eq. of dw; SoftHebb-2023, section 3.

    >>> plasticity(torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 0.0]]))
    tensor([[0., 1.]])
    """
    dtype = torch.promote_types(statistic.dtype, weight.dtype)
    wide = widened(dtype)
    if wide != dtype:  # the decay of float16 is often above its largest number
        decay = None if decay is None else decay.to(wide)
        update = plasticity(statistic.to(wide), weight.to(wide), decay=decay).to(dtype)
        return update if out is None else out.copy_(update)
    if decay is None:
        decay = torch.linalg.vecdot(*_rows(statistic, weight))
    if decay.dim() == 2:
        return torch.sub(statistic, torch.tensordot(decay.to(dtype), weight, 1), out=out)
    return torch.addcmul(statistic, _per_neuron(decay, weight), weight, value=-1, out=out)


def norm_adaptive_step(weight: Tensor, update: Tensor, lr: float, power: float = 0.5, *, groups: int = 1) -> Tensor:
    """w_k + lr (| ||w_k|| - 1 | + 1e-10) ** power * dw_k / max(largest |dw|, tiny).

    A neuron learns fast while its radius is far from the fixed point 1, and stops when it reaches it.

    Args: weight and update (out, ...); groups: the largest entry is taken per group of the leading dim.
    Returns: the new weight.  Raises ValueError unless groups divides out.
    Source: SoftHebb-2023, section 3 (weight-norm-dependent rates).

    >>> norm_adaptive_step(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 5.0]]), lr=0.1)
    tensor([[2.0000, 0.1000]])
    """
    wide = widened(weight.dtype)
    start, change = weight.to(wide), update.to(wide)
    rate = norm_adaptive_rate(start, change, lr, power, groups=groups)
    return torch.addcmul(start, rate, change).to(weight.dtype)


def norm_adaptive_rate(weight: Tensor, update: Tensor, lr: float | Tensor, power: float, *, groups: int) -> Tensor:
    """The factor of each neuron in `norm_adaptive_step`, shaped (out, 1, ...) to multiply the update.

    Args: weight and update in float32 or float64: the rate itself is beyond what float16 holds.
    """
    if not 1 <= groups <= max(weight.shape[0], 1) or weight.shape[0] % groups:
        raise ValueError(f"groups must divide the {weight.shape[0]} neurons, got {groups}")
    weight_rows, update_rows = _rows(weight, update)
    if groups == 1 and not in_kernel():  # over all entries at once is faster, but for Inductor, which fuses rows
        least, most = torch.aminmax(update_rows)
        largest = torch.maximum(most, -least)
    else:
        largest = torch.maximum(update_rows.amax(1), -update_rows.amin(1)).view(groups, -1).amax(1)
        largest = largest.repeat_interleave(weight.shape[0] // groups)
    largest = largest.clamp_min(torch.finfo(update.dtype).tiny)
    radius = torch.linalg.vector_norm(weight_rows, dim=1)
    rate = lr * (radius - 1).abs_().add_(1e-10).pow_(power) / largest
    return _per_neuron(rate.clamp_max(torch.finfo(rate.dtype).max), weight)  # inf times a zero update would be NaN


def pair(size: int | Sequence[int]) -> tuple[int, int]:
    """A size as a pair: one number for both sides of an image, or one for each; raises ValueError for more."""
    if isinstance(size, int):
        return size, size
    if len(size) != 2:
        raise ValueError(f"a size must be one number or two, got {tuple(size)}")
    return size[0], size[1]


def _rows(*tensors: Tensor) -> list[Tensor]:
    """Each (out, ...) as (out, rest), all in one order; channels-last tensors need no copy."""
    if all(t.dim() == 4 and t.is_contiguous(memory_format=torch.channels_last) for t in tensors):
        tensors = tuple(t.permute(0, 2, 3, 1) for t in tensors)
    return [t.flatten(1) for t in tensors]


def _per_neuron(values: Tensor, weight: Tensor) -> Tensor:
    return values.view(-1, *[1] * (weight.dim() - 1))
