"""Ridge regression for tens of thousands of features: one Gram matrix in float32, one Cholesky factor a strength."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from torchhebb.errors import UserError
from torchhebb.nn import LinearReadout
from torchhebb.progress import SILENT, Progress
from torchhebb.train.memory import free_bytes
from torchhebb.train.readouts.base import (
    ROWS,
    Fitted,
    ReadoutPlan,
    best,
    check_positive,
    kept_and_held,
    percent_correct,
)

_STRIP = 4096  # columns of the Gram matrix that are summed at once: what lies above the diagonal is half wasted work


@dataclass(frozen=True)
class WideRidge(ReadoutPlan):
    """W = argmin |Y - Z W|^2 / N + strength |W|^2 on standardised features Z (N, F), centred one-hot targets Y.

    The sums over samples, X^T X and X^T Y, are taken once, in float32, of the training images that are kept and of
    those held out; they add up, so the strength that classifies the held-out ones best is solved for on all of them
    without reading a feature twice.  Standardising and centring are done to the sums.  `Ridge` is exact in float64, for
    fewer features.

    Raises UserError for features too wide for the memory, settings out of range, or features that are not finite.
    Source: Hoerl and Kennard 1970.

    >>> x, labels = torch.eye(2).repeat(20, 1), torch.arange(2).repeat(20)
    >>> WideRidge().fit(x, labels, 2).readout(torch.eye(2)).argmax(1).tolist()
    [0, 1]
    """

    strengths: tuple[float, ...] = (1e-3, 3e-3, 1e-2, 3e-2)
    """Strengths of the regularisation to choose from."""
    holdout: float = 0.1
    """Share of the training images that chooses the strength."""

    def check(self, samples: int, width: int, device: torch.device) -> None:
        check_positive("strengths", self.strengths)
        needed, free = 4 * width * (4 * width + 2 * ROWS), free_bytes(device)
        if needed > free:
            raise UserError(
                f"a ridge over {width:,} features needs {needed / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are "
                "free: pool or read fewer features"
            )

    @torch.no_grad()
    def fit(
        self,
        features: Tensor,
        labels: Tensor,
        classes: int,
        *,
        seed: int = 0,
        label: str = "ridge",
        progress: Progress = SILENT,
    ) -> Fitted:
        features, labels = features.flatten(1), labels.to(features.device)
        self.check(len(features), features.shape[1], features.device)
        kept, held = kept_and_held(labels, self.holdout, seed, features.device)
        progress.start(f"{label}: sums", len(features), "images")
        centre = features[:ROWS].float().mean(0)  # near the mean: sums of squares then lose no digits
        sums = Sums.empty(features.shape[1], classes, centre)
        for index in kept.split(ROWS):
            sums.add(features[index].float(), labels[index])
            progress.advance(len(index))
        scores = [(s, self._score(sums, s, features, held, labels)) for s in sorted(self.strengths, reverse=True)]
        strength, accuracy = best(scores)
        for index in held.split(ROWS):
            sums.add(features[index].float(), labels[index])
            progress.advance(len(index))
        progress.finish()
        return Fitted(sums.solve(strength), {"strength": strength, "held_out_accuracy": accuracy})

    @staticmethod
    def _score(sums: "Sums", strength: float, features: Tensor, held: Tensor, labels: Tensor) -> float:
        readout = sums.solve(strength)
        logits = torch.cat([readout(features[index].float()) for index in held.split(ROWS)])
        return percent_correct(logits, labels[held])


@dataclass
class Sums:
    """Sums over samples of x x^T (its lower triangle), x y^T, x and y, with x less `centre`."""

    gram: Tensor
    right: Tensor
    centre: Tensor
    total: Tensor
    targets: Tensor
    count: int = field(default=0)

    @classmethod
    def empty(cls, width: int, classes: int, centre: Tensor) -> "Sums":
        return cls(
            torch.zeros(width, width, device=centre.device),
            torch.zeros(width, classes, device=centre.device),
            centre,
            torch.zeros(width, dtype=torch.float64, device=centre.device),
            torch.zeros(classes, dtype=torch.float64, device=centre.device),
        )

    def add(self, x: Tensor, labels: Tensor) -> None:
        """Take in samples x (B, F), which is used up, and labels (B,)."""
        x = x.sub_(self.centre)
        target = torch.nn.functional.one_hot(labels, len(self.targets)).float()
        for rows in self._strips():
            self.gram[rows, : rows.stop].addmm_(x[:, rows].T, x[:, : rows.stop])
        self.right.addmm_(x.T, target)
        self.total += x.sum(0).double()
        self.targets += target.sum(0).double()
        self.count += len(x)

    def solve(self, strength: float) -> LinearReadout:
        """The readout on raw features.  Raises UserError for features that are not finite or a system not definite."""
        mean, prior = (self.total / self.count).float(), (self.targets / self.count).float()
        variance = self.gram.diagonal() / self.count - mean.square()
        if not variance.isfinite().all():
            raise UserError("features must be finite, got infinite or missing numbers: did the network diverge?")
        largest = variance.max()
        varies = variance > 1e-7 * largest  # a constant feature is no information
        scale = torch.where(varies, variance.clamp_min(1e-7 * largest).rsqrt(), torch.zeros_like(variance))
        system = self.gram.clone()
        for rows in self._strips():
            block = system[rows, : rows.stop]
            block.div_(self.count).addr_(mean[rows], mean[: rows.stop], alpha=-1)
            block.mul_(scale[rows].unsqueeze(1)).mul_(scale[: rows.stop])
        system.diagonal().add_(strength)
        info = torch.empty(0, dtype=torch.int32, device=system.device)
        factor, failed = torch.linalg.cholesky_ex(system, out=(system, info))
        if failed:
            raise UserError(f"the ridge of strength {strength} is not definite in float32: give larger strengths")
        right = (self.right / self.count - torch.outer(mean, prior)) * scale.unsqueeze(1)
        weight = torch.cholesky_solve(right, factor) * scale.unsqueeze(1)
        readout = LinearReadout(*weight.shape).to(weight.device)
        readout.weight.copy_(weight.T)
        readout.bias.copy_(prior.double() - weight.T.double() @ (mean.double() + self.centre.double()))
        return readout.eval()

    def _strips(self) -> Iterator[slice]:
        for start in range(0, len(self.gram), _STRIP):
            yield slice(start, min(start + _STRIP, len(self.gram)))
