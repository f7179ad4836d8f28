"""Image files of strangers."""

import numpy as np
from PIL import Image


def picture(seed: int, height: int, width: int, channels: int = 3) -> Image.Image:
    """Noise as an image."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
