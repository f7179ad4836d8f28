"""Figures of curves with error bars: panels in a grid with one legend."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from torchhebb.train import Curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

COLUMNS = 3


@dataclass(frozen=True)
class Panel:
    """One pair of axes: curves and level lines by their labels in the legend.

    >>> Panel("Radius", {"block 1": Curve("block1", "samples", "radius", (0.0, 10.0), (25.0, 1.2))}).title
    'Radius'
    """

    title: str
    curves: Mapping[str, Curve]
    levels: Mapping[str, float] = field(default_factory=dict)
    x_scale: Literal["linear", "log", "symlog"] = "linear"
    ticks: Mapping[float, str] | None = None
    """The ticks of x with their labels; by default matplotlib's."""
    published: Mapping[str, str] = field(default_factory=dict)
    """Dotted curves, with the name of the curve whose colour each has."""
    stars: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Single points (x, y), by the name of the curve whose colour each has."""


def draw_panels(panels: Sequence[Panel], *, columns: int = COLUMNS, share_y: bool = False) -> "Canvas":
    """The panels in rows.  A name has the same colour in all panels; level lines are grey and dashed.

    Args: share_y, whether all panels have the same y axis.

    >>> curve = Curve("block1", "samples", "radius", (0.0, 10.0), (25.0, 1.2))
    >>> len(draw_panels([Panel("Radius", {"block 1": curve})]).axes)
    1
    """
    from matplotlib.figure import Figure as Canvas

    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    canvas = Canvas(figsize=(max(3.5 * columns, 4.6), 2.8 * rows + 0.3), layout="constrained")
    places = canvas.subplots(rows, columns, squeeze=False, sharey=share_y).flat
    for axes in places[len(panels) :]:
        axes.set_visible(False)
    draw_on(canvas, places, panels)
    return canvas


def draw_on(canvas: "Canvas", places: Iterable[Any], panels: Sequence[Panel]) -> None:
    """Draw panels on axes of a canvas, with one legend below all of them."""
    names = list(dict.fromkeys(panel.published.get(name, name) for panel in panels for name in panel.curves))
    levels = list(dict.fromkeys(name for panel in panels for name in panel.levels))
    handles = {}
    for axes, panel in zip(places, panels, strict=False):
        for name, curve in panel.curves.items():
            published = name in panel.published
            style: dict[str, Any] = {"linestyle": ":", "mfc": "none"} if published else {"linestyle": "-"}
            colour = f"C{names.index(panel.published.get(name, name))}"
            handles[name] = axes.errorbar(
                curve.x, curve.y, curve.std, color=colour, marker="o", ms=3.5, capsize=2, linewidth=1.4, **style
            )
        for name, point in panel.stars.items():
            axes.plot(*point, "*", color=f"C{names.index(name)}", markersize=10)
        for name, level in panel.levels.items():
            dashes = ("--", ":", "-.")[levels.index(name) % 3]
            handles[name] = axes.axhline(level, color="grey", linestyle=dashes, linewidth=1)
        _scale(axes, panel)
        axes.set_xlabel(next(iter(panel.curves.values())).x_label)
        axes.set_title(panel.title, fontsize=10)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
    if len(handles) > 1:
        letters = 11 * canvas.get_figwidth()  # that fit in one line
        wide = max(1, min(len(handles), int(letters // (max(map(len, handles)) + 6))))
        canvas.set_figheight(
            canvas.get_figheight() + 0.17 * (-(-len(handles) // wide) - 1)
        )  # a line for each row of it
        canvas.legend(
            list(handles.values()), list(handles), loc="outside lower left", ncols=wide, frameon=False, fontsize=9
        )


def _scale(axes: Any, panel: Panel) -> None:
    """Set the x axis; on symlog, 0 is left of the smallest positive value."""
    from matplotlib.ticker import MaxNLocator, NullLocator

    if panel.x_scale == "symlog":
        smallest = min(x for curve in panel.curves.values() for x in curve.x if x > 0)
        smallest = (
            smallest if panel.ticks else 10 ** math.floor(math.log10(smallest))
        )  # so that 0 is the only tick below
        axes.set_xscale("symlog", linthresh=smallest, linscale=0.6)
        axes.set_xlim(left=-0.4 * smallest)
    else:
        axes.set_xscale(panel.x_scale)
    if panel.x_scale == "linear":
        axes.xaxis.set_major_locator(MaxNLocator(5))  # labels of thousands of images are wide
    if panel.ticks is not None:
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(list(panel.ticks), list(panel.ticks.values()))
