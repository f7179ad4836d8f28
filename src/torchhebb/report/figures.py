"""Figures of a run as SVG.

An SVG is embedded in a page: it is transparent and uses the colours of the page (currentColor, and the custom
properties --accent, --muted, --third), so that it follows light and dark mode; its text is selectable.
"""

import io
import re
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from torchhebb.errors import printable
from torchhebb.evaluate.figures.text import plain
from torchhebb.report.pictures import CELL_RGB
from torchhebb.report.series import Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 4.6  # inches of 72 units: about the width in pixels that a figure has on the page, so text keeps its size
# matplotlib knows no custom properties: each of these stands for one and is exchanged in the finished SVG.
INK, MUTED, ACCENT, THIRD, PAPER = "#000001", "#000002", "#000003", "#000004", "#000005"
THEME = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    ACCENT: "var(--accent)",
    THIRD: "var(--third)",
    PAPER: "var(--paper)",
}
LINES = ((ACCENT, "-"), (INK, "-"), (THIRD, "-"), (ACCENT, "--"), (INK, "--"), (THIRD, "--"))
NUMBERS_UP_TO, NAMES_UP_TO = 12, 30
TEXT_WIDTH = 48  # characters that fit beside each other in a figure
DECADES = 2  # of x, above which its axis is logarithmic


