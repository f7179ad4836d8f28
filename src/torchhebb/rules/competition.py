"""Rules with a competition: soft and hard winner-take-all, ranked, gain-shape, instar."""

from dataclasses import dataclass, field

from torch import Tensor

from torchhebb.bounds import INVERSE_TEMPERATURE, RATE, at_least
from torchhebb.errors import UserError
from torchhebb.functional import hard_wta, ranked_wta, signed_wta, soft_wta, triangle
from torchhebb.rules.base import Rule, biased, sum_but_neurons


@dataclass(frozen=True)
class SoftHebb(Rule):
    """Soft winner-take-all with Oja-like decay and, by default, anti-Hebbian losers.

    y = soft_wta(u + bias), decay_k = sum of y_k u_k.

    With `rectify`, relu(u - mean over neurons) replaces u in the competition, in the decay and as the layer's output.

    Source: SoftHebb-2022 (anti_hebbian=False); SoftHebb-2023, section 3 (True; rectify at CIFAR depth 2).

    Example:
        >>> import torch
        >>> y, decay = SoftHebb(inverse_temperature=2.0)(torch.tensor([[1.0, 0.0]]))
        >>> y.round(decimals=2), decay
        (tensor([[ 0.8800, -0.1200]]), None)
    """

    inverse_temperature: float = field(default=1.0, metadata=INVERSE_TEMPERATURE)
    """Inverse temperature of the softmax over the neurons."""
    anti_hebbian: bool = True
    """Whether the losers unlearn the input that the winner learns."""
    rectify: bool = False
    """Compete on relu(u - mean over the neurons), and use it as the output."""

    def __call__(self, u: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        if self.rectify:
            u = triangle(u)
        y = soft_wta(u, self.inverse_temperature, bias=bias, anti_hebbian=self.anti_hebbian)
        return y, sum_but_neurons(y * u) if self.rectify else None


@dataclass(frozen=True)
class HardHebb(Rule):
    """Hard winner-take-all: only the winner learns.  y = hard_wta(u + bias), decay_k = sum of y_k u_k.

    Source: the baseline of SoftHebb-2022 and SoftHebb-2023; Grossberg 1976.

    Example:
        >>> import torch
        >>> HardHebb()(torch.tensor([[1.0, 3.0, 2.0]]))
        (tensor([[0., 1., 0.]]), None)
    """

    @property
    def label(self) -> str:
        return "hard WTA"

    def __call__(self, u: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        return hard_wta(biased(u, bias)), None


@dataclass(frozen=True)
class RankedHebb(Rule):
    """Krotov and Hopfield: the winner learns, the neuron at `rank` unlearns by delta; decay_k = sum of y_k u_k.

    Source: Krotov and Hopfield 2019, eq. 3 and 9 (with the L2 norm).

    Example:
        >>> import torch
        >>> RankedHebb(rank=2, delta=0.4)(torch.tensor([[1.0, 3.0, 2.0]]))[0]
        tensor([[ 0.0000,  1.0000, -0.4000]])
    """

    rank: int = field(default=2, metadata=at_least(2))
    """The neuron that unlearns, counted from 1, the winner."""
    delta: float = field(default=0.4, metadata=RATE)
    """Strength of unlearning."""

    @property
    def label(self) -> str:
        return "ranked WTA"

    def check_neurons(self, count: int) -> None:
        if self.rank > count:
            raise UserError(f"rank must be at most the number of neurons ({count}), got {self.rank}")

    def __call__(self, u: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        return ranked_wta(biased(u, bias), rank=self.rank, delta=self.delta), None


@dataclass(frozen=True)
class GainShape(Rule):
    """Gain-shape vector quantisation: the neuron of the largest |u| learns by Oja's rule, whatever the sign of its u.

    y = signed_wta(u), with a bias by |u| + b; decay_k = sum of y_k u_k = sum of u_k^2 over the samples that k wins.  A
    neuron becomes the first principal component of the samples that it wins: an axis, not a direction, so a patch and
    its negative are one.

    Source: the dictionary of OMP-1, Coates and Ng 2011; Gersho and Gray 1992, gain-shape quantisers; Oja 1982.

    Example:
        >>> import torch
        >>> GainShape()(torch.tensor([[1.0, -3.0, 2.0]]))
        (tensor([[ 0., -3.,  0.]]), None)
    """

    @property
    def label(self) -> str:
        return "gain-shape"

    def __call__(self, u: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        return signed_wta(u, bias=bias), None


@dataclass(frozen=True)
class Instar(Rule):
    """Hard winner-take-all that moves the winner to its input: dw_k = sum of y_k (x - w_k), so decay_k = sum of y_k.

    Source: Grossberg 1976; on-line k-means.

    Example:
        >>> import torch
        >>> y, decay = Instar()(torch.tensor([[1.0, 3.0], [2.0, 0.0]]))
        >>> y, decay  # the decay of a neuron is the sum of its activities
        (tensor([[0., 1.],
                [1., 0.]]), tensor([1., 1.]))
    """

    def __call__(self, u: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        y = hard_wta(biased(u, bias))
        return y, sum_but_neurons(y)
