"""An experiment of `torchhebb reproduce`: a recipe, a question and its cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Experiment:
    """Evaluate a recipe by a question.  Costs are estimates in seconds on two CPU cores, to order and bound the work.

    A paper's items differ in (recipe, question, seeds); items of one recipe share its training, and one of more seeds
    goes on from one of fewer.
    """

    name: str
    recipe: str
    question: str
    """The name of an evaluator."""
    training_seconds: float
    seconds: float
    """Of the question alone, on a trained run."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the evaluator that differ from its own."""
    seeds: int | None = None
    """How many; by default the recipe's own number."""
    full: bool = False
    """Runs after all experiments for which this is False: the reduced table first, then the whole one."""
