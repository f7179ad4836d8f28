"""Figures of horizontal bars: one for each variant, with a point for each seed."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


def draw_bars(bars: Mapping[str, Sequence[float]], label: str) -> "Canvas":
    """A bar for each name at the mean of its values over seeds; the others are compared with the first one.

    Args: label, that of the axis.
    """
    from matplotlib.figure import Figure as Canvas

    names, means = list(bars), [sum(line) / len(line) for line in bars.values()]
    canvas = Canvas(figsize=(7.2, 0.34 * len(names) + 0.9), layout="constrained")
    axes = canvas.subplots()
    places = range(len(names), 0, -1)
    colours = ["tab:blue", *["tab:grey"] * (len(names) - 1)]
    axes.barh(places, means, color=colours, height=0.7)
    for place, line, mean in zip(places, bars.values(), means, strict=True):
        axes.plot(line, [place] * len(line), "k.", markersize=4)
        axes.text(mean + 0.3, place, f"{mean:.1f}  ({mean - means[0]:+.1f})", va="center", fontsize=8)
    axes.set_yticks(list(places), names, fontsize=8)
    axes.set_xlim(min(means) - 5, max(means) + 5)
    axes.set_xlabel(label, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    return canvas
