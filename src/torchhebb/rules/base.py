"""The interface of a learning rule, and functions that rules share."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from torchhebb.bounds import Checked
from torchhebb.functional.form import widened


class Rule(Checked, ABC):
    """A learning rule of a plastic layer: dw = S - D w with S = sum of y x^T, D a decay for every neuron or a matrix.

    A rule is one method without state; a `StatefulRule` has a state that changes from batch to batch.

    >>> import torch
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Plain(Rule):
    ...     def __call__(self, u, bias=None):
    ...         return u, None  # y = u, and a decay of <S, w>: Oja's rule
    >>> Plain()(torch.tensor([[1.0, -2.0]]))
    (tensor([[ 1., -2.]]), None)
    """

    rectify: bool = False
    couples_neurons: ClassVar[bool] = False
    """Whether neurons depend on each other beyond the competition, by a matrix decay or a state."""

    @property
    def label(self) -> str:
        """The name of the rule in figures and tables."""
        return type(self).__name__

    def check_neurons(self, count: int) -> None:
        """Raise UserError if this number of neurons in a group cannot learn by the rule."""

    @abstractmethod
    def __call__(self, u: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """From u (B, K, ...) and bias (K,) to y, shaped as u, and decay, (K,) or (K, K); None stands for <S, w>."""


class StatefulRule(Rule):
    """A rule with a state: a tensor that the layer owns, updates and saves.

    >>> from torchhebb.rules import BCM, StatefulRule
    >>> isinstance(BCM(), StatefulRule)
    True
    """

    couples_neurons: ClassVar[bool] = True

    @abstractmethod
    def initial_state(self, neurons: int) -> Tensor:
        """The state before the first batch."""

    @abstractmethod
    def next_state(self, state: Tensor, u: Tensor) -> Tensor:
        """The state after a batch u (B, K, ...), linear in means over it: that of all ranks is the mean of theirs."""

    @abstractmethod
    def __call__(
        self, u: Tensor, bias: Tensor | None = None, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """As `Rule`, given the state after this batch; None means the state from this batch alone."""


def biased(u: Tensor, bias: Tensor | None) -> Tensor:
    """u + bias, one a neuron."""
    return u if bias is None else u + bias.view(1, -1, *[1] * (u.dim() - 2))


def sum_but_neurons(values: Tensor) -> Tensor:
    """The sum over samples and positions (K,), in float32 at least."""
    wide = widened(values.dtype)
    return values.flatten(2).sum((0, 2), dtype=wide) if values.dim() > 2 else values.sum(0, dtype=wide)


def samples(values: Tensor) -> Tensor:
    """(B, K, ...) as (samples and positions, K), in float32 at least."""
    return values.movedim(1, -1).flatten(0, -2).to(widened(values.dtype))
