"""Sheets of small images, exact to the pixel, stacked into one figure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

TILE_PIXELS = 64  # a tile is magnified by a whole number to about this size, so that its pixels stay sharp
GAP = 0.12  # between tiles, in widths of a tile
APART = 0.35  # a wider gap after the leading columns of a sheet
LINE, FRAME = 1, 150  # width and grey of the frame of a tile, which separates white pixels from the page
CHECKERS = (0.85, 0.95)  # greys of pixels outside an image
MARGIN, TITLE = 0.12, 0.27  # inches


@dataclass(frozen=True, eq=False)
class TilePanel:
    """Images (N, C, H, W) in [0, 1], NaN for transparent pixels, in rows of `columns`; a tile is `side` inches wide.

    Three channels are shown in colour, the mean of any other number in grey.  A wider gap follows the first `lead`
    columns.
    """

    title: str
    images: Tensor
    columns: int
    side: float
    lead: int = 0

    def pixels(self) -> np.ndarray:
        return sheet(self.images, self.columns, self.lead)

    def inches(self) -> tuple[float, float]:
        """(width, height) of the sheet."""
        height, width = self.images.shape[2:]
        longest, rows = max(height, width), -(-len(self.images) // self.columns)
        across, down = (self.side * (side / longest) for side in (width, height))
        apart = APART if self.lead else 0
        return across * (self.columns * (1 + GAP) - GAP + apart), down * (rows * (1 + GAP) - GAP)


def sheet(images: Tensor, columns: int, lead: int = 0) -> np.ndarray:
    """Images (N, C, H, W) in [0, 1] as one RGBA array, each magnified by a whole number, with a frame in the gap.

    NaN is transparent.

    >>> sheet(torch.zeros(3, 1, 64, 64), 2).shape
    (138, 138, 4)
    """
    tiles = images.detach().float().cpu()
    tiles = tiles if tiles.shape[1] == 3 else tiles.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    seen = ~tiles.isnan().any(1, keepdim=True)
    rgba = torch.cat([tiles.nan_to_num(0.0).clamp(0, 1), seen.float()], 1)
    magnified = (255 * rgba).round().byte().permute(0, 2, 3, 1).numpy()
    height, width = magnified.shape[1:3]
    factor = max(1, round(TILE_PIXELS / max(height, width)))
    magnified = magnified.repeat(factor, 1).repeat(factor, 2)
    height, width = magnified.shape[1:3]
    step = height + round(GAP * height), width + round(GAP * width)
    rows, apart = -(-len(tiles) // columns), round(APART * width) if lead else 0
    shape = rows * step[0] - step[0] + height, columns * step[1] - step[1] + width + apart
    canvas = np.zeros((shape[0] + 2 * LINE, shape[1] + 2 * LINE, 4), dtype=np.uint8)
    for number, tile in enumerate(magnified):
        row, column = divmod(number, columns)
        top, left = row * step[0], column * step[1] + (apart if column >= lead else 0)
        canvas[top : top + height + 2 * LINE, left : left + width + 2 * LINE] = (FRAME, FRAME, FRAME, 255)
        canvas[top + LINE : top + LINE + height, left + LINE : left + LINE + width] = tile
    return canvas


def stretched(images: Tensor) -> Tensor:
    """Every image (N, C, H, W) scaled from its smallest value at 0 to its largest at 1; NaN stays.

    >>> stretched(torch.tensor([-2.0, 0.0, 2.0]).view(1, 1, 1, 3)).flatten().tolist()
    [0.0, 0.5, 1.0]
    """
    rows = images.flatten(1)
    low = rows.nan_to_num(nan=torch.inf).amin(1).view(-1, 1, 1, 1)
    high = rows.nan_to_num(nan=-torch.inf).amax(1).view(-1, 1, 1, 1)
    return (images - low) / (high - low).clamp_min(1e-12)


def checkered(images: Tensor) -> Tensor:
    """Images (..., H, W) with a light chequerboard in place of NaN, which marks pixels outside an image.

    >>> checkered(torch.tensor([[0.5, torch.nan, torch.nan]]))
    tensor([[0.5000, 0.9500, 0.8500]])
    """
    rows, columns = (torch.arange(side, device=images.device) for side in images.shape[-2:])
    board = torch.tensor(CHECKERS, device=images.device)[(rows.unsqueeze(1) + columns) % 2]
    return torch.where(images.isnan(), board, images)


def stack(panels: Sequence[TilePanel]) -> "Canvas":
    """Panels one below the other, each with its title."""
    from matplotlib.figure import Figure as Canvas

    sizes = [panel.inches() for panel in panels]
    titles = [len(panel.title.split("\n")) * 0.17 + TITLE - 0.17 for panel in panels]
    width = max(width for width, _ in sizes) + 2 * MARGIN
    width = max(width, *(0.075 * len(line) + 2 * MARGIN for panel in panels for line in panel.title.split("\n")))
    height = sum(height for _, height in sizes) + sum(titles) + MARGIN * (len(panels) + 1)
    canvas = Canvas(figsize=(width, height))
    top = height - MARGIN
    for panel, title, (across, down) in zip(panels, titles, sizes, strict=True):
        top -= title
        canvas.text(MARGIN / width, (top + 0.07) / height, panel.title, fontsize=9.5, va="bottom", ha="left")
        axes = canvas.add_axes((MARGIN / width, (top - down) / height, across / width, down / height))
        show(axes, panel.pixels())
        top -= down + MARGIN
    return canvas


def show(axes: "Axes", pixels: np.ndarray) -> None:
    """Show a sheet on axes without frame and ticks."""
    axes.imshow(pixels, interpolation="none", aspect="auto")
    axes.set_axis_off()


def show_image(axes: "Axes", image: Tensor) -> None:
    """Show an image (C, H, W) in [0, 1] without ticks: three channels in colour, the mean of others in grey."""
    pixels = image.cpu().permute(1, 2, 0) if len(image) == 3 else image.cpu().mean(0)
    axes.imshow(pixels.numpy(), cmap="gray", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])


def side_of(size: tuple[int, int], largest: int, inches: float) -> float:
    """Width of a tile in inches, if the largest images of the figure have `inches`; areas are proportional to sizes.

    >>> side_of((5, 5), 20, 1.0), side_of((20, 20), 20, 1.0)
    (0.5, 1.0)
    """
    return inches * (max(size) / largest) ** 0.5
