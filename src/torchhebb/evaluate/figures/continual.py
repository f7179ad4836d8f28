"""Figures of accuracy matrices as heat maps with one colour scale."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from torchhebb.evaluate.figures.matrices import Matrix, draw_matrices

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

METHODS: dict[str, str] = {
    "own": "without feedback",
    "random": "random weights",
    "joint_own": "without feedback, joint",
    "backpropagation": "backpropagation",
    "ewc": "elastic weights",
    "replay": "replay",
    "joint": "backpropagation, joint",
}
"""The names of the methods in figures."""

CAPTIONS = {
    "task_aware": "Accuracy in % among the classes of the task, by a readout fitted to the features of that stage.",
    "task_free": "Accuracy in % among all classes seen, by one readout fitted to the features of that stage.",
    "task_aware_kept": "Accuracy in % among the classes of the task, by the readout that was learned with it.",
    "task_free_kept": "Accuracy in % among all classes seen, by the readouts that were learned with the tasks.",
}


def heat_maps(matrices: Mapping[str, Tensor]) -> "Canvas":
    """One panel per matrix (stages, tasks) in %; a network that learned all tasks at once has a single row."""
    return draw_matrices([_panel(*item) for item in matrices.items()], scale=(0, 100), label="accuracy (%)")


def _panel(title: str, matrix: Tensor) -> Matrix:
    tasks = [str(number + 1) for number in range(matrix.shape[1])]
    joint = len(matrix) == 1
    rows = [] if joint else [str(number + 1) for number in range(len(matrix))]
    return Matrix(title, matrix, rows, tasks, "accuracy on task", "" if joint else "after task")
