"""Ridge regression for tens of thousands of features, with a single Gram matrix in float32."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from torchhebb.bounds import above, between, each
from torchhebb.errors import UserError
from torchhebb.memory import free_bytes
from torchhebb.nn import LinearReadout
from torchhebb.progress import counted
from torchhebb.readouts.base import (
    ROWS,
    ChoosingPlan,
    FitContext,
    Fitted,
    best,
    is_constant,
    kept_and_held,
    percent_correct,
)
from torchhebb.readouts.factor import BLOCK, Factor, blocks
from torchhebb.readouts.standardized import Scaling

_COLUMNS = 2048  # features that the products of samples are summed over at once


@dataclass(frozen=True)
class WideRidge(ChoosingPlan):
    """W = argmin |Y - Z W|^2 / N + strength |W|^2 on standardised features Z (N, F), centred one-hot targets Y.

    The smaller of two systems is solved in float32: W = (Z^T Z / N + strength I)^-1 Z^T Y / N, or its dual
    W = Z^T (Z Z^T / N + strength I)^-1 Y / N if there are more features than samples.  Its matrix is summed once for
    all strengths; the strength with the best accuracy on held-out training images is then solved for on all of them.
    The dual standardises by all training images, without using their labels; the primal by those it is solved for.
    `Ridge` is exact in float64, for fewer features.

    Raises UserError for features too wide for the memory, settings out of range, or features that are not finite.
    Source: Hoerl and Kennard 1970; for the dual, Saunders, Gammerman and Vovk 1998.

    Example:
        >>> x, labels = torch.eye(2).repeat(20, 1), torch.arange(2).repeat(20)
        >>> WideRidge().fit(x, labels, 2).readout(torch.eye(2)).argmax(1).tolist()
        [0, 1]
    """

    strengths: tuple[float, ...] = field(default=(1e-3, 3e-3, 1e-2, 3e-2), metadata=each(above(0)))
    """Strengths of the regularisation to choose from."""
    holdout: float = field(default=0.1, metadata=between(0, 1))
    """Share of the training images on which the strength is chosen."""

    def check(self, samples: int, width: int, device: torch.device) -> None:
        size, free = min(samples, width), free_bytes(device)
        needed = 4 * (size * size + 4 * BLOCK * size + 3 * max(ROWS * width, _COLUMNS * samples))
        if needed > free:
            raise UserError(
                f"a ridge of {samples:,} samples of {width:,} features needs {needed / 1e9:.1f} GB of memory and "
                f"{free / 1e9:.1f} GB are free: pool or read fewer features"
            )

    def _fit(self, features: Tensor, labels: Tensor, classes: int, context: FitContext) -> Fitted:
        samples, width = features.shape
        kept, held = kept_and_held(labels, self.holdout, context.seed, features.device)
        targets = torch.nn.functional.one_hot(labels, classes).float()
        kind = _OfSamples if samples < width else _OfFeatures
        system = kind(features, targets, kept, held, context)
        strengths = counted(
            sorted(self.strengths, reverse=True), f"{context.name}: solving", "strengths", context.progress
        )
        scores = [(s, percent_correct(system.held_logits(s), labels[held])) for s in strengths]
        strength, accuracy = best(scores)
        notes = {"strength": strength, "held_out_accuracy": accuracy}
        context.resume.write(kind="closed_form", task=context.name, **notes)
        return Fitted(system.solve(strength), notes)


class _System(ABC):
    """The lower triangle of the Gram matrix of the kept training images; a factor uses the upper one."""

    def __init__(self, features: Tensor, targets: Tensor, kept: Tensor, held: Tensor, context: FitContext) -> None:
        self.features, self.targets, self.kept, self.held = features, targets, kept, held
        self.label, self.progress = context.name, context.progress
        self.centre = features[:ROWS].float().mean(0)  # near the mean, so that sums of squares lose no digits
        self.take_kept()

    @abstractmethod
    def take_kept(self) -> None:
        """Sum the matrix, once for all strengths."""

    @abstractmethod
    def held_logits(self, strength: float) -> Tensor:
        """The logits of a ridge on the kept images for those held out."""

    @abstractmethod
    def solve(self, strength: float) -> LinearReadout:
        """The readout of raw features from all training images."""


class _OfFeatures(_System):
    """Z^T Z from sums over samples of x x^T, x y^T, x and y, with x minus `centre`; standardised afterwards."""

    def take_kept(self) -> None:
        width, device = len(self.centre), self.centre.device
        self.gram = torch.zeros(width, width, device=device)
        self.right = torch.zeros(width, self.targets.shape[1], device=device)
        self.total = torch.zeros(width, dtype=torch.float64, device=device)
        self.answers = torch.zeros(self.targets.shape[1], dtype=torch.float64, device=device)
        self.count = 0
        self._add(self.kept, f"{self.label}: sums")

    def held_logits(self, strength: float) -> Tensor:
        readout = self._readout(strength)
        return torch.cat([readout(self.features[index].float()) for index in self.held.split(ROWS)])

    def solve(self, strength: float) -> LinearReadout:
        self._add(self.held, f"{self.label}: sums of those held out")
        return self._readout(strength)

    def _add(self, chosen: Tensor, what: str) -> None:
        self.progress.start(what, len(chosen), "images")
        for index in chosen.split(ROWS):
            x, y = self.features[index].float().sub_(self.centre), self.targets[index]
            for rows in blocks(len(self.gram), BLOCK):
                self.gram[rows, : rows.stop].addmm_(x[:, rows].T, x[:, : rows.stop])
            self.right.addmm_(x.T, y)
            self.total += x.sum(0).double()
            self.answers += y.sum(0).double()
            self.count += len(x)
            self.progress.advance(len(x))
        self.progress.finish()

    def _readout(self, strength: float) -> LinearReadout:
        mean, prior = (self.total / self.count).float(), (self.answers / self.count).float()
        second = self.gram.diagonal() / self.count
        scale = _scale(second - mean.square(), second, self.centre)

        def entries(rows: slice) -> Tensor:
            below = slice(rows.start, None)
            panel = self.gram[below, rows] / self.count
            panel.addr_(mean[below], mean[rows], alpha=-1).mul_(scale[below].unsqueeze(1)).mul_(scale[rows])
            panel.diagonal().add_(strength)
            return panel

        right = (self.right / self.count - torch.outer(mean, prior)) * scale.unsqueeze(1)
        weight = _solve(self.gram, len(self.gram), entries, right, strength)
        return Scaling(mean.double() + self.centre.double(), scale).fold(weight.T, prior)


class _OfSamples(_System):
    """Z Z^T of the kept images, then those held out, standardised by the moments of both."""

    def take_kept(self) -> None:
        self.order = torch.cat([self.kept, self.held])
        self.scaling = self._moments()
        size, device = len(self.order), self.centre.device
        self.products = torch.zeros(size, size, device=device)
        self.to_kept = torch.zeros(size, device=device)  # the mean of a sample's products with the kept ones
        width = self.features.shape[1]
        self.progress.start(f"{self.label}: products", width, "features")
        for columns in blocks(width, _COLUMNS):
            z = self._columns(columns)
            for rows in blocks(size, BLOCK):
                self.products[rows, : rows.stop].addmm_(z[rows], z[: rows.stop].T)
            self.to_kept += z @ z[: len(self.kept)].mean(0)
            self.progress.advance(z.shape[1])
        self.progress.finish()

    def held_logits(self, strength: float) -> Tensor:
        size, nearness = len(self.kept), self.to_kept[: len(self.kept)]
        dual, prior = self._dual(size, nearness, strength)
        return self.products[size:, :size] @ dual - nearness @ dual + prior

    def solve(self, strength: float) -> LinearReadout:
        size = len(self.order)
        dual, prior = self._dual(size, torch.zeros_like(self.to_kept), strength)  # the mean of all is zero
        weight = torch.cat([self._columns(columns).T @ dual for columns in blocks(self.features.shape[1], _COLUMNS)])
        return Scaling(self.scaling.mean.double(), self.scaling.scale).fold(weight.T, prior)

    def _dual(self, size: int, nearness: Tensor, strength: float) -> tuple[Tensor, Tensor]:
        """One number per class for each of the first `size` samples, which are centred, and their mean target."""
        overall = nearness.mean()

        def entries(rows: slice) -> Tensor:
            panel = self.products[rows.start : size, rows] - nearness[rows]
            panel.sub_(nearness[rows.start :].unsqueeze(1) - overall).div_(size)
            panel.diagonal().add_(strength)
            return panel

        target = self.targets[self.order[:size]]
        prior = target.mean(0)
        return _solve(self.products, size, entries, (target - prior) / size, strength), prior

    def _moments(self) -> Scaling:
        """The scaling of every feature, from one pass over them."""
        total, square = torch.zeros_like(self.centre).double(), torch.zeros_like(self.centre).double()
        for rows in self.features.split(ROWS):
            x = rows.float() - self.centre
            total += x.sum(0).double()
            square += x.square_().sum(0).double()
        offset = total / len(self.features)
        second = square / len(self.features)
        scale = _scale((second - offset.square()).float(), second.float(), self.centre)
        return Scaling((offset + self.centre.double()).float(), scale)

    def _columns(self, columns: slice) -> Tensor:
        """Standardised features (N, c) of all samples in order."""
        return self.scaling(self.features[:, columns].float()[self.order], columns)


def _scale(variance: Tensor, second: Tensor, centre: Tensor) -> Tensor:
    """1 / standard deviation, zero for a feature that is constant to the rounding of its own sums.

    Args: second, the mean square of the features less `centre`.  Raises UserError for features that are not finite.
    """
    if not variance.isfinite().all():
        raise UserError("features must be finite, got infinite or missing numbers: did the network diverge?")
    constant = (variance <= 1e-6 * second) | is_constant(variance.clamp_min(0).sqrt(), centre)
    return torch.where(constant, 0.0, torch.where(constant, 1.0, variance).rsqrt())


def _solve(room: Tensor, size: int, entries: Callable[[slice], Tensor], right: Tensor, strength: float) -> Tensor:
    try:
        return Factor(room, size, entries).solve(right)
    except ValueError as error:
        raise UserError(f"the ridge of strength {strength} is {error} in float32: give larger strengths") from None
