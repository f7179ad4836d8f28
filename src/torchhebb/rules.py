"""Learning rules: a competition and a decay, as small frozen objects.

A rule is one method: from pre-activations to the activity y that multiplies the input, and the decay.

What the decay does to the radius.  With decay <S_k, w_k>, which `None` stands for, an update changes it by

    d ||w_k||^2 / 2 = <S_k, w_k> (1 - ||w_k||^2),

so the radius 1 attracts a neuron while <S_k, w_k> = sum of y_k u_k is positive, and repels it while it is negative.
It is never negative in `Oja`, nor in `HardHebb` where winners have u > 0.  It is negative for a neuron whose activity
is positive where its u is negative, and for an anti-Hebbian loser with positive u: such a neuron turns, away from its
inputs or towards them, until the sign changes.  Inputs that vary turn it soon.  Where all inputs are one, nothing keeps
its radius bounded under `SoftHebb`: it grows without limit under `NormAdaptiveSGD`, whose step does not
become smaller as the update does.  `Instar` has decay sum of y_k >= 0 and moves a neuron towards its inputs, so it
stays within their convex hull for lr sum of y_k <= 1.

>>> import torch
>>> SoftHebb(anti_hebbian=False)(torch.zeros(1, 4))
(tensor([[0.2500, 0.2500, 0.2500, 0.2500]]), None)
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from torch import Tensor

from torchhebb.bounds import INVERSE_TEMPERATURE, RATE, Checked, at_least
from torchhebb.errors import UserError
from torchhebb.functional import hard_wta, ranked_wta, soft_wta, triangle
from torchhebb.functional.form import widened

__all__ = ["HardHebb", "Instar", "Oja", "RankedHebb", "Rule", "SoftHebb"]


class Rule(Checked, ABC):
    """What a plastic layer learns by: dw_k = S_k - decay_k w_k with S = sum of y x^T."""

    rectify: bool = False

    @property
    def label(self) -> str:
        """The rule in the words of figures and tables."""
        return type(self).__name__

    def check_neurons(self, count: int) -> None:
        """Raise UserError where so many neurons, those of one group, cannot learn by the rule."""

    @abstractmethod
    def __call__(self, u: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """From u (B, K, ...) and bias (K,) to y, shaped as u, and decay (K,); decay None stands for <S, w>."""


@dataclass(frozen=True)
class SoftHebb(Rule):
    """Soft winner-take-all with Oja-like decay, its losers anti-Hebbian unless switched off.

    y = soft_wta(u + bias), decay_k = sum of y_k u_k.

    With `rectify`, relu(u - mean over neurons) takes the place of u in the competition and in the decay, and is
    the layer's output.

    Source: SoftHebb-2022 (anti_hebbian=False); SoftHebb-2023, section 3 (True; rectify at CIFAR depth 2).
    """

    inverse_temperature: float = field(default=1.0, metadata=INVERSE_TEMPERATURE)
    """Inverse temperature of the softmax over the neurons."""
    anti_hebbian: bool = True
    """Whether the losers unlearn what the winner learns."""
    rectify: bool = False
    """Compete on relu(u - mean over the neurons), and put it out."""

    def __call__(self, u: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        if self.rectify:
            u = triangle(u)
        y = soft_wta(u, self.inverse_temperature, bias=bias, anti_hebbian=self.anti_hebbian)
        return y, _sum_but_neurons(y * u) if self.rectify else None


@dataclass(frozen=True)
class HardHebb(Rule):
    """Hard winner-take-all: only the winner learns.  y = hard_wta(u + bias), decay_k = sum of y_k u_k.

    Source: the baseline of SoftHebb-2022 and SoftHebb-2023; Grossberg 1976.
    """

    @property
    def label(self) -> str:
        return "hard WTA"

    def __call__(self, u: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        return hard_wta(_biased(u, bias)), None


@dataclass(frozen=True)
class RankedHebb(Rule):
    """Krotov and Hopfield: the winner learns, the neuron at `rank` unlearns by delta; decay_k = sum of y_k u_k.

    Source: Krotov and Hopfield 2019, eq. 3 and 9 (with the L2 norm).
    """

    rank: int = field(default=2, metadata=at_least(2))
    """The neuron that unlearns, counted from 1, the winner."""
    delta: float = field(default=0.4, metadata=RATE)
    """How much it unlearns."""

    @property
    def label(self) -> str:
        return "ranked WTA"

    def check_neurons(self, count: int) -> None:
        if self.rank > count:
            raise UserError(f"rank must be at most the number of neurons ({count}), got {self.rank}")

    def __call__(self, u: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        return ranked_wta(_biased(u, bias), rank=self.rank, delta=self.delta), None


@dataclass(frozen=True)
class Oja(Rule):
    """No competition: y = u, decay_k = sum of u_k^2; each neuron finds the first principal component.

    Source: Oja 1982.
    """

    def __call__(self, u: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        return u, None


@dataclass(frozen=True)
class Instar(Rule):
    """Hard winner-take-all that moves the winner to its input: dw_k = sum of y_k (x - w_k), so decay_k = sum of y_k.

    Source: Grossberg 1976; on-line k-means.
    """

    def __call__(self, u: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        y = hard_wta(_biased(u, bias))
        return y, _sum_but_neurons(y)


def _biased(u: Tensor, bias: Tensor | None) -> Tensor:
    return u if bias is None else u + bias.view(1, -1, *[1] * (u.dim() - 2))


def _sum_but_neurons(values: Tensor) -> Tensor:
    wide = widened(values.dtype)
    return values.flatten(2).sum((0, 2), dtype=wide) if values.dim() > 2 else values.sum(0, dtype=wide)
