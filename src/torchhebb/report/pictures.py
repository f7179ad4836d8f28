"""Weights and images as PNG."""

import io
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

# The page's accent and third colour between their light and dark values: an image cannot follow the page.
CELL_RGB, BELOW_RGB = (178, 82, 38), (74, 138, 154)
TILE, GAP = 42, 10


def filters(weight: Tensor, input_shape: Sequence[int], *, limit: int = 96, columns: int = 16) -> bytes:
    """The weights of first-layer neurons as tiles of one PNG, each scaled to its own largest weight.

    Args: weight (K, C, H, W), or (K, C H W) of a fully connected layer on images of `input_shape`.
    Three channels are shown as colours around mid grey; of other numbers the mean, its sign as colour, zero clear.
    """
    tiles = weight[:limit].detach().float().cpu()
    if tiles.dim() == 2:
        tiles = tiles.view(len(tiles), *input_shape)
    tiles = tiles if tiles.shape[1] == 3 else tiles.mean(1, keepdim=True)
    tiles = (tiles / tiles.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-12)).permute(0, 2, 3, 1)
    if tiles.shape[3] == 3:
        rgba = torch.cat([(tiles + 1) * 127.5, torch.full_like(tiles[..., :1], 255)], 3)
    else:
        colour = torch.where(tiles > 0, torch.tensor(CELL_RGB), torch.tensor(BELOW_RGB))
        rgba = torch.cat([colour, 16 + 239 * tiles.abs()], 3)
    pixels = rgba.round().byte().numpy()
    height, width = pixels.shape[1:3]
    factor = max(1, TILE // max(height, width))
    step = (height * factor + GAP, width * factor + GAP)
    columns = min(columns, len(pixels))
    rows = -(-len(pixels) // columns)
    canvas = np.zeros((rows * step[0] - GAP, columns * step[1] - GAP, 4), dtype=np.uint8)
    for number, tile in enumerate(pixels):
        top, left = number // columns * step[0], number % columns * step[1]
        canvas[top : top + height * factor, left : left + width * factor] = tile.repeat(factor, 0).repeat(factor, 1)
    return _png(canvas)


def picture(image: Tensor) -> bytes:
    """One image (C, H, W) uint8 as a PNG: three channels as colours, other numbers as their mean."""
    pixels = image if len(image) == 3 else image.float().mean(0, keepdim=True).round().byte().expand(3, -1, -1)
    return _png(pixels.permute(1, 2, 0).contiguous().numpy())


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG", optimize=True)
    return out.getvalue()
