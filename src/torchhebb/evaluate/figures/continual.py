"""Accuracy matrices as heat maps side by side, on one scale of colours, with their numbers."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

METHODS: dict[str, str] = {
    "own": "without feedback",
    "random": "random weights",
    "joint_own": "without feedback, joint",
    "backpropagation": "backpropagation",
    "ewc": "elastic weights",
    "replay": "replay",
    "joint": "backpropagation, joint",
}
"""The words of figures."""

CAPTIONS = {
    "task_aware": "Accuracy in % among the classes of the task, by a readout fitted to the features of that stage.",
    "task_free": "Accuracy in % among all classes seen, by one readout fitted to the features of that stage.",
    "task_aware_kept": "Accuracy in % among the classes of the task, by the readout that was learned with it.",
    "task_free_kept": "Accuracy in % among all classes seen, by the readouts that were learned with the tasks.",
}

_COLUMNS = 4


def heat_maps(matrices: Mapping[str, Tensor]) -> Any:
    """A matplotlib figure with a panel a matrix (stages, tasks) in %; what was not measured stays blank."""
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(matrices))
    rows = -(-len(matrices) // columns)
    figure = Figure(figsize=(2.9 * columns + 0.7, 2.9 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for panel, (name, matrix) in zip(panels, matrices.items(), strict=False):
        image = panel.imshow(matrix.numpy(), vmin=0, vmax=100, cmap="viridis")
        joint = len(matrix) == 1
        panel.set_title(name, fontsize=10)
        panel.set_xlabel("accuracy on task")
        panel.set_ylabel("" if joint else "after task")
        panel.set_xticks(range(matrix.shape[1]), [str(j + 1) for j in range(matrix.shape[1])])
        panel.set_yticks([] if joint else range(len(matrix)), [] if joint else [str(i + 1) for i in range(len(matrix))])
        for (i, j), value in _cells(matrix):
            colour = "black" if value > 60 else "white"
            panel.text(j, i, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=_size(matrix))
    for panel in list(figure.axes)[len(matrices) :]:
        panel.set_axis_off()
    figure.colorbar(image, ax=list(figure.axes), label="accuracy (%)", shrink=0.8)
    return figure


def _cells(matrix: Tensor) -> list[tuple[tuple[int, int], float]]:
    """The place and value of every number."""
    places = (~matrix.isnan()).nonzero().tolist()
    return [((i, j), matrix[i, j].item()) for i, j in places]


def _size(matrix: Tensor) -> float:
    """A size of type that fits a cell."""
    return max(3.0, min(9.0, 60.0 / matrix.shape[1]))
