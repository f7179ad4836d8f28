"""Held-out accuracy and radii against the batch size of the unsupervised phase."""

from dataclasses import dataclass, replace
from typing import ClassVar

from torchhebb.errors import UserError
from torchhebb.evaluate.sweep import Sweep
from torchhebb.train import Recipe


@dataclass(frozen=True)
class BatchSize(Sweep):
    """Held-out accuracy and radii against the batch size; learning rates stay, since updates are normalised.

    Curves, measures and errors are those of `Sweep`.
    Source: SoftHebb-2023, which learns in batches of 10 or 32.

    Example:
        >>> BatchSize(values=(10, 100)).question
        'batch_size'
    """

    question: ClassVar[str] = "batch_size"
    setting: ClassVar[str] = "batch size"

    values: tuple[float, ...] = (5, 10, 20, 50, 100, 200)
    """Batch sizes to compare, in increasing order."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if parts := [value for value in self.values if value != int(value)]:
            raise UserError(f"values must be whole numbers of images, got {parts[0]:g}")

    def at(self, recipe: Recipe, value: float) -> Recipe:
        return replace(recipe, learning=replace(recipe.learning, batch_size=int(value)))
