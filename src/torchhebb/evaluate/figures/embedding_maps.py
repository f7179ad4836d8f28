"""Figures of images as points in the plane, with one colour per class."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from torchhebb.evaluate.figures.text import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

SIDE, LEGEND = 1.9, 0.45  # inches
FEW = 10
"""The largest number of classes with their own colours and a legend; for more, colours repeat."""


def maps_figure(
    rows: Mapping[str, Mapping[str, tuple[np.ndarray, str]]], labels: Tensor, classes: Sequence[str]
) -> "Canvas":
    """One row per network and one column per stage: title -> points (N, 2) and the text below them."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure as Canvas
    from matplotlib.lines import Line2D

    columns = max(map(len, rows.values()))
    canvas = Canvas(figsize=(SIDE * columns + 0.3, (SIDE + 0.35) * len(rows) + LEGEND), layout="constrained")
    grid = canvas.subplots(len(rows), columns, squeeze=False)
    colours = colormaps["tab10" if len(classes) <= FEW else "tab20"].colors  # type: ignore[attr-defined]
    of_points = [colours[label % len(colours)] for label in labels.tolist()]
    for line, (name, stages) in zip(grid, rows.items(), strict=True):
        for axes in line:
            axes.set(xticks=[], yticks=[], frame_on=False)
        for axes, (title, (points, words)) in zip(line, stages.items(), strict=False):
            size = min(6.0, 6000 / len(points))
            axes.scatter(points[:, 0], points[:, 1], c=of_points, s=size, linewidths=0, alpha=0.75, rasterized=True)
            axes.set_title(title, fontsize=9)
            axes.set_xlabel(words, fontsize=8)
            axes.set_aspect("equal", adjustable="datalim")
        line[0].set_ylabel(name, fontsize=9)
    if len(classes) <= FEW:
        names = list(map(plain, classes))
        marks = [Line2D([], [], marker="o", linestyle="", color=colour, markersize=4) for colour in colours]
        spacing = {"handletextpad": 0.1, "columnspacing": 0.8}
        canvas.legend(
            marks[: len(names)], names, loc="outside lower center", ncols=5, frameon=False, fontsize=8, **spacing
        )
    return canvas
