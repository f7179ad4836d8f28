"""Conversion of pixels of any image mode to eight bits, grey or RGB.

| Pillow's mode | what becomes of it |
|---|---|
| 1, L, RGB | as it is |
| P, PA | the colours of its palette |
| LA, La, RGBA, RGBa, PA, transparent P, L or RGB | composed on white |
| CMYK, YCbCr, LAB, HSV | converted to RGB |
| I;16 and its kin, I | v * 255 / (2^b - 1), b the least of 8, 10, 12, ... bits that hold the image's largest value |
| F | numbers in [0, 1] times 255, numbers in [0, 255] as they are; others are refused |

Colour becomes grey by Pillow's luma, 0.299 R + 0.587 G + 0.114 B.
"""

from typing import Any

import numpy as np

from torchhebb.errors import need

_GREY = {"1", "L", "LA", "La", "I", "F"}
_ALPHA = {"LA", "La", "RGBA", "RGBa", "PA"}


def is_grey(mode: str) -> bool:
    """Whether images of this mode have no colour.

    >>> is_grey("I;16B"), is_grey("P")
    (True, False)
    """
    return mode in _GREY or mode.startswith("I;16")


def eight_bits(picture: Any, channels: int) -> Any:
    """A PIL image in mode L (1 channel) or RGB (3); ValueError for numbers that have no place on the scale."""
    image = need("PIL.Image", "reading images")
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        picture = image.fromarray(_scaled(np.asarray(picture)))
    elif picture.mode == "F":
        picture = image.fromarray(_fractions(np.asarray(picture)))
    elif picture.mode in _ALPHA or "transparency" in picture.info:
        colours = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
        picture = image.alpha_composite(image.new("RGBA", colours.size, "white"), colours)
        if channels == 3:
            return picture.convert("RGB")
    return picture.convert("L" if channels == 1 else "RGB")


def _scaled(values: np.ndarray) -> np.ndarray:
    if values.size and values.min() < 0:
        raise ValueError(f"pixels must not be negative, got {values.min()}")
    bits = max(8, int(values.max(initial=0)).bit_length())
    most = (1 << bits + bits % 2) - 1
    return np.rint(values * (255.0 / most)).astype(np.uint8)


def _fractions(values: np.ndarray) -> np.ndarray:
    low, high = values.min(initial=0), values.max(initial=0)
    if not (np.isfinite(values).all() and low >= 0 and high <= 255):
        raise ValueError(f"pixels of a float image must lie in [0, 1] or [0, 255], got {low:g} to {high:g}")
    return np.rint(values * (255.0 if high <= 1 else 1.0)).astype(np.uint8)
