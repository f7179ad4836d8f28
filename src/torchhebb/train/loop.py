"""The training loop: batches go to a stepper in order, with callbacks between steps.

A stepper learns from one batch after the other.  It may collect several batches and learn from them at once; `flush`
learns from the collected ones, so that the weights include all batches.  Steppers are eager, a captured CUDA graph, a
pipeline of blocks, an ensemble of networks, and the supervised step of the baselines.
"""

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from torchhebb.progress import Progress
from torchhebb.train.checkpoint import Checkpoint


class Stepper(Protocol):
    """The interface of a stepper, which learns from batches."""

    def step(self, number: int, x: Tensor, labels: Tensor | None) -> None:
        """Learn from batch `number` of the training, x (B, ...) with labels (B,), now or at a later step or flush."""

    def flush(self) -> None:
        """Learn from the batches that were collected."""

    def pack(self) -> dict[str, Tensor]:
        """The tensors that a checkpoint needs to resume, after a flush."""

    def unpack(self, tensors: dict[str, Tensor]) -> None:
        """Restore what `pack` returned."""


class EpochBatches(Protocol):
    """Batches in an order that depends only on the number of the epoch."""

    def __len__(self) -> int: ...

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor | None]]: ...


class OnStep(Protocol):
    """A callback between steps; the stepper is flushed before it is called."""

    def due(self, step: int) -> bool:
        """Whether it is to be called after this many steps."""

    def __call__(self, step: int) -> None: ...


@dataclass(frozen=True)
class At:
    """Calls `look(steps done)` after these numbers of steps, such as a range or a set."""

    steps: Container[int]
    look: Callable[[int], None]

    def due(self, step: int) -> bool:
        return step in self.steps

    def __call__(self, step: int) -> None:
        self.look(step)


@dataclass(frozen=True)
class Save:
    """Saves a checkpoint where its interval has passed.

    Not after the last of `steps`: a run resumed there takes no step, and lacks the local loss that is logged next.
    """

    checkpoint: Checkpoint
    task: str
    position: Callable[[int], dict[str, Any]]
    pack: Callable[[], dict[str, Tensor]]
    steps: int

    def due(self, step: int) -> bool:
        return 0 < step < self.steps and self.checkpoint.due

    def __call__(self, step: int) -> None:
        self.checkpoint.save(self.task, self.position(step), self.pack())


def run_loop(
    stepper: Stepper,
    batches: EpochBatches,
    epochs: int,
    *,
    start: int = 0,
    on_step: Sequence[OnStep] = (),
    progress: Progress,
    units: Callable[[int], int] = lambda step: 1,
) -> None:
    """Learn from every batch of all epochs from step `start` on, and run the callbacks after each step.

    Callbacks are also called before the first step of the training, but not when it is resumed.
    Args: units, how much progress the batch of a step is.
    """
    step = start
    if start == 0:
        _call(on_step, 0, stepper)
    for epoch in range(start // max(1, len(batches)), epochs):
        for x, labels in batches.epoch(epoch, start=step - epoch * len(batches)):
            stepper.step(step, x, labels)
            progress.advance(units(step))
            step += 1
            _call(on_step, step, stepper)
    stepper.flush()


def _call(on_step: Sequence[OnStep], step: int, stepper: Stepper) -> None:
    for callback in on_step:
        if callback.due(step):
            stepper.flush()
            callback(step)
