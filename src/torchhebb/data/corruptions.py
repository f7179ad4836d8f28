"""Image corruptions of several severities: noise, blur, contrast, brightness, pixelation, rotation.

| corruption | severity | new value of a pixel x in [0, 1] |
|---|---|---|
| GaussianNoise | the std of the noise | x + severity N(0, 1) |
| ShotNoise | the std of a white pixel | severity^2 Poisson(x / severity^2) |
| ImpulseNoise | the fraction of pixels hit | black or white, at even odds |
| GaussianBlur | the std of the kernel, in pixels | the weighted mean of its surroundings |
| Contrast | the fraction of contrast lost | mean + (1 - severity) (x - mean) |
| Brightness | the light added | x + severity |
| Pixelate | the fraction of rows and of columns lost | the mean of its block |
| Rotation | the angle in degrees, counterclockwise | bilinear, black outside |

Source: Hendrycks and Dietterich 2019 for the family, and Engstrom et al. 2019 for rotation.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from torchhebb.bounds import Checked
from torchhebb.errors import UserError


@dataclass(frozen=True)
class Corruption(Checked, ABC):
    """One corruption at one severity; at severity 0 images are unchanged.

    Raises UserError for a severity outside [0, largest].

    >>> Brightness(0.25)(torch.tensor([[[[0.5, 0.9]]]]), torch.Generator())
    tensor([[[[0.7500, 1.0000]]]])
    """

    label: ClassVar[str]
    """The label of the severity on an axis."""
    largest: ClassVar[float] = math.inf

    severity: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.severity <= self.largest:
            allowed = "at least 0" if math.isinf(self.largest) else f"from 0 to {self.largest:g}"
            raise UserError(f"severity of {type(self).__name__} must be {allowed}, got {self.severity}")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """x (B, C, H, W) in [0, 1] -> the same shape and range; `generator`, for noise, lives on x's device."""
        return x if self.severity == 0 else self.distort(x, generator).clamp(0, 1)

    @abstractmethod
    def distort(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The corrupted x before it is clamped, for a severity above 0."""


class GaussianNoise(Corruption):
    """x + severity N(0, 1), every entry by its own draw."""

    label = "std of the noise"

    def distort(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return x + self.severity * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)


class ShotNoise(Corruption):
    """Light that comes in 1 / severity^2 photons for a white pixel: Poisson, of mean x and variance severity^2 x."""

    label = "std of a white pixel"

    def distort(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return self.severity**2 * torch.poisson(x / self.severity**2, generator=generator)


class ImpulseNoise(Corruption):
    """Salt and pepper: a fraction of the entries turns black or white."""

    label = "share of pixels hit"
    largest = 1.0

    def distort(self, x: Tensor, generator: torch.Generator) -> Tensor:
        draw = torch.rand(x.shape, generator=generator, device=x.device)
        return torch.where(draw < self.severity, (draw < self.severity / 2).to(x.dtype), x)


class GaussianBlur(Corruption):
    """A Gaussian kernel of std severity, cut at three of them; the border pixels repeat outside."""

    label = "std of the kernel, pixels"

    def distort(self, x: Tensor, generator: torch.Generator) -> Tensor:
        reach = math.ceil(3 * self.severity)
        offsets = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
        kernel = torch.softmax(-(offsets**2) / (2 * self.severity**2), 0)  # sums to one
        maps = F.pad(x.flatten(0, 1).unsqueeze(1), (reach,) * 4, mode="replicate")
        maps = F.conv2d(F.conv2d(maps, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
        return maps.view_as(x)


class Contrast(Corruption):
    """Every channel of an image is scaled towards its mean."""

    label = "share of contrast lost"
    largest = 1.0

    def distort(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return torch.lerp(x, x.mean((2, 3), keepdim=True), self.severity)


class Brightness(Corruption):
    """Light added to every pixel."""

    label = "light added"
    largest = 1.0

    def distort(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return x + self.severity


class Pixelate(Corruption):
    """Blocks of pixels get their mean, so that a fraction of the resolution is lost; a second time changes nothing."""

    label = "share of rows and columns lost"
    largest = 1.0

    def distort(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return self._averaging(x, x.shape[2]) @ x @ self._averaging(x, x.shape[3])

    def _averaging(self, x: Tensor, side: int) -> Tensor:
        """The projection (side, side) that replaces a line by the means of its blocks."""
        blocks = max(1, round((1 - self.severity) * side))
        block = torch.arange(side, device=x.device) * blocks // side
        same = (block[:, None] == block).to(x.dtype)
        return same / same.sum(1)


class Rotation(Corruption):
    """A counterclockwise rotation about the centre, bilinear; pixels from outside the image are black."""

    label = "degrees"

    def distort(self, x: Tensor, generator: torch.Generator) -> Tensor:
        height, width = x.shape[2:]
        cos, sin = (f(math.radians(self.severity)) for f in (math.cos, math.sin))
        turn = torch.tensor([[cos, -sin * height / width, 0], [sin * width / height, cos, 0]], device=x.device)
        grid = F.affine_grid(turn.to(x.dtype).expand(len(x), -1, -1), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


CORRUPTIONS: dict[str, type[Corruption]] = {
    "gaussian_noise": GaussianNoise,
    "shot_noise": ShotNoise,
    "impulse_noise": ImpulseNoise,
    "gaussian_blur": GaussianBlur,
    "contrast": Contrast,
    "brightness": Brightness,
    "pixelate": Pixelate,
    "rotation": Rotation,
}
