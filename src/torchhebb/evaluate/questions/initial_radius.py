"""Held-out accuracy and radii against the initial radius of the neurons."""

from dataclasses import dataclass, replace
from typing import ClassVar

from torchhebb.evaluate.sweep import Sweep
from torchhebb.train import Recipe


@dataclass(frozen=True)
class InitialRadius(Sweep):
    """Held-out accuracy and radii against the initial radius of the neurons, the same for all layers.

    Weights are drawn as in the recipe, from the same random numbers, and scaled to the radius.  Curves, measures and
    errors are those of `Sweep`.
    Source: SoftHebb-2023, initial radius: no learning below 1, learning above 2.2 on MNIST.

    Example:
        >>> InitialRadius(values=(1.0, 25.0)).question
        'initial_radius'
    """

    question: ClassVar[str] = "initial_radius"
    setting: ClassVar[str] = "initial radius"

    values: tuple[float, ...] = (0.25, 0.5, 1.0, 1.5, 2.2, 3.0, 5.0, 10.0, 25.0)
    """Initial radii to compare, in increasing order."""

    def at(self, recipe: Recipe, value: float) -> Recipe:
        architecture = recipe.architecture.with_blocks(lambda block: block.with_settings(init_radius=value))
        return replace(recipe, architecture=architecture)
