"""Image files of strangers: every mode and format, cut, flipped, lying about their size, of thousands of frames."""

import io
import random
import struct
import zlib
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from tests.faults.campaign import Case, Kind, Outcome, Surface
from tests.faults.damage import damaged
from torchhebb.data.decode import read_header, read_pixels
from torchhebb.data.preprocessing import Preprocessing

FORMATS = (
    *("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "PCX", "JPEG2000", "AVIF", "DIB", "TGA", "ICO", "SGI", "MPO"),
    *("IM", "EPS", "PDF", "SPIDER", "XBM", "QOI"),
)
MODES = (
    "1",
    "L",
    "LA",
    "La",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBa",
    "RGBX",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "I",
    "I;16",
    "F",
)
BYTES = 300 << 20
"""More than the pixels of the largest image that is read take, with what decoding copies."""


def picture(seed: int, height: int, width: int, channels: int = 3) -> Image.Image:
    """Noise as an image."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


def saved(random: random.Random) -> tuple[bytes, str]:
    """An image of a format and mode, as far as Pillow can write it, and what it is."""
    size = random.choice(((1, 1), (1, 40), (8, 8), (33, 17), (200, 3)))
    mode = random.choice(MODES)
    try:
        image = picture(random.randrange(100), *size).convert(mode)
    except (ValueError, OSError):
        image = Image.new(mode, size[::-1], 3)
    name = random.choice(FORMATS)
    more = {"save_all": True, "append_images": [image] * random.choice((1, 3, 40))} if random.random() < 0.15 else {}
    if random.random() < 0.15:
        exif = Image.Exif()
        exif[0x0112] = random.choice((0, 2, 3, 6, 8, 9, 99))
        if not (name == "AVIF" and "save_all" in more):  # of several frames with Exif Pillow's writer ends the process
            more["exif"] = exif
    if name == "PNG" and random.random() < 0.2:
        more["transparency"] = random.choice((b"\0" * 256, 0))
    content = io.BytesIO()
    try:
        image.save(content, name, **more)
    except Exception:  # what Pillow cannot write is no input of ours
        content = io.BytesIO()
        picture(0, *size).save(content, "PNG")
        name, mode = "PNG", "RGB"
    return content.getvalue(), f"{name} {mode} {size[1]}x{size[0]}"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def lying_png(random: random.Random) -> tuple[bytes, str]:
    """A PNG whose header says another size than its data have, or whose chunks are huge when unpacked."""
    width = random.choice((0, 1, 8, 60_000, 65_535, 89_000_000, 2**31 - 1, 2**32 - 1))
    height = random.choice((0, 1, 8, 60_000, 89_000_000, 2**31 - 1))
    depth, colour = random.choice((1, 2, 4, 8, 16, 3, 255)), random.choice((0, 2, 3, 4, 6, 1, 200))
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, random.choice((0, 1, 9)))
    bomb = zlib.compress(bytes(random.choice((0, 10, 1000, 50_000_000))))
    extra = random.choice(
        (
            b"",
            chunk(b"zTXt", b"a\0\0" + bomb),
            chunk(b"iCCP", b"a\0\0" + bomb),
            chunk(b"PLTE", b"\0" * 3),
            chunk(b"tRNS", b"\0"),
        )
    )
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", bomb) + chunk(b"IEND", b"")
    return data, f"PNG that says {width}x{height}, depth {depth}, colour {colour}"


def lying_header(random: random.Random) -> tuple[bytes, str]:
    """Headers of other formats that promise many pixels, and files that are none."""
    big = random.choice((b"65536", b"99999999", b"-1", b"0", b"1e9", b"4294967296"))
    found = {
        "PPM": b"P6\n" + big + b" " + big + b"\n255\n\0\0\0",
        "PBM": b"P1\n" + big + b" 2\n1 0",
        "GIF": b"GIF89a\xff\xff\xff\xff\x80\0\0" + b"\0" * 6 + b",\0\0\0\0\xff\xff\xff\xff\0\x08\xff" + b"\0" * 50,
        "BMP": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 2**30, -(2**30), 1, 24, 0, 0, 0, 0, 0, 0),
        "TIFF": b"II*\0\x08\0\0\0\x02\0"
        + struct.pack("<HHII", 256, 4, 1, 2**31)
        + struct.pack("<HHII", 257, 4, 1, 2**31)
        + b"\0" * 4,
        "TIFF loop": b"II*\0\x08\0\0\0\0\0\x08\0\0\0",
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) run\n",
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        "HTML": b"<html><script>alert(1)</script>",
        "pickle": b"\x80\x04cos\nsystem\n(S'touch ran'\ntR.",
        "empty": b"",
        "zeros": b"\0" * 100_000,
        "text": b"no image",
        "QOI": b"qoif" + struct.pack(">IIBB", 2**31, 2**31, 4, 0) + b"\xff" * 9,
        "WEBP": b"RIFF\xff\xff\xff\x7fWEBPVP8X\x0a\0\0\0\x10\0\0\0\xff\xff\xff\xff\xff\xff",
        "noise": random.randbytes(500),
    }
    name = random.choice([*found])
    return found[name], f"{name} made by hand"


FRAME = b"!\xf9\x04\0\0\0\0\0" + b",\0\0\0\0\x01\0\x01\0\0" + b"\x02\x02D\x01\0"
"""One pixel of a GIF."""


def frames(random: random.Random) -> tuple[bytes, str]:
    """Thousands of frames."""
    count = random.choice((5_000, 200_000))
    return b"GIF89a\x01\0\x01\0\x80\0\0" + b"\0\0\0\xff\xff\xff" + FRAME * count + b";", f"GIF of {count:,} frames"


def prepare(folder: Path) -> None:
    pass


def draw(ready: None, random: random.Random, folder: Path) -> Case:
    chance = random.random()
    if chance < 0.02:
        (content, what), group = frames(random), "thousands of frames"
    elif chance < 0.2:
        (content, what), group = lying_png(random), "headers that lie"
    elif chance < 0.35:
        (content, what), group = lying_header(random), "headers that lie"
    else:
        (content, what), group = saved(random), "formats and modes"
        if random.random() < 0.6:
            content, how = damaged(content, random)
            what, group = f"{what}, {how}", "damaged"
    path = folder / f"x.{random.choice(('png', 'jpg', 'gif', 'eps', 'txt'))}"
    if random.random() < 0.5:
        path.write_bytes(content)
        return Case(f"{what}, as a file {path.suffix}", partial(seen, path, path, random.randrange(4)), group)
    return Case(f"{what}, as bytes", partial(seen, path, content, random.randrange(4)), group)


def seen(path: Path, content: Path | bytes, number: int) -> Outcome | None:
    """What every command sees of an image."""
    fit = ("crop", "squash", "pad", "crop")[number]
    preprocessing = Preprocessing(1 + 2 * (number % 2), 8, 8, fit)  # type: ignore[arg-type]
    read_header(path.name, content)
    pixels = read_pixels(path.name, content, preprocessing)
    if pixels.shape != preprocessing.shape or pixels.dtype != np.uint8:
        return Outcome(Kind.DIFFERENCE, f"{pixels.shape} {pixels.dtype}")
    return None


SURFACES = (
    Surface(
        "images",
        "Hostile inputs",
        "Image files of every format and mode, damaged, of thousands of frames, with headers that promise millions of "
        "pixels, and files that are none, under any ending. Right: pixels of the size that was asked for.",
        prepare,
        draw,
        cases=30_000,
        quick=100,
        bytes=BYTES,
    ),
)
