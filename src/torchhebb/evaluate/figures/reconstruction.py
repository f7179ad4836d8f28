"""Pictures of what was decoded: images in rows, and errors against depth."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

Panel = tuple[str, Mapping[str, Sequence[float]], Mapping[str, float]]
"""Title; words of a method -> error after each block; words of a baseline -> its error."""

# Told apart by people who see colours differently (Okabe and Ito).
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def as_bytes(x: Tensor) -> Tensor:
    """Pixels in [0, 1], clipped, as uint8 on the CPU.

    >>> as_bytes(torch.tensor([-0.1, 0.5, 2.0])).tolist()
    [0, 128, 255]
    """
    return (255 * x.float().clamp(0, 1)).round().to(torch.uint8).cpu()


def picture_rows(rows: Mapping[str, Tensor]) -> "Canvas":
    """One row of images (N, C, H, W) in uint8 for each label; a column is one image."""
    from matplotlib.figure import Figure as Canvas

    tiles = torch.stack(list(rows.values()))  # (rows, N, C, H, W)
    height, width = tiles.shape[-2] + 1, tiles.shape[-1] + 1
    tiles = F.pad(tiles, (0, 1, 0, 1), value=255)
    page = tiles.permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)  # (rows H, N W, C)
    pixels = page.expand(-1, -1, 3) if page.shape[2] == 1 else page
    margin, breadth = 0.2 + 0.075 * max(map(len, rows)), 0.6 * tiles.shape[1]  # inches
    canvas = Canvas(figsize=(margin + breadth, 0.6 * len(tiles)))
    axes = canvas.add_axes((margin / (margin + breadth), 0.0, breadth / (margin + breadth), 1.0))
    axes.imshow(pixels.numpy(), interpolation="nearest")
    axes.set_yticks([(number + 0.5) * height for number in range(len(rows))], [_plain(label) for label in rows])
    axes.set_xticks([])
    axes.set_xlim(-0.5, tiles.shape[1] * width - 1.5)
    axes.tick_params(length=0, labelsize=8)
    axes.set_frame_on(False)
    return canvas


def error_panels(panels: Sequence[Panel], depths: Sequence[int]) -> "Canvas":
    """Error against depth: a panel a noise, a line a method, dashed lines for what needs no features."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(2.6 * len(panels) + 0.6, 3.2), layout="constrained")
    grid = canvas.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (title, methods, baselines) in zip(grid, panels, strict=True):
        for number, (label, errors) in enumerate(methods.items()):
            colour = _COLOURS[number % len(_COLOURS)]
            axes.plot(depths, errors, marker="o", markersize=4, color=colour, label=_plain(label))
        for label, level in baselines.items():
            axes.axhline(level, color="grey", linestyle="--" if label == "mean image" else ":", label=label)
        axes.set_title(title, fontsize=9)
        axes.set_xticks(list(depths))
        axes.set_xlabel("features after block", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
    grid[0].set_ylim(bottom=0)
    grid[0].set_ylabel("mean squared error x 1000", fontsize=8)
    handles, labels = grid[-1].get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside upper left", ncols=3, frameon=False, fontsize=8)
    return canvas


def _plain(label: str) -> str:
    """A label without the dollar that matplotlib would read mathematics into."""
    return label.replace("$", r"\$")
