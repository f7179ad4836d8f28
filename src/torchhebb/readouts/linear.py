"""The base of regularised linear readouts: projection, choice of the strength, and the final solution."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from torchhebb.bounds import SIZE, above, between, each
from torchhebb.errors import UserError
from torchhebb.memory import free_bytes
from torchhebb.nn import LinearReadout
from torchhebb.progress import counted
from torchhebb.readouts.base import ChoosingPlan, FitContext, Fitted, best, kept_and_held
from torchhebb.readouts.projection import Projection
from torchhebb.readouts.standardized import Standardized

_SMALLEST = 256


@dataclass(frozen=True)
class LinearPlan(ChoosingPlan):
    """A regularised linear readout, whose strength is chosen on held-out training images and then fitted to all."""

    strengths: tuple[float, ...] = field(default=(1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3), metadata=each(above(0)))
    """Strengths of the regularisation to choose from."""
    holdout: float = field(default=0.1, metadata=between(0, 1))
    """Share of the training images on which the strength is chosen."""
    project: int | None = field(default=None, metadata=SIZE)
    """Number of dimensions to which a seeded random matrix projects the features first; None keeps all features."""

    def for_width(self, width: int) -> Self:
        """This plan, without its projection if the features are not wider."""
        narrow = self.project is not None and self.project >= width
        return replace(self, project=None) if narrow else self

    def check(self, samples: int, width: int, device: torch.device) -> None:
        needed, free = self._needed(samples, width, self.project), free_bytes(device)
        if needed > free:
            name = type(self).__name__.lower()
            raise UserError(
                f"{name} on {samples:,} x {self.project or width:,} features needs {needed / 1e9:.1f} GB of memory and "
                f"{free / 1e9:.1f} GB are free: project the features first, for example with "
                f"--{name}.project {self._fitting(samples, width, free)}"
            )

    def _fit(self, features: Tensor, labels: Tensor, classes: int, context: FitContext) -> Fitted:
        if self.project is not None:
            projection = Projection(features, self.project, context.seed)
            inner = replace(self, project=None)._fit(projection(), labels, classes, context)
            assert isinstance(inner.readout, LinearReadout)
            return Fitted(projection.fold(inner.readout), inner.notes)
        kept, held = kept_and_held(labels, self.holdout, context.seed, features.device)
        strengths = counted(
            sorted(self.strengths, reverse=True), f"{context.name}: solving", "strengths", context.progress
        )
        strength, accuracy = best(self._scores(Standardized(features, kept), held, labels, classes, strengths))
        fitted = self._solve(Standardized(features), labels, classes, strength)
        return Fitted(fitted.readout, {"strength": strength, "held_out_accuracy": accuracy, **fitted.notes})

    @abstractmethod
    def _scores(
        self, z: Standardized, held: Tensor, labels: Tensor, classes: int, strengths: Iterable[float]
    ) -> Iterator[tuple[float, float]]:
        """(strength, accuracy on the samples `held`) of solutions on z, in the order of the strengths."""

    @abstractmethod
    def _solve(self, z: Standardized, labels: Tensor, classes: int, strength: float) -> Fitted:
        """The solution for one strength on z."""

    @abstractmethod
    def _bytes(self, samples: int, width: int) -> int:
        """The largest memory in bytes while choosing and solving."""

    def _needed(self, samples: int, width: int, project: int | None) -> int:
        return self._bytes(samples, width) if project is None else self._bytes(samples, project) + 4 * samples * project

    def _fitting(self, samples: int, width: int, free: int) -> int:
        """The largest power of two to project to that leaves half of the free memory."""
        size = 1 << (width - 1).bit_length() - 1
        while size > _SMALLEST and self._needed(samples, width, size) > free / 2:
            size //= 2
        return size
