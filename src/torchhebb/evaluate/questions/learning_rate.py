"""Held-out accuracy and radii against a common factor of the learning rates of all blocks."""

from dataclasses import dataclass, replace
from typing import ClassVar

from torchhebb.evaluate.sweep import Sweep
from torchhebb.train import Recipe


@dataclass(frozen=True)
class LearningRate(Sweep):
    """Held-out accuracy and radii against a common factor of the learning rates of all blocks.

    Curves, measures and errors are those of `Sweep`.

    Example:
        >>> LearningRate(values=(0.3, 1.0, 3.0)).question
        'learning_rate'
    """

    question: ClassVar[str] = "learning_rate"
    setting: ClassVar[str] = "factor of the rates"

    values: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0)
    """Factors to compare, in increasing order."""

    def at(self, recipe: Recipe, value: float) -> Recipe:
        architecture = recipe.architecture.with_blocks(
            lambda block: block.with_settings(lr=value * block.setting("lr"))
        )
        return replace(recipe, architecture=architecture)
