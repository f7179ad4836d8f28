"""Batches of images that are on the device already: index slices of one uint8 tensor, without workers.

Shapes: N images, B of one batch, C channels, H x W pixels.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from torchhebb.bounds import Checked, above, at_least
from torchhebb.errors import UserError


@dataclass(frozen=True)
class Augment(Checked):
    """Random resized crop, random crop from a border of zero pixels, and a mirror image with probability one half.

    The resized crop covers a fraction of the area drawn from [crop_area, 1], with an aspect ratio whose logarithm is
    drawn from [log 3/4, log 4/3]; it is resized to the size of the image.  1 switches it off.
    Source: Szegedy et al. 2015, section 6.

    Example:
        >>> x = torch.arange(9, dtype=torch.uint8).view(1, 1, 3, 3)
        >>> Augment(crop_padding=1, flip=True)(x, torch.Generator().manual_seed(0)).shape
        torch.Size([1, 1, 3, 3])
    """

    crop_padding: int = field(default=0, metadata=at_least(0))
    """Border of zero pixels around the image before a random crop of its size; 0 switches it off."""
    flip: bool = False
    """Mirror an image with probability one half."""
    crop_area: float = field(default=1.0, metadata=above(0, up_to=1))
    """Smallest fraction of the area of a random resized crop; 1 switches it off."""

    @property
    def active(self) -> bool:
        """Whether any augmentation is switched on."""
        return self != Augment()

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """x (B, C, H, W) -> (B, C, H, W), with a random draw for each sample; `generator` is on x's device."""
        if not self.active:
            return x
        if x.dim() != 4:
            raise UserError(f"x must have shape (B, C, H, W), got {tuple(x.shape)}")
        if self.crop_area < 1:
            x = resized_crop(x, crop_boxes(x.shape[2], x.shape[3], self.crop_area, len(x), generator))
        if not self.crop_padding and not self.flip:
            return x
        count, device = len(x), x.device
        corner = torch.randint(2 * self.crop_padding + 1, (2, count), generator=generator, device=device)
        coin = torch.rand(count, generator=generator, device=device) < 0.5
        return crop_and_mirror(x, corner[0], corner[1], coin & self.flip, padding=self.crop_padding)


def crop_boxes(height: int, width: int, least_area: float, count: int, generator: torch.Generator) -> Tensor:
    """(count, 4): left, top, right, bottom of random boxes in an image, on the generator's device.

    The area is a fraction of the image's from [least_area, 1], the aspect ratio is from [3/4, 4/3], uniform in its
    logarithm; a side that does not fit is cut to the image's, and the place is uniform.

    >>> box = crop_boxes(30, 40, 0.25, 1, torch.Generator().manual_seed(0))[0]
    >>> bool((box[:2] >= 0).all()), bool(box[2] <= 40), bool(box[3] <= 30)
    (True, True, True)
    """
    drawn = torch.rand(4, count, generator=generator, device=generator.device)
    area = (least_area + (1 - least_area) * drawn[0]) * height * width
    ratio = ((2 * drawn[1] - 1) * math.log(4 / 3)).exp()
    wide, high = (area * ratio).sqrt().clamp(1, width), (area / ratio).sqrt().clamp(1, height)
    left, top = drawn[2] * (width - wide), drawn[3] * (height - high)
    return torch.stack([left, top, left + wide, top + high], 1)


def resized_crop(x: Tensor, boxes: Tensor) -> Tensor:
    """Box b (left, top, right, bottom) of sample b of x (B, C, H, W), scaled to H x W by bilinear interpolation.

    >>> x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> resized_crop(x, torch.tensor([[1.0, 0.0, 2.0, 2.0]])).flatten().tolist()
    [2.0, 2.0, 4.0, 4.0]
    """
    height, width = x.shape[2:]
    left, top, right, bottom = boxes.to(x.device).unbind(1)
    columns, rows = _centres(left, right, width), _centres(top, bottom, height)
    across = (2 * columns / width - 1)[:, None, :].expand(-1, height, -1)
    down = (2 * rows / height - 1)[:, :, None].expand(-1, -1, width)
    grid = torch.stack([across, down], 3)
    out = F.grid_sample(x.float(), grid.float(), mode="bilinear", padding_mode="border", align_corners=False)
    return out.round().to(x.dtype) if x.dtype == torch.uint8 else out.to(x.dtype)


def _centres(low: Tensor, high: Tensor, count: int) -> Tensor:
    """(B, count): the centres of `count` equal parts of [low_b, high_b], no nearer to an end than a pixel's centre."""
    parts = (torch.arange(count, device=low.device) + 0.5) / count
    places = low[:, None] + parts * (high - low)[:, None]
    return places.clamp(low.floor()[:, None] + 0.5, high.ceil()[:, None] - 0.5)


