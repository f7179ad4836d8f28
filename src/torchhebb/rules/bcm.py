"""The rule of Bienenstock, Cooper and Munro, with a sliding threshold between learning and unlearning."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from torchhebb.bounds import above
from torchhebb.rules.base import StatefulRule, samples


@dataclass(frozen=True)
class BCM(StatefulRule):
    """dw_k = sum of y_k (y_k - theta_k) x with y = relu(u) and theta_k a running mean of y_k^2.

    Activity below the threshold unlearns, above it learns.  The threshold grows faster than the activity, so no decay
    is needed.  For linearly independent inputs with probability p each, a fixed point is a response of 1 / p to one of
    them and 0 to all others.  The radius has no fixed point at 1: use an `lr_power` of 0.

    The running mean starts at the first batch.

    Source: Bienenstock, Cooper and Munro 1982, with the threshold E[y^2] of Intrator and Cooper 1992.

    Example:
        >>> BCM()(torch.tensor([[3.0, 1.0]]), state=torch.tensor([2.0, 2.0]))
        (tensor([[ 3., -1.]]), tensor([0., 0.]))
    """

    momentum: float = field(default=0.01, metadata=above(0, up_to=1))
    """The weight of a batch in the running mean of the squares."""

    def initial_state(self, neurons: int) -> Tensor:
        return torch.full((neurons,), -1.0)  # negative: no batch was seen

    def next_state(self, state: Tensor, u: Tensor) -> Tensor:
        squares = samples(u.relu()).square()
        now = (squares.sum(0) / max(len(squares), 1)).to(state.dtype)
        return torch.where(state < 0, now, state.lerp(now, self.momentum))

    def __call__(
        self, u: Tensor, bias: Tensor | None = None, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        y = u.relu()
        threshold = self.next_state(self.initial_state(u.shape[1]).to(u.device), u) if state is None else state
        return y * (y - threshold.view(-1, *[1] * (u.dim() - 2)).to(u.dtype)), torch.zeros_like(threshold)
