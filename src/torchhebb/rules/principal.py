"""Rules that find principal components: Oja, Sanger, the subspace rule, Foldiak.

| symbol | meaning |
|---|---|
| C | covariance of the inputs, E[x x^T] of centred inputs |
| y | activity, the pre-activation u; in `Foldiak` after subtraction of lateral inhibition |
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from torchhebb.bounds import at_least
from torchhebb.rules.base import Rule, StatefulRule, samples, sum_but_neurons


@dataclass(frozen=True)
class Oja(Rule):
    """No competition: y = u, decay_k = sum of u_k^2; each neuron finds the first principal component.

    Source: Oja 1982.

    Example:
        >>> Oja()(torch.tensor([[1.0, -2.0]]))
        (tensor([[ 1., -2.]]), None)
    """

    def __call__(self, u: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        return u, None


@dataclass(frozen=True)
class Sanger(Rule):
    """Generalised Hebbian algorithm, also called HPCA: dw_k = sum of y_k (x - sum over l <= k of y_l w_l), y = u.

    So D = lower triangle of sum of y y^T.  Neuron k sees the input minus what the neurons before it explain: the
    weights become the principal components of C, the first neuron's the first, each of radius 1.

    Source: Sanger 1989, eq. 8; as HPCA in Lagani et al. 2021.

    Example:
        >>> Sanger()(torch.tensor([[1.0, 2.0]]))[1]
        tensor([[1., 0.],
                [2., 4.]])
    """

    couples_neurons: ClassVar[bool] = True

    def __call__(self, u: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        y = samples(u)
        return u, (y.mT @ y).tril()


@dataclass(frozen=True)
class OjaSubspace(Rule):
    """Oja's rule for a subspace: dw_k = sum of y_k (x - sum over all l of y_l w_l), so D = sum of y y^T, y = u.

    The rows of W become orthonormal and span the first K principal components; the basis depends on the initial
    weights.

    Source: Oja 1989; Williams 1985.

    Example:
        >>> OjaSubspace()(torch.tensor([[1.0, 2.0]]))[1]
        tensor([[1., 2.],
                [2., 4.]])
    """

    couples_neurons: ClassVar[bool] = True

    def __call__(self, u: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        y = samples(u)
        return u, y.mT @ y


@dataclass(frozen=True)
class Foldiak(StatefulRule):
    """Oja's rule on activities that lateral connections decorrelate: y = u - L y, dw_k = sum of y_k (x - y_k w_k).

    L (K, K) is the state of the layer.  It starts at zero and is anti-Hebbian, dL_kl = lateral_lr E[y_k y_l] for
    k != l: neurons that are active together learn to inhibit each other until they are uncorrelated.  The weights then
    span the first K principal components.  The activities are a stable fixed point while I + L is positive definite:
    the weights must learn more slowly than L, and L slowly for the variance of the activities.

    Source: Foldiak 1989, eq. 1 to 3 with the sign of L turned.

    Example:
        >>> state = torch.tensor([[0.0, 0.5], [0.5, 0.0]])  # L: the two neurons inhibit each other
        >>> y, decay = Foldiak()(torch.tensor([[1.0, 1.0]]), state=state)
        >>> y
        tensor([[0.6667, 0.6667]])
    """

    lateral_lr: float = field(default=0.01, metadata=at_least(0, up_to=1))
    """The rate of the lateral connections."""

    def initial_state(self, neurons: int) -> Tensor:
        return torch.zeros(neurons, neurons)

    def next_state(self, state: Tensor, u: Tensor) -> Tensor:
        y = samples(self._decorrelated(u, state))
        correlation = y.mT @ y / max(len(y), 1)
        return state + self.lateral_lr * (correlation - correlation.diag().diag()).to(state.dtype)

    def __call__(
        self, u: Tensor, bias: Tensor | None = None, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        lateral = self.next_state(self.initial_state(u.shape[1]).to(u.device), u) if state is None else state
        y = self._decorrelated(u, lateral)
        return y, sum_but_neurons(y * y)

    def _decorrelated(self, u: Tensor, lateral: Tensor) -> Tensor:
        """The fixed point of y = u - L y: y = (I + L)^-1 u."""
        flat = samples(u)
        system = (torch.eye(len(lateral), device=u.device) + lateral).to(flat.dtype)
        y = torch.linalg.solve(system, flat.mT).mT
        return y.unflatten(0, (len(u), *u.shape[2:])).movedim(-1, 1).to(u.dtype)
