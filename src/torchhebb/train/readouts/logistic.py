"""Multinomial logistic regression by full-batch L-BFGS."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from torchhebb.nn import LinearReadout
from torchhebb.train.readouts.base import (
    Fitted,
    ReadoutPlan,
    best,
    check_memory,
    check_positive,
    halved,
    kept_and_held,
    percent_correct,
)
from torchhebb.train.readouts.projection import Projection
from torchhebb.train.readouts.standardized import Standardized


@dataclass(frozen=True)
class Logistic(ReadoutPlan):
    """argmin over W, b of mean cross-entropy(W z + b) + strength / 2 |W|^2 on standardised features z.

    The strength that classifies the held-out training images best is solved for again on all of them; each solution
    starts from the one before it, the strongest first.  Features in float32, parameters and loss in float64.

    Raises UserError for features too wide for the memory, or settings out of range.

    >>> x, labels = torch.eye(2).repeat(20, 1), torch.arange(2).repeat(20)
    >>> Logistic().fit(x, labels, 2).readout(torch.eye(2)).argmax(1).tolist()
    [0, 1]
    """

    strengths: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    """Strengths to choose from."""
    holdout: float = 0.1
    """Share of the training images that chooses the strength."""
    iterations: int = 200
    """The most L-BFGS steps for one strength."""
    project: int | None = None
    """Project the features to this many dimensions by a seeded random matrix first; None keeps them all."""

    def check(self, samples: int, width: int, device: torch.device) -> None:
        check_positive("strengths", self.strengths)
        check_positive("iterations", [self.iterations])
        needed = _bytes(samples, self.project or width) + (4 * samples * self.project if self.project else 0)
        fitting = (size for size in halved(width) if _bytes(samples, size) + 4 * samples * size < needed / 4)
        check_memory("logistic", needed, samples, self.project or width, device, fitting)

    def fit(self, features: Tensor, labels: Tensor, classes: int, *, seed: int = 0) -> Fitted:
        features = features.flatten(1)
        self.check(len(features), features.shape[1], features.device)
        if self.project is not None:
            projection = Projection(features, self.project, seed)
            inner = replace(self, project=None).fit(projection(), labels, classes, seed=seed)
            assert isinstance(inner.readout, LinearReadout)
            return Fitted(projection.fold(inner.readout), inner.notes)
        labels = labels.to(features.device)
        kept, held = kept_and_held(labels, self.holdout, seed, features.device)
        strength, accuracy = best(self._scores(Standardized(features, kept), held, labels, classes))
        z = Standardized(features)
        solution = _Solution(z.features.shape[1], classes, features.device)
        slope = solution.minimize(_matrix(z), labels, strength, self.iterations)
        readout = z.fold(solution.weight.detach(), solution.bias.detach())
        return Fitted(readout, {"strength": strength, "held_out_accuracy": accuracy, "largest_gradient": slope})

    def _scores(self, z: Standardized, held: Tensor, labels: Tensor, classes: int) -> Iterator[tuple[float, float]]:
        """(strength, held-out accuracy), the strongest first."""
        x = _matrix(z)
        solution = _Solution(x.shape[1], classes, x.device)
        for strength in sorted(self.strengths, reverse=True):
            solution.minimize(x, labels[z.index], strength, self.iterations)
            with torch.no_grad():
                logits = torch.cat([solution(part.float()) for part in z.rows(held)])
            yield strength, percent_correct(logits, labels[held])


class _Solution:
    """The parameters, which one minimisation hands to the next."""

    def __init__(self, width: int, classes: int, device: torch.device) -> None:
        self.weight = torch.zeros(classes, width, dtype=torch.float64, device=device, requires_grad=True)
        self.bias = torch.zeros(classes, dtype=torch.float64, device=device, requires_grad=True)

    def __call__(self, x: Tensor) -> Tensor:
        """Logits; the one large product in float32."""
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
    """All standardised features in float32: what every one of the many passes reads."""
    x = torch.empty(len(z), z.features.shape[1], device=z.features.device)
    done = 0
    for part in z.rows():
        x[done : done + len(part)] = part
        done += len(part)
    return x


def _bytes(samples: int, width: int) -> int:
    """The standardised features in float32, with one block of them in float64."""
    return 4 * samples * width + 16 * 1000 * width
