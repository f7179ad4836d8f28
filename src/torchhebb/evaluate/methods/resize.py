"""Images of any data set in the channels and size that a network takes."""

import torch
from torch import Tensor
from torch.nn import functional as F

from torchhebb.data import Images
from torchhebb.errors import UserError

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def resize_to(images: Images, shape: tuple[int, int, int]) -> Images:
    """Images converted to the channels and size of an input (C, H, W).

    Grey is repeated for all channels; colour is converted to grey by its luma, 0.299 R + 0.587 G + 0.114 B.  If at most
    an eighth of a side is missing, the image is padded with zeros (28x28 in 32x32); otherwise it is scaled bilinearly
    with antialiasing.
    Raises UserError for channels that cannot be converted.

    >>> grey = Images(torch.full((1, 1, 28, 28), 7, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))
    >>> resize_to(grey, (3, 32, 32)).images[0, :, 2, 1:3].tolist()
    [[0, 7], [0, 7], [0, 7]]
    """
    if tuple(images.images.shape[1:]) == shape:
        return images
    parts = [_resized(part, shape) for part in images.images.split(1000)]
    return Images(torch.cat(parts), images.labels)


def _resized(x: Tensor, shape: tuple[int, int, int]) -> Tensor:
    (channels, height, width), x = shape, x.float()
    if (x.shape[1], channels) == (3, 1):
        x = (x * torch.tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    elif x.shape[1] == 1:
        x = x.expand(-1, channels, -1, -1)
    elif x.shape[1] != channels:
        raise UserError(f"images of {x.shape[1]} channels cannot be converted to {channels}")
    down, right = height - x.shape[2], width - x.shape[3]
    if 0 <= down <= height / 8 and 0 <= right <= width / 8:
        x = F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))
    else:
        x = F.interpolate(x, (height, width), mode="bilinear", antialias=True)
    return x.round().clamp(0, 255).to(torch.uint8)
