"""Sheets are exact to the pixel; what is not there is clear."""

import pytest
import torch

from torchhebb.evaluate.figures.tiles import TilePanel, checkered, sheet, stack, stretched


def test_every_pixel_has_its_place_and_colour() -> None:
    images = torch.rand(5, 3, 16, 32, generator=torch.Generator().manual_seed(0))
    framed = sheet(images, 2)
    pixels, factor, gap = framed[1:-1, 1:-1], 2, (round(0.12 * 32), round(0.12 * 64))
    assert pixels.shape == (3 * 32 + 2 * gap[0], 2 * 64 + gap[1], 4)
    for number, image in enumerate(images):
        top, left = number // 2 * (32 + gap[0]), number % 2 * (64 + gap[1])
        tile = torch.from_numpy(pixels[top : top + 32, left : left + 64])
        for row, column in ((0, 0), (7, 9), (15, 31)):
            block = tile[row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
            expected = [*(255 * image[:, row, column]).round().int().tolist(), 255]
            assert (block == torch.tensor(expected)).all()
    assert (framed[0, :66] == [150, 150, 150, 255]).all() and (pixels[32, :64] == [150, 150, 150, 255]).all()
    assert (pixels[33 : 31 + gap[0], :, 3] == 0).all() and (pixels[-31:, -63:, 3] == 0).all()
    apart = sheet(images, 2, lead=1)
    assert apart.shape[1] == framed.shape[1] + round(0.35 * 64)
    assert (apart[:, :66] == framed[:, :66]).all() and (apart[:, -66:] == framed[:, -66:]).all()


def test_other_channels_are_grey_and_nothing_is_clear() -> None:
    images = torch.tensor([[0.2, 0.4], [0.6, torch.nan]]).view(1, 2, 1, 2).repeat(1, 1, 2, 1)
    pixels = sheet(images, 1)[1:-1, 1:-1]
    assert (pixels[:, :32] == [102, 102, 102, 255]).all() and (pixels[:, 32:, 3] == 0).all()


def test_what_is_outside_is_chequered() -> None:
    images = torch.full((1, 1, 2, 3), torch.nan)
    images[..., 1, 2] = 0.3
    assert checkered(images).flatten().tolist() == pytest.approx([0.85, 0.95, 0.85, 0.95, 0.85, 0.3])


def test_each_image_is_stretched_by_itself() -> None:
    images = torch.tensor([[1.0, 2.0, 5.0], [-3.0, torch.nan, -1.0], [4.0, 4.0, 4.0]]).view(3, 1, 1, 3)
    expected = torch.tensor([[0.0, 0.25, 1.0], [0.0, torch.nan, 1.0], [0.0, 0.0, 0.0]]).view(3, 1, 1, 3)
    torch.testing.assert_close(stretched(images), expected, equal_nan=True)


def test_panels_stand_under_each_other_in_their_size() -> None:
    panels = [
        TilePanel("small", torch.rand(6, 1, 4, 4), 3, 0.2),
        TilePanel("large\nand wide", torch.rand(2, 3, 4, 8), 2, 1.0),
    ]
    canvas = stack(panels)
    width, height = canvas.get_size_inches()
    first, second = canvas.axes
    assert first.get_position().width * width == pytest.approx(0.2 * 3.24)
    assert second.get_position().height * height == pytest.approx(
        0.5
    ) and second.get_position().width * width == pytest.approx(2.12)
    assert first.get_position().y0 > second.get_position().y1 and second.get_position().y0 > 0
    assert [text.get_text() for text in canvas.texts] == ["small", "large\nand wide"]
