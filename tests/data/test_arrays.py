"""Arrays as a source: every form is the same images, and what does not fit is said."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.data.made import noise
from torchhebb.data import from_arrays, load_data
from torchhebb.errors import UserError


@pytest.mark.parametrize("form", ["NHWC", "NCHW", "float", "tensor", "grey", "grey NCHW"])
def test_arrays_of_every_form_are_the_same_images(form: str):
    array = noise(10, 8)
    grey = np.ascontiguousarray(array[..., 0])
    images = {
        "NHWC": array,
        "NCHW": array.transpose(0, 3, 1, 2),
        "float": array.astype(np.float32) / 255,
        "tensor": torch.from_numpy(array).permute(0, 3, 1, 2),
        "grey": grey,
        "grey NCHW": grey[:, None],
    }[form]
    data = load_data(from_arrays(images))
    wanted = grey[:, None] if "grey" in form else array.transpose(0, 3, 1, 2)
    assert torch.equal(data.train.images, torch.from_numpy(wanted)) and not data.labelled


def test_labels_of_arrays():
    data = load_data(from_arrays(noise(10), np.array([0, 1] * 5, np.uint8), classes=["no", "yes"]), size=3)
    assert data.classes == ("no", "yes") and (len(data.train), len(data.test)) == (8, 2)
    assert data.train.images.shape == (8, 3, 3, 3)
    named = load_data(from_arrays(noise(10), ["dog", "cat"] * 5))
    assert named.classes == ("cat", "dog")
    assert load_data(from_arrays(noise(10), torch.tensor([0, 2] * 5))).classes == ("0", "1", "2")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 8, 8, 4), np.uint8), None, r"images must be \(N, H, W\), .* with 1 or 3 channels, got \(2, 8, 8"),
        (np.zeros((2, 3, 8, 3), np.uint8), None, r"which could be either, got \(2, 3, 8, 3\)"),
        (np.zeros((8, 8), np.uint8), None, r"images must be \(N, H, W\)"),
        (np.zeros((0, 8, 8), np.uint8), None, "images must hold at least one"),
        (np.zeros((2, 8, 8), np.int32), None, r"images must be uint8, or floats in \[0, 1\], got int32"),
        (np.full((2, 8, 8), 255.0), None, r"images of floats must lie in \[0, 1\], got 255 to 255"),
        (np.full((2, 8, 8), np.nan), None, r"images of floats must lie in \[0, 1\], got nan to nan"),
        (np.zeros((2, 8, 8), np.uint8), [0], r"labels must be \(2,\), one for each image, got \(1,\)"),
        (np.zeros((2, 8, 8), np.uint8), [0.5, 1], "labels must be integers or texts, got float64"),
        (np.zeros((2, 8, 8), np.uint8), [-1, 1], "labels must lie from 0 to 1, got -1 to 1"),
    ],
)
def test_arrays_that_do_not_fit_are_said(images: np.ndarray, labels: Any, message: str):
    with pytest.raises(UserError, match=message):
        from_arrays(images, labels)
