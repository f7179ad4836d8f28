"""The loop and what surrounds it."""

from torchhebb.train.folder import Options, new_run_folder, read_config
from torchhebb.train.recipe import Learning, Readout, Recipe, Supervised
from torchhebb.train.result import Curve, Measure, Result, read_result
from torchhebb.train.run import run_recipe

__all__ = [
    "Curve",
    "Learning",
    "Measure",
    "Options",
    "Readout",
    "Recipe",
    "Result",
    "Supervised",
    "new_run_folder",
    "read_config",
    "read_result",
    "run_recipe",
]
