"""The rates of all blocks, swept by a common factor."""

from dataclasses import dataclass, replace
from typing import ClassVar

from torchhebb.evaluate.sweep import Sweep
from torchhebb.train import Recipe


@dataclass(frozen=True)
class LearningRate(Sweep):
    """The layers trained again with the rates of all blocks multiplied by one factor after another.

    Curves, measures and errors are those of `Sweep`.
    """

    question: ClassVar[str] = "learning_rate"
    setting: ClassVar[str] = "factor of the rates"

    values: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0)
    """The factors, in rising order."""

    def at(self, recipe: Recipe, value: float) -> Recipe:
        architecture = recipe.architecture.with_blocks(
            lambda block: block.with_settings(lr=value * block.setting("lr"))
        )
        return replace(recipe, architecture=architecture)
