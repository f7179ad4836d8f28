"""Conversion of the inputs of scikit-learn estimators to images (N, C, H, W): a vector is an image of one pixel."""

import math
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import validate_data
from torch import Tensor

from torchhebb.errors import UserError


def as_images(
    estimator: Any, data: Any, shape: tuple[int, int, int] | None, *, reset: bool, least: int, **labels: Any
) -> Any:
    """data (N, F) or (N, C, H, W) as a tensor (N, C, H, W) of float32 or, where it came so, float64; labels follow.

    Args: estimator, whose `n_features_in_` and `feature_names_in_` are set with `reset` and compared without; shape of
    one image, None for vectors; least, the number of samples needed; labels, y=... to be checked along.
    Raises ValueError as scikit-learn does, UserError for features that do not fill the shape.
    """
    data = plain(data)
    if shape is not None and isinstance(data, np.ndarray) and data.shape[1:] == tuple(shape):
        data = data.reshape(len(data), -1)
    checked = validate_data(
        estimator, data, **labels, reset=reset, dtype=[np.float32, np.float64], ensure_min_samples=least
    )
    matrix, *rest = checked if labels else (checked,)
    sides = (matrix.shape[1], 1, 1) if shape is None else tuple(shape)
    if len(sides) != 3 or math.prod(sides) != matrix.shape[1]:
        raise UserError(f"image_shape must be (channels, height, width) of {matrix.shape[1]} features, got {shape}")
    images = torch.from_numpy(np.require(matrix, requirements=["C", "W"])).view(-1, *sides)  # copied where read-only
    return (images, *rest) if labels else images


def plain(data: Any) -> Any:
    """Tensors as arrays, and half precision as float32; anything else as it is.

    >>> plain(torch.ones(1, 2, dtype=torch.bfloat16)).dtype, plain(np.ones((1, 2), np.float16)).dtype
    (dtype('float32'), dtype('float32'))
    """
    if isinstance(data, Tensor):
        data = data.detach().cpu()
        data = (data.float() if data.dtype == torch.bfloat16 else data).numpy()
    return data.astype(np.float32) if isinstance(data, np.ndarray) and data.dtype == np.float16 else data