def lines(
    series: Mapping[str, Series],
    x_label: str,
    y_label: str,
    *,
    name: str,
    log: bool = False,
    mark: float | None = None,
    limits: tuple[float, float] | None = None,
) -> bytes:
    """One line a series, from low to high as a band; `name` tells the figures of a page apart.

    log requests a logarithmic y axis, used if y spans a decade; x is logarithmic if it spans more than two decades.
    mark is a dashed horizontal line.
    """
    from matplotlib.ticker import FuncFormatter

    names = [_short(label, TEXT_WIDTH) or "–" for label in series]  # a legend leaves out an empty one
    columns = max(1, min(3, len(names), TEXT_WIDTH // max(map(len, names))))
    figure, axes = _figure(2.8 + 0.2 * -(-len(names) // columns))
    for label, s, (colour, style) in zip(names, series.values(), cycle(LINES), strict=False):
        axes.plot(s.x, s.mean, color=colour, linestyle=style, linewidth=1.6, label=label)
        if s.low != s.high:
            axes.fill_between(s.x, s.low, s.high, color=colour, alpha=0.15, linewidth=0)
    if mark is not None:
        axes.axhline(mark, color=MUTED, linewidth=1, linestyle=":")
    lowest, highest = min(min(s.low) for s in series.values()), max(max(s.high) for s in series.values())
    if log and 0 < 10 * lowest <= highest:
        axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.margins(x=0.02)
    _scale_x(axes, [x for s in series.values() for x in s.x])
    axes.set_xlabel(_wrapped(x_label))
    axes.set_title(_wrapped(y_label), loc="left", color=INK, fontsize=11)
    if limits is not None:
        axes.set_ylim(*limits)
    axes.grid(axis="y", color=MUTED, alpha=0.25, linewidth=0.6)
    spacing: dict[str, Any] = {"handlelength": 1.3, "columnspacing": 1.4, "borderaxespad": 0.2}
    figure.legend(loc="outside lower left", ncols=columns, frameon=False, labelcolor=INK, fontsize=9.5, **spacing)
    return _svg(figure, name)


def dots(rows: Mapping[str, Sequence[float]], x_label: str, *, mark: float | None = None, name: str) -> bytes:
    """One row a method, a dot a value, its mean as a bar; `mark` is the published value, a dashed line."""
    figure, axes = _figure(1.2 + 0.45 * len(rows))
    for position, values in enumerate(rows.values()):
        colour = INK if position else ACCENT
        mean = sum(values) / len(values)
        axes.plot(values, [position] * len(values), "o", color=colour, markersize=6, alpha=0.55, markeredgewidth=0)
        axes.plot([mean, mean], [position - 0.28, position + 0.28], color=colour, linewidth=2)
        axes.annotate(f"{mean:.2f}", (mean, position - 0.34), ha="center", va="bottom", color=colour, fontsize=10)
    if mark is not None:
        axes.axvline(mark, color=MUTED, linewidth=1, linestyle="--")
        where: dict[str, Any] = {"xytext": (-5, 3), "textcoords": "offset points", "ha": "right", "va": "bottom"}
        axes.annotate("published", (mark, len(rows) - 0.4), color=MUTED, fontsize=9.5, **where)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.4, -0.85)
    axes.margins(x=0.12)
    axes.set_title(x_label, loc="left", color=INK, fontsize=11)
    axes.grid(axis="x", color=MUTED, alpha=0.25, linewidth=0.6)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return _svg(figure, name)


def win_rate_shares(rates: Tensor) -> tuple[list[str], list[float]]:
    """Bins of win rates (K,) in multiples of the uniform rate 1/K, and the percentage of neurons in each.

    >>> win_rate_shares(torch.tensor([0.0, 0.5, 0.25, 0.25]))[1]
    [25.0, 0.0, 0.0, 0.0, 0.0, 50.0, 25.0, 0.0, 0.0]
    """
    names = ["never", "<⅛", "⅛", "¼", "½", "1×", "2×", "4×", "≥8"]
    fair = rates.double() * len(rates)
    octave = (fair.clamp_min(1e-30).log2() + 1e-6).floor().clamp(-4, 3).long() + 5  # the least value floats to its bin
    bins = torch.where(fair > 0, octave, 0)
    counts = torch.bincount(bins, minlength=9)
    return names, (100.0 * counts / len(rates)).tolist()


def histogram(names: Sequence[str], shares: Sequence[float], title: str, x_label: str, *, name: str) -> bytes:
    """Bars of shares in percent; the first bar, apart in meaning, is hollow."""
    figure, axes = _figure(2.5)
    axes.bar(range(1, len(names)), shares[1:], width=0.86, color=ACCENT, alpha=0.85)
    axes.bar([0], shares[:1], width=0.8, color="none", edgecolor=MUTED, linewidth=1.2)
    axes.set_xticks(range(len(names)), list(names))
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(0, max(*shares, 1.0) * 1.05)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0f} %")
    axes.grid(axis="y", color=MUTED, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(x_label)
    axes.set_title(title, loc="left", color=INK, fontsize=11)
    return _svg(figure, name)


def confusion(counts: Tensor, classes: Sequence[str], *, name: str) -> bytes:
    """counts (true, predicted) as shaded cells, each row scaled by its sum; numbers where few classes leave room."""
    size = len(classes)
    shares = (counts / counts.sum(1, keepdim=True).clamp_min(1)).numpy()
    figure, axes = _figure(4.6)
    cells = np.zeros((size, size, 4), dtype=np.uint8)
    cells[..., :3] = CELL_RGB
    cells[..., 3] = np.round(255 * shares**0.5)  # the square root lets rare confusions show
    axes.imshow(cells, interpolation="none")
    if size <= NUMBERS_UP_TO:
        for row, column in counts.nonzero().tolist():
            colour = "#ffffff" if shares[row, column] > 0.7 else INK
            axes.annotate(
                str(int(counts[row, column])), (column, row), ha="center", va="center", color=colour, fontsize=9.5
            )
    if size <= NAMES_UP_TO:
        short = [_short(label) for label in classes]
        axes.set_xticks(range(size), short, rotation=90 if max(map(len, short)) > 2 else 0)
        axes.set_yticks(range(size), short)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    axes.tick_params(length=0)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.spines[:].set_visible(False)
    return _svg(figure, name)


def _figure(height: float) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=MUTED, linewidth=0.8)
    axes.tick_params(which="both", color=MUTED, labelcolor=MUTED, labelsize=10)
    axes.tick_params(which="minor", length=0)
    axes.xaxis.label.set(color=MUTED, fontsize=10.5)
    axes.yaxis.label.set(color=MUTED, fontsize=10.5)
    return figure, axes


def _scale_x(axes: "Axes", x: Sequence[float]) -> None:
    """Whole numbers where x has no others; above two decades a logarithmic axis, on which 0 keeps a place."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

    positive = [value for value in x if value > 0]
    if positive and min(x) >= 0 and max(x) > 10**DECADES * min(positive):
        if min(x) > 0:
            axes.set_xscale("log")
        else:
            axes.set_xscale("symlog", linthresh=min(positive), linscale=0.4)
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=all(value == int(value) for value in x)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def _svg(figure: "Figure", name: str) -> bytes:
    """The bare <svg> element: themed, without prolog, metadata, namespaces, fixed size and ids that nothing uses."""
    import matplotlib

    out = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the browser has fonts of its own
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue().decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'^<svg[^>]*?(viewBox="[^"]*")[^>]*>', r"<svg \1>", text).replace("xlink:href", "href")
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", text)
    for marker, colour in THEME.items():
        text = text.replace(marker, colour)
    return text.encode()


def _short(label: str, width: int = 12) -> str:
    """A name that fits beside a cell."""
    label = printable(label)
    return plain(label if len(label) <= width else label[: width - 1] + "…")


def _wrapped(text: str) -> str:
    return "\n".join(map(plain, textwrap.wrap(text, TEXT_WIDTH)))
