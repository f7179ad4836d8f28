"""Every command sees the pixels that training saw: over sources, rules for the size, and image modes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch.nn.modules.module import register_module_forward_pre_hook

from torchhebb.cli import main
from torchhebb.nn import Network

SIZE = 12

_EXIF_ORIENTATION, _ROTATED = 0x0112, 6


def _grey(pixels: np.ndarray, path: Path) -> None:
    Image.fromarray(pixels[..., 0]).save(path)


def _colour(pixels: np.ndarray, path: Path) -> None:
    Image.fromarray(pixels).save(path)


def _palette(pixels: np.ndarray, path: Path) -> None:
    Image.fromarray(pixels).quantize(32).save(path)


def _alpha(pixels: np.ndarray, path: Path) -> None:
    opaque = Image.fromarray(pixels)
    opaque.putalpha(Image.fromarray(pixels[..., 1]))
    opaque.save(path)


def _sixteen_bits(pixels: np.ndarray, path: Path) -> None:
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 16).save(path)  # 12 bits of 16 are used


def _rotated(pixels: np.ndarray, path: Path) -> None:
    exif = Image.Exif()
    exif[_EXIF_ORIENTATION] = _ROTATED
    Image.fromarray(pixels).save(path, exif=exif)


Writer = Callable[[np.ndarray, Path], None]
MODES: dict[str, tuple[Writer, ...]] = {
    "grey": (_grey, _sixteen_bits),
    "colour": (_colour, _palette, _alpha, _rotated, _grey),
}


def photographs(root: Path, modes: tuple[Writer, ...]) -> list[Path]:
    """Two classes of images that are wider or higher than a square, all different, in each of these modes."""
    draw, paths = np.random.default_rng(0), []
    for number in range(20):
        height, width = (20, 31) if number % 2 else (27, 16)
        path = root / f"class{number // 10}" / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        modes[number // 2 % len(modes)](draw.integers(0, 256, (height, width, 3), dtype=np.uint8), path)
        paths.append(path)
    return paths


def as_parquet(paths: list[Path], path: Path) -> None:
    images = [{"bytes": file.read_bytes(), "path": file.name} for file in paths]
    path.parent.mkdir()
    pq.write_table(pa.table({"image": images, "label": [file.parent.name for file in paths]}), path)


@contextmanager
def seen_by_networks() -> Iterator[set[bytes]]:
    """The images, as bytes of their pixels, that pass through a network."""
    found: set[bytes] = set()

    def keep(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if isinstance(module, Network) and inputs[0].dim() == 4 and not inputs[0].is_meta:
            pixels = (inputs[0].detach().float() * 255).round().byte()
            found.update(image.contiguous().numpy().tobytes() for image in pixels)

    handle = register_module_forward_pre_hook(keep)
    try:
        yield found
    finally:
        handle.remove()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
@pytest.mark.parametrize("source", ["folder", "parquet"])
def test_every_command_sees_what_training_saw(
    source: str, fit: str, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCHHEBB_STORE", str(tmp_path / "store"))
    paths = photographs(tmp_path / "photos", MODES[mode])
    as_parquet(paths, tmp_path / "tables" / "train.parquet")
    data = "folder:photos" if source == "folder" else "parquet:tables"
    flags = ["--size", str(SIZE), "--fit", fit, "--architecture.blocks.0.channels", "4", "--learning.epochs", "1"]
    with seen_by_networks() as trained:
        assert main(["train", "--data", data, "--out", "run", *flags, "--baselines"]) == 0
    assert len({image for image in trained if any(image)}) >= len(paths)  # training and test images, and blank ones

    for command in (
        ["predict", "run", *map(str, paths)],
        ["predict", "run", data],
        ["embed", "run", data, "--out", "features.npz"],
        ["embed", "run", "photos", "--out", "features.csv"],
        ["explore", "run", data, "--map", "pca"],
        ["evaluate", "accuracy", "run", "--readouts", "trained"],
        ["report", "run"],
    ):
        with seen_by_networks() as seen:
            assert main(command) == 0, command
        shown = {image for image in seen if any(image)}  # what measures memory is blank
        assert shown <= trained, command
        if command[0] in ("predict", "embed", "explore"):
            assert len(shown) == len(paths), command
