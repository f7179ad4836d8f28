"""Figures of decoded images in labelled rows."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from torchhebb.evaluate.figures.text import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


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
    axes.set_yticks([(number + 0.5) * height for number in range(len(rows))], [plain(label) for label in rows])
    axes.set_xticks([])
    axes.set_xlim(-0.5, tiles.shape[1] * width - 1.5)
    axes.tick_params(length=0, labelsize=8)
    axes.set_frame_on(False)
    return canvas
