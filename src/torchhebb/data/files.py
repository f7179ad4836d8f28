"""Safe opening of untrusted image files: a fixed list of formats, and limits that are checked before decoding."""

import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from struct import unpack_from
from typing import Any

from torchhebb.errors import UserError, need

FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "QOI", "TIFF", "WEBP")
"""The formats that are opened, whatever the extension of a file: none of them starts another program."""
MOST_BYTES = 1 << 29
MOST_PIXELS = 1 << 26  # below the number at which Pillow itself begins to warn
MOST_SIDE = 1 << 16
_PNG = b"\x89PNG\r\n\x1a\n"
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by PNG's colour type
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


@contextmanager
def opened(place: str, content: bytes | Path, *, whole: bool = True) -> Iterator[Any]:
    """The PIL image of `content`, of several frames the first; every error while reading becomes a
    UserError that names `place`.  With `whole` false the pixels are not read, and their data are not checked."""
    image = need("PIL.Image", "reading images")
    try:
        with image.open(_source(content), formats=formats()) as picture:
            width, height = picture.size
            if width * height > MOST_PIXELS or max(width, height) > MOST_SIDE:
                raise ValueError(
                    f"{width}x{height} pixels; at most {MOST_PIXELS >> 20} million are read, {MOST_SIDE} a side"
                )
            if whole and picture.format == "PNG":
                _check_png(content if isinstance(content, bytes) else content.read_bytes())
            yield picture
    # A damaged image makes PIL raise nearly anything: OSError, ValueError, SyntaxError, struct.error, its bomb error.
    except Exception as error:
        detail = "it is not an image" if type(error).__name__ == "UnidentifiedImageError" else reason(error)
        raise UserError(f"cannot read the image {place}: {detail}") from error


@cache
def formats() -> tuple[str, ...]:
    """The members of FORMATS that this build of Pillow can read."""
    image = need("PIL.Image", "reading images")
    image.init()
    return tuple(name for name in FORMATS if name in image.OPEN)


@cache
def endings() -> frozenset[str]:
    """The extensions, in lower case, of image files: .jpg, .png, ..."""
    known = need("PIL.Image", "reading images").registered_extensions()
    return frozenset(ending for ending, name in known.items() if name in formats())


def reason(error: BaseException) -> str:
    """The first line of an error, or its type where it has none; of the file system's what went wrong alone."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _source(content: bytes | Path) -> io.BytesIO | Path:
    if isinstance(content, Path) and content.exists() and not content.is_file():
        raise ValueError("it is no regular file")
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"{size:,} bytes; at most {MOST_BYTES:,} are read")
    return io.BytesIO(content) if isinstance(content, bytes) else content


def _check_png(data: bytes) -> None:
    """Raise ValueError where a PNG's data are damaged or end before its last row: Pillow would give other pixels."""
    header = data.find(b"IHDR")
    width, height, depth, colour, _, _, interlaced = unpack_from(">IIBBBBB", data, header + 4)
    bits = depth * _SAMPLES.get(colour, 1)
    expected = sum(rows * (1 + -(-columns * bits // 8)) for columns, rows in _passes(width, height, interlaced))
    stream, found, at = zlib.decompressobj(), 0, len(_PNG)
    while at + 8 <= len(data) and found < expected:
        length, kind = unpack_from(">I4s", data, at)
        body = data[at + 4 : at + 8 + length]
        # Of the chunks that pixels depend on, whose names begin with a capital letter.
        if not kind[0] & 0x20 and data[at + 8 + length : at + 12 + length] != zlib.crc32(body).to_bytes(4, "big"):
            raise ValueError(f"the checksum of its {kind.decode('latin-1')} does not match")
        rest = data[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        while rest and found < expected and not stream.eof:
            found += len(stream.decompress(rest, 1 << 20))
            rest = stream.unconsumed_tail
        at += length + 12
    if found < expected:
        raise ValueError(f"its data end after {found:,} of {expected:,} bytes")


def _passes(width: int, height: int, interlaced: int) -> Iterator[tuple[int, int]]:
    for left, top, across, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            yield columns, rows
