"""The shapes that modules take, checked where torch would speak of its own dims."""

from torch import Tensor


def check_shape(x: Tensor, fits: bool, words: str) -> None:
    """Raise ValueError, naming the shape, unless it fits.

    >>> import torch
    >>> check_shape(torch.zeros(3), False, "(B, C, H, W)")
    Traceback (most recent call last):
    ValueError: x must have shape (B, C, H, W), got (3,)
    """
    if not fits:
        raise ValueError(f"x must have shape {words}, got {tuple(x.shape)}")


def check_samples(x: Tensor) -> None:
    """Raise ValueError unless x is (B, ...) with one dim or more a sample."""
    check_shape(x, x.dim() > 1, "(B, ...)")


def check_maps(x: Tensor, channels: int) -> None:
    """Raise ValueError unless x is (B, channels, H, W)."""
    check_shape(x, x.dim() == 4 and x.shape[1] == channels, f"(B, {channels}, H, W)")
