"""Multinomial logistic regression by full-batch L-BFGS."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from torchhebb.bounds import SIZE
from torchhebb.readouts.base import ROWS, Fitted, percent_correct
from torchhebb.readouts.linear import LinearPlan
from torchhebb.readouts.standardized import Standardized


@dataclass(frozen=True)
class Logistic(LinearPlan):
    """argmin over W, b of mean cross-entropy(W z + b) + strength / 2 |W|^2 on standardised features z.

    The strength with the best accuracy on held-out training images is fitted again to all of them.  Each solution
    starts from the previous one, beginning with the largest strength.  Features are float32, parameters and the loss
    float64.

    Raises UserError for features too wide for the memory, or settings out of range.

    Example:
        >>> x, labels = torch.eye(2).repeat(20, 1), torch.arange(2).repeat(20)
        >>> Logistic().fit(x, labels, 2).readout(torch.eye(2)).argmax(1).tolist()
        [0, 1]
    """

    strengths: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    """Strengths to choose from."""
    iterations: int = field(default=200, metadata=SIZE)
    """Largest number of L-BFGS steps for one strength."""

    def _scores(
        self, z: Standardized, held: Tensor, labels: Tensor, classes: int, strengths: Iterable[float]
    ) -> Iterator[tuple[float, float]]:
        x = _matrix(z)
        solution = _Solution(x.shape[1], classes, x.device)
        for strength in strengths:
            solution.minimize(x, labels[z.index], strength, self.iterations)
            logits = torch.cat([solution(part.float()) for part in z.rows(held)])
            yield strength, percent_correct(logits, labels[held])

    def _solve(self, z: Standardized, labels: Tensor, classes: int, strength: float) -> Fitted:
        solution = _Solution(z.features.shape[1], classes, z.features.device)
        slope = solution.minimize(_matrix(z), labels, strength, self.iterations)
        return Fitted(z.scaling.fold(solution.weight.detach(), solution.bias.detach()), {"largest_gradient": slope})

    def _bytes(self, samples: int, width: int) -> int:
        # The standardised features in float32, with two blocks of them in float64.
        return 4 * samples * width + 16 * ROWS * width


class _Solution:
    """The parameters, from which the next minimisation starts."""

    def __init__(self, width: int, classes: int, device: torch.device) -> None:
        self.weight = torch.zeros(classes, width, dtype=torch.float64, device=device, requires_grad=True)
        self.bias = torch.zeros(classes, dtype=torch.float64, device=device, requires_grad=True)

    def __call__(self, x: Tensor) -> Tensor:
        """Logits, with the large product in float32."""
        return F.linear(x, self.weight.float()).double() + self.bias

    @torch.enable_grad()
    def minimize(self, x: Tensor, labels: Tensor, strength: float, iterations: int) -> float:
        """L-BFGS until the gradient is small; returns the gradient's largest entry."""
        optimizer = torch.optim.LBFGS(
            [self.weight, self.bias],
            max_iter=iterations,
            max_eval=2 * iterations,
            tolerance_grad=1e-6,
            tolerance_change=1e-12,
            line_search_fn="strong_wolfe",
        )

        def loss() -> Tensor:
            optimizer.zero_grad()
            value = F.cross_entropy(self(x), labels) + strength / 2 * self.weight.square().sum()
            value.backward()
            return value

        optimizer.step(loss)
        loss()
        assert self.weight.grad is not None and self.bias.grad is not None
        return max(self.weight.grad.abs().max().item(), self.bias.grad.abs().max().item())


def _matrix(z: Standardized) -> Tensor:
    """All standardised features in float32, which every pass uses."""
    x = torch.empty(len(z), z.features.shape[1], device=z.features.device)
    done = 0
    for part in z.rows():
        x[done : done + len(part)] = part
        done += len(part)
    return x
