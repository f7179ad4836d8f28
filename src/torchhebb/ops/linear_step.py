"""The learning step of a fully connected plastic layer, computed in memory that is reused."""

import torch
from torch import Tensor

from torchhebb.functional import form
from torchhebb.functional.plasticity import norm_adaptive_rate, plasticity
from torchhebb.ops.kernels import kernel
from torchhebb.ops.products import statistic


class LinearStep:
    """w <- w + rate (S - D w) / n, the rates those of `norm_adaptive_step`: `plasticity` and that step in one.

    The same numbers as one after the other, without a gradient between them and without allocating one a step.

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
        share = -1 / max(len(x), 1)  # of one sample, with the sign of a gradient
        update = statistic(x, y, scale=share, out=self.update)
        if form.compiling:  # a kernel for a number would be compiled for each
            lr = torch.as_tensor(lr, dtype=self.weight.dtype)
        _descend(self.weight, update, share * decay, lr, power)


@kernel
def _descend(weight: Tensor, update: Tensor, decay: Tensor, lr: float | Tensor, power: float) -> None:
    """Form the gradient, the statistic `update` less what decays, in its place, and step along its negative."""
    gradient = plasticity(update, weight, decay=decay, out=update)
    weight.addcmul_(norm_adaptive_rate(weight, gradient, lr, power, groups=1), gradient, value=-1)
