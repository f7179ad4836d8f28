"""Figure of filters as images, one sheet per network, with a histogram of the radii under each."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torchhebb.evaluate.figures.tiles import TilePanel, show

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

WIDTH, TOP, BOTTOM, GAP = 2.5, 0.45, 1.0, 0.3  # inches: of a sheet, above it, below it with radii, between columns


def draw_filters(panels: Sequence[TilePanel], radii: Sequence[Tensor]) -> "Canvas":
    """Sheets side by side, each above a histogram of the radii (K,) of all its neurons on one logarithmic axis."""
    from matplotlib.figure import Figure as Canvas
    from matplotlib.ticker import NullFormatter

    sides = [WIDTH / panel.inches()[0] for panel in panels]
    tallest = max(side * panel.inches()[1] for side, panel in zip(sides, panels, strict=True))
    width, height = len(panels) * (WIDTH + GAP) + GAP, TOP + tallest + BOTTOM
    canvas = Canvas(figsize=(width, height))
    low, high = min(map(_least, radii)), max(float(radius.max()) for radius in radii)
    bins = torch.logspace(math.log10(low / 1.3), math.log10(high * 1.3), 41).tolist()
    for number, (panel, side, radius) in enumerate(zip(panels, sides, radii, strict=True)):
        left, tall = GAP + number * (WIDTH + GAP), side * panel.inches()[1]
        canvas.text(left / width, 1 - 0.3 / height, panel.title, fontsize=10)
        bottom = height - TOP - tall
        show(canvas.add_axes((left / width, bottom / height, WIDTH / width, tall / height)), panel.pixels())
        axes = canvas.add_axes((left / width, 0.42 / height, WIDTH / width, (BOTTOM - 0.52) / height))
        axes.hist(radius.clamp_min(low).tolist(), bins=bins, color="#0072B2")
        axes.axvline(1.0, color="#D55E00", linewidth=0.8, linestyle="--")
        axes.set(xscale="log", xlim=(bins[0], bins[-1]), yticks=[])
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(labelsize=7, pad=1)
        axes.set_xlabel(f"radius {radius.mean():.3g} \u00b1 {radius.std(correction=0):.2g}", fontsize=8, labelpad=1)
    return canvas


def _least(radius: Tensor) -> float:
    """The smallest radius for a logarithmic axis, which cannot show 0."""
    return max(float(radius.min()), 1e-3)
