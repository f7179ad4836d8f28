"""Decoding by itself: records are closed, counted and compared."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from torchhebb.data.decode import decode
from torchhebb.data.preprocessing import Preprocessing
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
