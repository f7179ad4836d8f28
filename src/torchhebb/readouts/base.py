"""The interface of readouts, with the checks of their inputs and the split for choosing settings."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from torchhebb.bounds import Checked
from torchhebb.data.images import stratified_split
from torchhebb.errors import UserError
from torchhebb.memory import adaptive_chunks
from torchhebb.progress import SILENT, Progress

_ROUNDING = 1e-6  # relative, of features in float32, with a margin
ROWS = 1000  # features are converted this many samples at a time


@dataclass(frozen=True)
class Fitted:
    """A readout (features -> logits), and notes such as the setting that was chosen on held-out training images.

    Example:
        >>> Fitted(nn.Linear(4, 2), {"strength": 0.1}).notes
        {'strength': 0.1}
    """

    readout: nn.Module
    notes: dict[str, float] = field(default_factory=dict)


class Resume(Protocol):
    """Keeps the state of a fit of many steps, and its log; a run's checkpoint is one."""

    @property
    def due(self) -> bool:
        """Whether it is time to save."""

    def restore(self, task: str) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """Position and tensors of an interrupted task; None if there is none."""

    def save(self, task: str, position: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Keep the position and the tensors of a task."""

    def write(self, **metrics: Any) -> None:
        """Log numbers."""


class Fresh:
    """A `Resume` that keeps nothing."""

    due = False

    def restore(self, task: str) -> None:
        return None

    def save(self, task: str, position: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        pass

    def write(self, **metrics: Any) -> None:
        pass


FRESH = Fresh()


@dataclass(frozen=True)
class FitContext:
    """One fit: its seed, its name in the log and the progress, and where it keeps its state.

    Example:
        >>> FitContext(seed=1).name
        'readout'
    """

    seed: int = 0
    name: str = "readout"
    resume: Resume = FRESH
    progress: Progress = SILENT


class ReadoutPlan(Checked, ABC):
    """A readout as a value: deriving classes are frozen dataclasses of its settings, and fit it to features.

    A deriving class implements `check`, and `_fit` on features and labels that `fit` has checked.

    >>> from torchhebb.readouts import Ridge
    >>> x, labels = torch.rand(20, 4), torch.arange(20) % 2
    >>> Ridge().fit(x, labels, classes=2).readout(x).shape
    torch.Size([20, 2])
    """

    flattens: ClassVar[bool] = True
    """Whether `_fit` takes flattened features (N, F); otherwise they keep their shape (N, neurons, positions...)."""

    @abstractmethod
    def check(self, samples: int, width: int, device: torch.device) -> None:
        """Raise UserError for settings out of range, or if (samples, width) features need more memory than is free."""

    def check_samples(self, labels: Tensor, shape: Sequence[int]) -> None:
        """Raise UserError if it cannot be fitted to samples of these labels (N,), each with features of this shape."""

    @torch.no_grad()
    def fit(
        self,
        features: Tensor,
        labels: Tensor,
        classes: int,
        *,
        seed: int = 0,
        task: str = "readout",
        resume: Resume = FRESH,
        progress: Progress = SILENT,
    ) -> Fitted:
        """Fit to features (N, ...) of any float dtype and labels (N,).

        Settings that are not fixed are chosen on a part of these samples.  The outcome depends only on the arguments.
        Args: task, the name in the log and the progress; resume, where a plan of many steps keeps its state.
        Raises UserError for features that are not finite, or need more memory than is free, and labels that do not fit.
        """
        check_labels(features, labels, classes)
        features = features.flatten(1) if self.flattens else features
        self.check(len(features), prod(features.shape[1:]), features.device)
        checked, targets = checked_inputs(features, labels)
        return self._fit(checked, targets, classes, FitContext(seed, task, resume, progress))

    @abstractmethod
    def _fit(self, features: Tensor, labels: Tensor, classes: int, context: FitContext) -> Fitted:
        """Fit to features that are finite, and labels that are int64 on their device."""


def check_labels(features: Tensor, labels: Tensor, classes: int) -> None:
    """Raise UserError unless there are features (N, ...) of one sample at least, and for each a label below classes."""
    if features.dim() < 2 or features[:1].numel() == 0:
        raise UserError(f"features must be (N, ...) of one sample at least, got {tuple(features.shape)}")
    if labels.shape != features.shape[:1] or labels.is_floating_point() or labels.is_complex():
        kind = str(labels.dtype).removeprefix("torch.")
        raise UserError(
            f"labels must be ({len(features)},) integers, one a sample, got {tuple(labels.shape)} of {kind}"
        )
    if not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise UserError(f"labels must be from 0 to below {classes}, got {int(labels.min())} to {int(labels.max())}")


class ChoosingPlan(ReadoutPlan):
    """A plan that chooses one of its settings on a part of the training samples."""

    holdout: float
    """Share of the training samples that is held out; deriving classes declare it with its bounds."""

    def check_samples(self, labels: Tensor, shape: Sequence[int]) -> None:
        kept_and_held(labels, self.holdout, 0, labels.device)


def kept_and_held(labels: Tensor, part: float, seed: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Stratified indices to fit on and to choose on; of few samples one is held out at least.

    Raises UserError where that leaves a class without a sample.
    """
    classes = len(labels.unique())
    if len(labels) <= classes:
        raise UserError(f"a readout that chooses by held-out images needs more than {classes}, one a class to fit on")
    held_out = min(max(1, round(part * len(labels))), len(labels) - classes)
    kept, held = stratified_split(labels.cpu(), held_out, seed)
    return kept.to(device), held.to(device)


def best(scores: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """The (setting, held-out accuracy) with the highest accuracy; ties go to the first.

    >>> best([(100.0, 71.0), (10.0, 80.0), (1.0, 80.0)])
    (10.0, 80.0)
    """
    return max(scores, key=lambda score: score[1])


def checked_inputs(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The features, and the labels as int64 on their device.  Raises UserError for features that are not finite."""
    for part in features.split(ROWS):
        if part.numel() and not all(extreme.isfinite() for extreme in part.aminmax()):  # aminmax propagates NaN
            raise UserError("features must be finite, got infinite or missing numbers: did the network diverge?")
    return features, labels.to(features.device, torch.long)


def is_constant(std: Tensor, mean: Tensor) -> Tensor:
    """Which features are constant: their standard deviation is within rounding of their magnitude."""
    return std <= _ROUNDING * (mean.square() + std.square()).sqrt()


def percent_correct(logits: Tensor, labels: Tensor) -> float:
    """The fraction of correct answers in %.

    >>> percent_correct(torch.tensor([[0.2, 0.8], [0.9, 0.1]]), torch.tensor([1, 1]))
    50.0
    """
    return 100.0 * (logits.argmax(1) == labels).double().mean().item()


@torch.no_grad()
def predict_logits(readout: torch.nn.Module, features: Tensor, *, batch_size: int = 1000) -> Tensor:
    """Logits (N, classes) in float32, computed in batches, which become smaller if memory runs out.

    >>> predict_logits(nn.Linear(4, 2), torch.rand(5, 4)).shape
    torch.Size([5, 2])
    """
    parts: list[Tensor] = []
    adaptive_chunks(
        lambda begin, end: parts.append(readout(features[begin:end].float())), len(features), batch_size, what="logits"
    )
    return torch.cat(parts)


def readout_accuracy(readout: nn.Module, features: Tensor, labels: Tensor) -> float:
    """The accuracy of a readout in % on features (N, ...) with labels (N,)."""
    logits = predict_logits(readout, features)
    return percent_correct(logits, labels.to(logits.device))
