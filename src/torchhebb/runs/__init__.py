"""Runs: training into a run folder, opening a finished run, and its baselines."""

from torchhebb.runs.folder import new_run_folder, read_config
from torchhebb.runs.options import ComputeOptions, SourceOptions, TrainOptions, compute_options
from torchhebb.runs.run import Run, open_run
from torchhebb.runs.training import run_recipe

__all__ = [
    "ComputeOptions",
    "Run",
    "SourceOptions",
    "TrainOptions",
    "compute_options",
    "new_run_folder",
    "open_run",
    "read_config",
    "run_recipe",
]
