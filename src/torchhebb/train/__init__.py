"""Training: the loop, steppers, checkpoints, logs, features and results."""

from torchhebb.readouts.adam import Readout
from torchhebb.train.device import own_device
from torchhebb.train.recipe import Learning, Recipe, Supervised
from torchhebb.train.result import Curve, Measure, Result, read_result

__all__ = [
    "Curve",
    "Learning",
    "Measure",
    "Readout",
    "Recipe",
    "Result",
    "Supervised",
    "own_device",
    "read_result",
]
