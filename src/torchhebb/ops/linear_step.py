"""The learning step of a fully connected plastic layer, computed in memory that is reused."""

import torch
from torch import Tensor

from torchhebb.functional import form
from torchhebb.functional.plasticity import norm_adaptive_rate, plasticity
from torchhebb.ops.kernels import kernel
from torchhebb.ops.products import statistic


class LinearStep:
    """w <- w + rate (S - D w), the rates those of `norm_adaptive_step`: `plasticity` and that step in one.

    The same numbers as one after the other, without a gradient between them and without allocating one a step.  The
    rates divide by the largest entry of the update, so a mean over the samples would change nothing.

    Args: weight (out, in), in float32 or float64; steps are taken in place.

    >>> weight = torch.tensor([[2.0, 0.0]])
    >>> LinearStep(weight)(torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0]]), torch.tensor([2.0]), lr=0.1, power=0.5)
    >>> weight
    tensor([[1.9000, 0.0333]])
    """

    def __init__(self, weight: Tensor) -> None:
        self.weight, self.update = weight, torch.empty_like(weight)

    def __call__(self, x: Tensor, y: Tensor, decay: Tensor, *, lr: float | Tensor, power: float) -> None:
        """One step on inputs x (n, in), activities y (n, out) and their decay, (out,) or (out, out)."""
        update = statistic(x, y, out=self.update)
        if form.compiling:  # a kernel for a number would be compiled for each
            lr = torch.as_tensor(lr, dtype=self.weight.dtype)
        _ascend(self.weight, update, decay, lr, power)


@kernel
def _ascend(weight: Tensor, update: Tensor, decay: Tensor, lr: float | Tensor, power: float) -> None:
    """Form the update, the statistic `update` less what decays, in its place, and step along it."""
    update = plasticity(update, weight, decay=decay, out=update)
    weight.addcmul_(norm_adaptive_rate(weight, update, lr, power, groups=1), update)
