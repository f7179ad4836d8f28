"""Decoding by itself: records are closed, counted and compared."""

import io
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from torchhebb.data import from_arrays, load_data
from torchhebb.data.decode import decode, read_header
from torchhebb.data.preprocessing import Preprocessing
from torchhebb.data.sources import DigitsSource
from torchhebb.data.survey import survey
from torchhebb.errors import UserError


def png(size: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((size, size), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def allocate(shape):
    return torch.zeros(shape, dtype=torch.uint8)


def test_records_are_closed_while_the_error_still_lives():
    closed = []

    def records():
        try:
            yield "first", b"junk", 0
        finally:
            closed.append(True)

    with pytest.raises(UserError, match="cannot read the image first: it is not an image") as caught:
        decode(records(), torch.zeros(1, dtype=torch.int64), Preprocessing(1, 2, 2), allocate)
    assert closed and caught.tb is not None


@pytest.mark.parametrize("expected", [0, 3])
def test_a_source_with_fewer_images_than_it_said_is_refused(expected):
    records = (record for record in [("one", png(2), 0)] * min(expected, 2))
    with pytest.raises(UserError, match=f"expected {expected} images, found {min(expected, 2)}"):
        decode(records, torch.zeros(expected, dtype=torch.int64), Preprocessing(1, 2, 2), allocate)


def test_sizes_are_given_as_width_by_height():
    wide = io.BytesIO()
    Image.fromarray(np.zeros((2, 5), np.uint8)).save(wide, "PNG")
    records = (record for record in [("one", png(2), 0), ("two", wide.getvalue(), 0)])
    with pytest.raises(UserError, match="one is 2x2, two is 5x2"):
        decode(records, torch.zeros(2, dtype=torch.int64), Preprocessing(1, 2, 2), allocate, same_size=True)


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_that_are_as_wanted_are_copied_and_not_decoded(channels, monkeypatch):
    pixels = np.arange(2 * 4 * 5 * channels, dtype=np.uint8).reshape(2, 4, 5, channels)

    def decoded(height, width):
        records = ((str(row), image, 3) for row, image in enumerate(pixels))
        labels = torch.zeros(2, dtype=torch.int64)
        return decode(records, labels, Preprocessing(channels, height, width, "squash"), allocate), labels

    assert decoded(8, 5)[0].shape == (2, channels, 8, 5)  # scaled, so through a picture
    monkeypatch.setattr("torchhebb.data.decode._picture", None)
    images, labels = decoded(4, 5)
    assert torch.equal(images, torch.from_numpy(pixels).permute(0, 3, 1, 2)) and labels.tolist() == [3, 3]
    with pytest.raises(TypeError):
        decoded(8, 5)


def test_the_digits_are_read_once(monkeypatch):
    before = load_data("digits")
    monkeypatch.setattr("sklearn.datasets.load_digits", None)
    again = load_data("digits")
    assert torch.equal(before.train.images, again.train.images) and before.fingerprint == again.fingerprint
    again.train.images.zero_()
    assert load_data("digits").fingerprint == before.fingerprint
    _, pixels, _ = next(DigitsSource().open()["train"].records())
    assert isinstance(pixels, np.ndarray)
    with pytest.raises(ValueError, match="read-only"):
        pixels[:] = 0


def test_of_an_array_one_image_is_looked_at(monkeypatch):
    seen = []

    def looked_at(*image):
        seen.append(image)
        return read_header(*image)

    monkeypatch.setattr(sys.modules[survey.__module__], "read_header", looked_at)
    found = survey(from_arrays(np.zeros((5, 4, 6, 3), np.uint8), labels=[0, 1, 2, 0, 1]))
    assert len(seen) == 1 and (found.images, found.classes, found.typical) == (5, 3, (6, 4))


def test_an_array_that_is_read_only_is_copied():
    pixels = np.full((2, 4, 5, 3), 7, np.uint8)
    pixels.setflags(write=False)
    assert bool((load_data(from_arrays(pixels)).train.images == 7).all())
