"""Preprocessing of images for a network: channels, size and fit, decided once and saved with a run."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from torchhebb.bounds import SIZE, Checked
from torchhebb.errors import UserError

Fit = Literal["crop", "squash", "pad"]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Preprocessing(Checked):
    """Grey (1) or RGB (3) images of height x width, and what happens to an image of another size.

    crop: the largest box in the middle that has the wanted aspect is scaled (the shorter side, then a centre crop);
    squash: the whole image is scaled, and its aspect is lost; pad: the whole image is scaled by one factor, and what
    remains free on two sides is black.
    Raises UserError for another number of channels, a size below 1 or an unknown fit.

    Example:
        >>> Preprocessing(3, 32, 32).box(500, 300)
        (100.0, 0.0, 400.0, 300.0)
    """

    channels: int
    height: int = field(metadata=SIZE)
    width: int = field(metadata=SIZE)
    fit: Fit = "crop"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels not in (1, 3):
            raise UserError(f"channels must be 1 (grey) or 3 (RGB), got {self.channels}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)"""
        return self.channels, self.height, self.width

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), in Pillow's order"""
        return self.width, self.height

    @property
    def described(self) -> str:
        """The preprocessing in one sentence, for users without torchhebb.

        >>> Preprocessing(1, 28, 28).described
        'Grey, 28 x 28 pixels: the largest centred box of that shape is scaled to it; values are divided by 255.'
        """
        ways = {
            "crop": "the largest centred box of that shape is scaled to it",
            "squash": "the whole image is scaled to it",
            "pad": "the whole image is scaled by one factor to fit, and the rest is black",
        }
        kind = "RGB" if self.channels == 3 else "Grey"
        return f"{kind}, {self.width} x {self.height} pixels: {ways[self.fit]}; values are divided by 255."

    def box(self, width: int, height: int) -> Box:
        """The part (left, top, right, bottom) of an image that is scaled."""
        wide, high = float(width), float(height)
        if self.fit == "crop":
            if width * self.height > height * self.width:
                wide = height * self.width / self.height
            else:
                high = width * self.height / self.width
        left, top = (width - wide) / 2, (height - high) / 2
        return left, top, left + wide, top + high

    def scaled(self, width: int, height: int) -> tuple[int, int]:
        """The (width, height) that the box is scaled to; with pad it may be smaller than `size`.

        >>> Preprocessing(3, 32, 32, "pad").scaled(64, 16)
        (32, 8)
        """
        if self.fit != "pad":
            return self.size
        factor = min(self.width / width, self.height / height)
        return max(1, min(self.width, round(width * factor))), max(1, min(self.height, round(height * factor)))


def check_fit_name(fit: str) -> None:
    """Raise UserError for an unknown fit."""
    if fit not in get_args(Fit):
        raise UserError(f"fit must be one of {', '.join(get_args(Fit))}, got {fit!r}")
