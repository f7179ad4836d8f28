"""Decoding of image files to uint8 tensors of one mode and size.

A record is (place, content, label): the name for error messages; the encoded image as bytes, as a path, or as pixels
(H, W, C) that need no decoding; the class.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from torchhebb.data.files import opened
from torchhebb.data.modes import eight_bits, is_grey
from torchhebb.data.preprocessing import Box, Preprocessing
from torchhebb.errors import UserError, need
from torchhebb.progress import SILENT, Progress

Content = bytes | Path | np.ndarray
Record = tuple[str, Content, int]
Records = Generator[Record, None, None]
Allocate = Callable[[tuple[int, ...]], Tensor]
Cut = Callable[[int, int], Box]
NO_LABEL = -1
_ORIENTATION = 0x0112
_TURNED = 5


def decode(
    records: Records,
    labels: Tensor,
    preprocessing: Preprocessing,
    allocate: Allocate,
    progress: Progress = SILENT,
    *,
    same_size: bool = False,
) -> Tensor:
    """Fill `labels` (N,) and a uint8 tensor (N, C, H, W) from exactly N records, and return the images.

    `allocate((N, C, H, W))` gives the tensor.  With `same_size` an image of another size than the preprocessing gives
    is refused, not scaled.  Errors: UserError for an unreadable image or another size.
    """
    images, first, count = allocate((len(labels), *preprocessing.shape)), "", 0
    # An error holds on to this frame: without closing, a half-read stream would outlive it (see ParquetSplit).
    with closing(records):
        for place, content, label in records:
            first = first or place
            if (pixels := _as_wanted(content, preprocessing)) is None:
                picture = _picture(place, content, preprocessing.channels)
                if same_size and picture.size != preprocessing.size:
                    raise sizes_differ(first, preprocessing.size, place, picture.size)
                pixels = _framed(picture, preprocessing)
            if count < len(labels):
                np.copyto(images[count].numpy(), pixels)  # which may be read-only
                labels[count] = label
            count += 1
            progress.advance(1)
    if count == 0 or count != len(labels):
        raise UserError(f"expected {len(labels)} images, found {count}")
    return images


def read_pixels(place: str, content: Content, preprocessing: Preprocessing, cut: Cut | None = None) -> np.ndarray:
    """One image as uint8 (C, H, W), turned upright, as training and every later command use it.

    `cut(width, height)`, where given, chooses another box (left, top, right, bottom) than the preprocessing does.
    """
    return _framed(_picture(place, content, preprocessing.channels), preprocessing, cut)


def read_header(place: str, content: Content) -> tuple[bool, tuple[int, int]]:
    """(is grey, (width, height) once upright), without decoding the pixels."""
    if isinstance(content, np.ndarray):
        return content.shape[2] == 1, (content.shape[1], content.shape[0])
    with opened(place, content, whole=False) as picture:
        width, height = picture.size
        turned = picture.getexif().get(_ORIENTATION, 1) >= _TURNED
        grey = is_grey(picture.mode)
    return grey, (height, width) if turned else (width, height)


def sizes_differ(first: str, first_size: Sequence[int], other: str, other_size: Sequence[int]) -> UserError:
    """The error for two images of different (width, height)."""
    one, two = ("x".join(map(str, size)) for size in (first_size, other_size))
    return UserError(f"images differ in size: {first} is {one}, {other} is {two}; resize them with --size N")


def _as_wanted(content: Content, preprocessing: Preprocessing) -> np.ndarray | None:
    """Pixels that are already as wanted, as (C, H, W); None for what has to be decoded, converted or scaled."""
    wanted = (preprocessing.height, preprocessing.width, preprocessing.channels)
    if isinstance(content, np.ndarray) and content.dtype == np.uint8 and content.shape == wanted:
        return content.transpose(2, 0, 1)
    return None


def _picture(place: str, content: Content, channels: int) -> Any:
    """An image of its own size, upright, in mode L or RGB."""
    image, operations = need("PIL.Image", "reading images"), need("PIL.ImageOps", "reading images")
    if isinstance(content, np.ndarray):
        return eight_bits(image.fromarray(content[..., 0] if content.shape[2] == 1 else content), channels)
    with opened(place, content) as picture:
        return eight_bits(operations.exif_transpose(picture), channels)


def _framed(picture: Any, preprocessing: Preprocessing, cut: Cut | None = None) -> np.ndarray:
    """A picture of mode L or RGB, cut, scaled (bilinear, antialiased) and padded."""
    image = need("PIL.Image", "reading images")
    box = (cut or preprocessing.box)(*picture.size)
    size = preprocessing.size if cut else preprocessing.scaled(*picture.size)
    if picture.size != size or box != (0.0, 0.0, *map(float, picture.size)):
        picture = picture.resize(size, image.Resampling.BILINEAR, box=box)
    if size != preprocessing.size:
        frame = image.new(picture.mode, preprocessing.size)
        frame.paste(picture, ((preprocessing.width - size[0]) // 2, (preprocessing.height - size[1]) // 2))
        picture = frame
    pixels = np.array(picture, dtype=np.uint8)
    return pixels[None] if preprocessing.channels == 1 else pixels.transpose(2, 0, 1)
