"""Every mode of image becomes eight bits by the rule that is written down for it."""

import io

import numpy as np
import pytest
from PIL import Image

from torchhebb.data.decode import read_header, read_pixels
from torchhebb.data.preprocessing import Preprocessing
from torchhebb.errors import UserError


def encoded(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(data: bytes, channels: int = 1, width: int = 2, height: int = 1) -> list:
    return read_pixels("here", data, Preprocessing(channels, height, width)).tolist()


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_sixteen_bit_images_are_scaled_by_the_bits_that_they_use(bits: int):
    most = 2**bits - 1
    deep = Image.fromarray(np.array([[0, most // 3, most]], np.uint16))
    assert pixels(encoded(deep), width=3) == [[[0, 85, 255]]]
    assert pixels(encoded(deep, "TIFF"), width=3) == [[[0, 85, 255]]]


def test_the_bits_are_even_and_at_least_eight():
    assert pixels(encoded(Image.fromarray(np.array([[0, 100]], np.uint16)))) == [[[0, 100]]]
    assert pixels(encoded(Image.fromarray(np.array([[0, 256]], np.uint16)))) == [[[0, round(256 * 255 / 1023)]]]


def test_thirty_two_bits():
    wide = Image.fromarray(np.array([[0, 2**20 - 1]], np.int32))
    assert pixels(encoded(wide, "TIFF")) == [[[0, 255]]]
    with pytest.raises(UserError, match="pixels must not be negative, got -1"):
        pixels(encoded(Image.fromarray(np.array([[0, -1]], np.int32)), "TIFF"))


def test_floats_are_fractions_or_eight_bits():
    for values, found in (([0.0, 1.0], [0, 255]), ([0.5, 0.25], [128, 64]), ([2.0, 255.0], [2, 255])):
        assert pixels(encoded(Image.fromarray(np.array([values], np.float32)), "TIFF")) == [[found]]
    for bad in (-1.0, 256.0, np.nan, np.inf):
        with pytest.raises(UserError, match=r"pixels of a float image must lie in \[0, 1\] or \[0, 255\]"):
            pixels(encoded(Image.fromarray(np.array([[0, bad]], np.float32)), "TIFF"))


def test_one_bit():
    assert pixels(encoded(Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1"))) == [[[0, 255]]]


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_alpha_is_composed_on_white(kind: str):
    colour = Image.fromarray(np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], np.uint8), "RGBA")
    data = encoded(colour, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    assert pixels(data, 3) == [[[10, 255]], [[20, 255]], [[30, 255]]]


def test_grey_with_alpha_and_half_transparency():
    grey = Image.merge("LA", [Image.new("L", (2, 1), 0), Image.fromarray(np.array([[255, 128]], np.uint8))])
    assert pixels(encoded(grey)) == [[[0, 127]]] and read_header("here", encoded(grey))[0]


def test_a_transparent_palette_is_white_and_an_opaque_one_its_colours():
    picture = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    picture.putpalette([200, 0, 0, 0, 200, 0])
    assert pixels(encoded(picture), 3) == [[[200, 0]], [[0, 200]], [[0, 0]]]
    assert pixels(encoded(picture, transparency=1), 3) == [[[200, 255]], [[0, 255]], [[0, 255]]]
    assert pixels(encoded(picture, "GIF", transparency=1), 3) == [[[200, 255]], [[0, 255]], [[0, 255]]]


def test_cmyk_is_converted():
    picture = Image.new("CMYK", (2, 1), (0, 255, 255, 0))
    assert pixels(encoded(picture, "TIFF"), 3) == [[[255, 255]], [[0, 0]], [[0, 0]]]


def test_colour_becomes_grey_by_luma():
    assert pixels(encoded(Image.new("RGB", (2, 1), (255, 0, 0)))) == [[[76, 76]]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_stands_upright(orientation: int):
    upright = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: np.rot90(upright, 2).T,
        8: np.rot90(upright, -1),
    }[orientation]
    tag = Image.Exif()
    tag[0x0112] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), exif=tag)
    assert pixels(data, width=3, height=2) == [upright.tolist()]
    assert read_header("here", data)[1] == (3, 2)


def test_of_several_frames_the_first_is_read():
    frames = [Image.new("RGB", (2, 1), (shade, 0, 0)) for shade in (10, 200, 90)]
    for kind in ("TIFF", "PNG"):
        assert pixels(encoded(frames[0], kind, save_all=True, append_images=frames[1:]), 3)[0] == [[10, 10]]