def crop_and_mirror(x: Tensor, top: Tensor, left: Tensor, mirrored: Tensor, *, padding: int) -> Tensor:
    """Sample b of x (B, C, H, W), zero-padded, cut at (top_b, left_b) to H x W, mirrored where `mirrored_b`.

    top, left: (B,) integers in [0, 2 padding]; mirrored: (B,) booleans. One gather for the whole batch.

    >>> x = torch.tensor([[[[1, 2], [3, 4]]]])
    >>> crop_and_mirror(x, torch.tensor([1]), torch.tensor([1]), torch.tensor([True]), padding=1).flatten().tolist()
    [2, 1, 4, 3]
    """
    count, channels, height, width = x.shape
    padded = F.pad(x, (padding,) * 4)
    column = torch.arange(width, device=x.device)
    columns = left[:, None] + torch.where(mirrored[:, None], width - 1 - column, column)
    rows = top[:, None] + torch.arange(height, device=x.device)
    sample = torch.arange(count, device=x.device).view(-1, 1, 1, 1)
    channel = torch.arange(channels, device=x.device).view(1, -1, 1, 1)
    return padded[sample, channel, rows[:, None, :, None], columns[:, None, None, :]]


class Batches:
    """The epochs of a uint8 tensor (N, C, H, W), as float32 batches (B, C, H, W) in [0, 1] on `device`.

    A float tensor, such as the outputs (N, C, H, W) or (N, F) of frozen blocks, keeps its values.

    `order`, where given, takes the number of an epoch to the permutation of its images.
    The order of an epoch otherwise depends on (seed, epoch) alone, the same on every device; an augmentation on
    (seed, epoch, batch) and the kind of device. So an epoch that is resumed at batch k continues exactly.
    Errors: UserError for anything that cannot be batched.

    >>> images = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1)
    >>> batches = Batches(images, 2, seed=1)
    >>> len(batches), [tuple(x.shape) for x in batches.epoch(0)]
    (3, [(2, 1, 1, 1), (2, 1, 1, 1), (1, 1, 1, 1)])
    >>> sorted((torch.cat(list(batches.epoch(0))) * 255).flatten().tolist())
    [0.0, 1.0, 2.0, 3.0, 4.0]
    """

    def __init__(
        self,
        images: Tensor,
        batch_size: int,
        *,
        labels: Tensor | None = None,
        seed: int = 0,
        shuffle: bool = True,
        augment: Augment | None = None,
        device: torch.device | str | None = None,
        drop_last: bool = False,
        order: Callable[[int], Tensor] | None = None,
    ) -> None:
        flat = images.is_floating_point() and images.dim() == 2 and not (augment is not None and augment.active)
        if not (images.dtype == torch.uint8 or images.is_floating_point()) or not (images.dim() == 4 or flat):
            raise UserError(f"images must be uint8 or float (N, C, H, W), got {images.dtype} {tuple(images.shape)}")
        if len(images) == 0:
            raise UserError("images must hold at least one image, got none")
        if batch_size < 1 or (drop_last and batch_size > len(images)):
            most = f" and, where the last batch is dropped, at most {len(images)}" if drop_last else ""
            raise UserError(f"batch_size must be at least 1{most}, got {batch_size}")
        if labels is not None and labels.shape != images.shape[:1]:
            raise UserError(f"labels must be ({len(images)},), one per image, got {tuple(labels.shape)}")
        self.images = images.to(device)
        self.labels = None if labels is None else labels.to(self.images.device)
        self.batch_size, self.seed, self.shuffle = batch_size, seed, shuffle
        self.augment = augment if augment is not None and augment.active else None
        self._order = order or self._permutation
        whole, rest = divmod(len(images), batch_size)
        self._count = whole if drop_last or not rest else whole + 1

    def __len__(self) -> int:
        """Batches per epoch."""
        return self._count

    def epoch(self, number: int, start: int = 0) -> Iterator[Any]:
        """Batches `start`, `start` + 1, ... of epoch `number`: x, or (x, labels) where labels were given."""
        check_epoch(number, start, len(self))
        return self._epoch(number, start)

    def _epoch(self, number: int, start: int) -> Iterator[Any]:
        device = self.images.device
        if self.shuffle:
            # Drawn on the CPU: the order is then the same on every device.
            order = self._order(number).to(device)
        for batch in range(start, len(self)):
            here = slice(batch * self.batch_size, (batch + 1) * self.batch_size)
            chosen = order[here] if self.shuffle else here
            x = self.images[chosen]
            if self.augment is not None:
                x = self.augment(x, seeded(self.seed, number, batch, device=device))
            x = as_pixels(x)
            yield x if self.labels is None else (x, self.labels[chosen])

    def _permutation(self, number: int) -> Tensor:
        return torch.randperm(len(self.images), generator=seeded(self.seed, number))


def as_pixels(images: Tensor) -> Tensor:
    """uint8 images as numbers in [0, 1]; float tensors, such as the outputs of frozen blocks, as they are; float32.

    >>> as_pixels(torch.tensor([0, 51, 255], dtype=torch.uint8))
    tensor([0.0000, 0.2000, 1.0000])
    """
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()


def check_epoch(number: int, start: int, batches: int) -> None:
    """Raise UserError unless an epoch with this many batches can begin at `start`."""
    if number < 0:
        raise UserError(f"epoch number must be 0 or more, got {number}")
    if not 0 <= start <= batches:
        raise UserError(f"start must be from 0 to {batches}, the batches of an epoch, got {start}")


def seeded(*numbers: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator that depends on all of `numbers`; hashing keeps neighbouring seeds and epochs apart."""
    digest = blake2b(repr(numbers).encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "big") >> 1)
