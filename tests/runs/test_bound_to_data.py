"""A run folder belongs to the images that it began with: a change is one line that says what changed."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.tiny import tiny_recipe
from torchhebb.data import Store
from torchhebb.errors import UserError
from torchhebb.files import read_json, write_json
from torchhebb.nn import Architecture, ConvBlock
from torchhebb.runs import TrainOptions, read_config, run_recipe
from torchhebb.train import Readout


def write(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)).save(path)


def add(root: Path) -> None:
    for number in range(100, 105):
        write(root / "cat" / f"{number}.png", number)


def add_class(root: Path) -> None:
    for number in range(5):
        write(root / "eel" / f"{number}.png", number)


def rename_class(root: Path) -> None:
    (root / "cat").rename(root / "ape")


def change(root: Path) -> None:
    write(root / "cat" / "0.png", 77)
    os.utime(root / "cat" / "0.png", ns=(1, 1))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (add, "it had 20 images and has 25"),
        (add_class, "its classes are now with eel"),
        (rename_class, "its classes are now without cat and with ape"),
        (change, "its images or labels are different"),
    ],
)
@pytest.mark.parametrize("seeds", [1, 2])
def test_changed_images_are_said_and_nothing_is_overwritten(
    tmp_path: Path, harm: Callable[[Path], None], words: str, seeds: int
):
    root, folder, store = tmp_path / "images", tmp_path / "run", Store(tmp_path / "store")
    for number in range(20):
        write(root / ("cat", "dog")[number % 2] / f"{number}.png", number)
    recipe = tiny_recipe(
        data=f"folder:{root}",
        architecture=Architecture((1, 8, 8), (ConvBlock(2, 3),)),
        readout=Readout(epochs=1),
        baselines=(),
    )
    options = TrainOptions(precision="float32")
    run_recipe(recipe, options, folder=folder, store=store)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    harm(root)
    with pytest.raises(UserError, match=f"changed since .* began: {words}; choose another folder"):
        run_recipe(tiny_recipe(**{**vars(recipe), "seeds": seeds}), options, folder=folder, store=store)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    "data",
    [
        {"name": "x", "fingerprint": "0", "classes": ["cat", 0.5], "images": [10, 10]},
        {"name": "x", "fingerprint": "0", "classes": ["cat", "dog"], "images": [10, {}]},
        3,
    ],
)
def test_a_config_whose_data_make_no_sense_is_damaged(tmp_path: Path, data: Any):
    folder = tmp_path / "run"
    run_recipe(tiny_recipe(seeds=1, baselines=(), readout=Readout(epochs=1)), folder=folder)
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", config | {"data": data})
    recipe, options = read_config(folder)
    with pytest.raises(UserError, match="config.json is damaged"):
        run_recipe(replace(recipe, seeds=2), options, folder=folder)


def test_a_run_of_an_earlier_version_goes_on(tmp_path: Path):
    root, folder, store = tmp_path / "images", tmp_path / "run", Store(tmp_path / "store")
    for number in range(20):
        write(root / ("cat", "dog")[number % 2] / f"{number}.png", number)
    recipe = tiny_recipe(
        data=f"folder:{root}", architecture=Architecture((1, 8, 8), (ConvBlock(2, 3),)), readout=Readout(epochs=1),
        baselines=(),
    )  # fmt: skip
    options = TrainOptions(precision="float32")
    run_recipe(recipe, options, folder=folder, store=store)
    config = json.loads((folder / "config.json").read_text())
    config.pop("checksum", None)
    del config["data"]
    (folder / "config.json").write_text(json.dumps(config))
    run_recipe(recipe, options, folder=folder, store=store)
