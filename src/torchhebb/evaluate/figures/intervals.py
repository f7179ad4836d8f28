"""Figures of accuracies with their intervals, one row for each variant, with an optional panel of curves."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torchhebb.evaluate.figures.panels import Panel, draw_on
from torchhebb.train import Measure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


def draw_intervals(
    measures: Mapping[str, Measure], label: str, panel: Panel | None = None, *, reference: str | None = None
) -> "Canvas":
    """A dot for each seed and a bar for the interval of each measure; the panel is on the right.

    Args: label, that of the axis; reference, the measure whose mean is a dotted line through all rows.
    """
    from matplotlib.figure import Figure as Canvas

    wide, rows = panel is not None, max(len(measures), 9)
    canvas = Canvas(figsize=(9.6 if wide else 5.6, 1.0 + 0.26 * rows), layout="constrained")
    places = canvas.subplots(1, 2 if wide else 1, squeeze=False, width_ratios=(1.2, 1) if wide else None)[0]
    axes = places[0]
    for row, measure in enumerate(measures.values()):
        if measure.interval is not None:
            axes.plot(measure.interval, (row, row), color="C0", linewidth=2, alpha=0.4)
        axes.plot(measure.values, [row] * len(measure.values), "o", color="C0", markersize=4)
    if reference is not None:
        axes.axvline(measures[reference].mean, color="grey", linestyle=":", linewidth=1)
    axes.set_yticks(range(len(measures)), list(measures))
    axes.set_ylim(len(measures) - 0.5, -0.5)
    axes.set_xlabel(label)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    if panel is not None:
        draw_on(canvas, places[1:], [panel])
    return canvas
