"""Figure of published accuracies in rows, with the qualities of each method."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

OURS, KNOWN, GREY = "#D55E00", "#0072B2", "#505050"


def draw_literature(rows: Sequence[Mapping[str, Any]], qualities: Sequence[str]) -> "Canvas":
    """Accuracies on the left, a dot for each quality on the right, row by row.

    Args: rows, with `name`, `accuracy`, `measured`, `verified`, `qualities` (True, False or None) and `judged`, the
    numbers of the qualities that are a judgement.
    """
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(8.2, 0.27 * len(rows) + 1.3), layout="constrained")
    left, right = canvas.subplots(1, 2, sharey=True, width_ratios=(2.2, 1))
    for place, row in enumerate(rows):
        colour = OURS if row["measured"] else KNOWN
        face = colour if row["verified"] else "white"
        left.plot([row["accuracy"]], [place], "o", color=colour, markerfacecolor=face, markersize=6)
        text = f"{row['accuracy']:g}" + ("" if row["verified"] else " ?")
        left.annotate(
            text, (row["accuracy"], place), xytext=(7, 0), textcoords="offset points", va="center", fontsize=8
        )
        for column, has in enumerate(row["qualities"]):
            size = 4 if column in row["judged"] else 8
            mark, inside = ("_", GREY) if has is None else ("o", GREY if has else "white")
            right.plot([column], [place], mark, color=GREY, markerfacecolor=inside, markersize=size)
    left.set_yticks(range(len(rows)), [row["name"] for row in rows], fontsize=8.5)
    left.set_ylim(len(rows) - 0.4, -0.6)
    left.margins(x=0.1)
    left.set_xlabel("test accuracy on CIFAR-10, %", fontsize=8.5)
    left.grid(alpha=0.25)
    right.set_xlim(-0.6, len(qualities) - 0.4)
    right.set_xticks(range(len(qualities)), list(qualities), fontsize=8, rotation=35, ha="left", rotation_mode="anchor")
    right.xaxis.tick_top()
    for axes in (left, right):
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
    return canvas
