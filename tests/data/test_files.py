"""Files of strangers: formats outside of the list, bombs, and data cut short are refused in one line."""

import io
import os
import stat
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from torchhebb.data.decode import read_header, read_pixels
from torchhebb.data.files import FORMATS, endings, formats, opened
from torchhebb.data.preprocessing import Preprocessing
from torchhebb.errors import UserError

SMALL = Preprocessing(3, 4, 4)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes, colour: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def encoded(kind: str, size: int = 40, **options) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, kind, **options)
    return buffer.getvalue()


def test_none_of_the_formats_starts_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    marker, ghostscript = tmp_path / "started", tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {marker}\n")
    ghostscript.chmod(ghostscript.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", str(ghostscript))
    path = tmp_path / "x.png"
    path.write_bytes(encoded("EPS"))
    with pytest.raises(UserError, match="cannot read the image .*x.png: it is not an image"):
        read_pixels(str(path), path, SMALL)
    assert not marker.exists()


def test_the_list_is_closed():
    assert "EPS" not in FORMATS and "WMF" not in FORMATS and {"PNG", "JPEG", "WEBP", "TIFF", "GIF"} <= set(formats())
    assert {".jpg", ".jpeg", ".png", ".webp", ".tif", ".bmp"} <= endings()
    assert not {".pdf", ".h5", ".mpg", ".eps", ".wmf"} & endings()


@pytest.mark.parametrize("size", [(1, 89_000_000), (70_000, 1), (20_000, 20_000)])
def test_too_many_pixels_are_refused_before_any_is_decoded(size: tuple[int, int]):
    data = png(*size, bytes(100))
    for read in (lambda: read_pixels("here", data, SMALL), lambda: read_header("here", data)):
        with pytest.raises(UserError, match="cannot read the image here: ") as caught:
            read()
        assert "\n" not in str(caught.value)


def test_a_png_with_a_changed_byte_is_refused():
    whole = bytearray(png(8, 8, bytes(72)))
    with opened("here", bytes(whole)):
        pass
    whole[whole.index(b"IDAT") - 5] ^= 1  # in the checksum of the header
    with pytest.raises(UserError, match="cannot read the image here"):
        read_pixels("here", bytes(whole), SMALL)
    data = png(8, 8, bytes(range(72)))
    place = data.index(b"IDAT") + 20
    with pytest.raises(UserError, match="the checksum of its IDAT does not match"):
        read_pixels("here", data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :], SMALL)


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_a_png_whose_stream_ends_early_is_refused(rows: int):
    whole = bytes(9 * 8)
    with opened("here", png(8, 8, whole)) as picture:
        assert np.asarray(picture).shape == (8, 8)
    with pytest.raises(UserError, match=rf"its data end after {rows * 9} of 72 bytes"):
        read_pixels("here", png(8, 8, whole[: rows * 9]), SMALL)


def test_a_png_that_is_a_bomb_is_not_inflated(monkeypatch: pytest.MonkeyPatch):
    data = png(8, 8, bytes(50_000_000))
    read_pixels("here", data, SMALL)  # what lies behind the last row is not looked at


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (17, 9)])
def test_whole_pngs_of_every_kind_pass(mode: str, size: tuple[int, int], interlaced: bool):
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, "PNG", **({"interlace": True} if interlaced else {}))
    assert read_pixels("here", buffer.getvalue(), Preprocessing(1, 2, 2)).shape == (1, 2, 2)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "JPEG2000"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_files_cut_short_are_refused(kind: str, share: float):
    data = encoded(kind)
    assert read_pixels("here", data, SMALL).shape == (3, 4, 4)
    with pytest.raises(UserError, match="cannot read the image here: ") as caught:
        read_pixels("here", data[: int(share * len(data))], SMALL)
    assert "\n" not in str(caught.value)
