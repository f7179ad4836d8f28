"""Figures of matrices in colours: with numbers in their cells, or similarities sorted by class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


@dataclass(frozen=True, eq=False)
class Matrix:
    """Numbers (R, C), NaN where nothing was measured, with the labels of rows and columns, if any."""

    title: str
    values: Tensor
    rows: Sequence[str]
    columns: Sequence[str]
    x_label: str = ""
    y_label: str = ""


def draw_matrices(
    matrices: Sequence[Matrix],
    *,
    columns: int = 4,
    scale: tuple[float, float] | None = None,
    label: str | None = None,
    digits: int = 0,
) -> "Canvas":
    """A panel for each matrix, with its numbers in their cells.

    Args: scale, the range of colours of all panels, by default that of each; label, that of the colour bar.
    """
    from matplotlib.figure import Figure as Canvas

    columns = min(columns, len(matrices))
    rows = -(-len(matrices) // columns)
    width = max(1.6 + 0.5 * matrix.values.shape[1] for matrix in matrices)
    height = max(1.3 + 0.42 * len(matrix.values) for matrix in matrices)
    canvas = Canvas(figsize=(width * columns + (0.7 if label else 0), height * rows), layout="constrained")
    panels = canvas.subplots(rows, columns, squeeze=False)
    for axes in panels.flat[len(matrices) :]:
        axes.set_axis_off()
    low, high = scale or (None, None)
    for axes, matrix in zip(panels.flat, matrices, strict=False):
        image = axes.imshow(matrix.values.numpy(), vmin=low, vmax=high, cmap="cividis", aspect="auto")
        size = max(3.0, min(8.0, 60.0 / matrix.values.shape[1]))  # of type that fits a cell
        for row, column in (~matrix.values.isnan()).nonzero().tolist():
            value = matrix.values[row, column].item()
            colour = "black" if image.norm(value) > 0.5 else "white"
            axes.text(column, row, f"{value:.{digits}f}", ha="center", va="center", color=colour, fontsize=size)
        axes.set_title(matrix.title, fontsize=9)
        slant = {"rotation": 30, "ha": "right"} if max(map(len, matrix.columns), default=0) > 3 else {}
        axes.set_xticks(range(len(matrix.columns)), matrix.columns, fontsize=8, **slant)
        axes.set_yticks(range(len(matrix.rows)), matrix.rows, fontsize=8)
        axes.set_xlabel(matrix.x_label, fontsize=8)
        axes.set_ylabel(matrix.y_label, fontsize=8)
    if label is not None:
        canvas.colorbar(image, ax=panels, label=label, shrink=0.8)
    return canvas


def similarity_maps(rows: Mapping[str, Mapping[str, Tensor]], per_class: int) -> "Canvas":
    """Similarities (B, B) of images sorted by class, one row per network, one column per stage, one colour scale."""
    from matplotlib.figure import Figure as Canvas

    columns = max(map(len, rows.values()))
    lowest = min(gram.min().item() for row in rows.values() for gram in row.values())
    canvas = Canvas(figsize=(1.5 * columns + 0.8, 1.75 * len(rows) + 0.2), layout="constrained")
    grid = canvas.subplots(len(rows), columns, squeeze=False)
    for line, (name, row) in zip(grid, rows.items(), strict=True):
        for axes, (stage, gram) in zip(line, row.items(), strict=True):
            picture = axes.imshow(gram.numpy(), vmin=lowest, vmax=1.0, interpolation="nearest")
            for border in range(per_class, len(gram), per_class):
                axes.axhline(border - 0.5, color="black", linewidth=0.4)
                axes.axvline(border - 0.5, color="black", linewidth=0.4)
            axes.set(xticks=[], yticks=[])
            axes.set_title(stage, fontsize=7)
        line[0].set_ylabel(name, fontsize=8)
    canvas.colorbar(picture, ax=grid, shrink=0.8, label="cosine similarity")
    return canvas
