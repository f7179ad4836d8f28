"""A weights file with a byte changed or cut off: one line, or what was saved."""

import random
from functools import partial
from pathlib import Path

import torch

from tests.faults.campaign import RIGHT, Case, Kind, Outcome, Surface
from tests.faults.damage import damaged
from torchhebb import load, save
from torchhebb.nn import Architecture, ConvBlock, LinearBlock, Pool


def prepare(folder: Path) -> Path:
    path = folder / "model.safetensors"
    if not path.exists():
        save(Architecture((1, 6, 6), (ConvBlock(3, 3, pool=Pool()), LinearBlock(4))).build(), path)
    return path


def draw(saved: Path, random: random.Random, folder: Path) -> Case:
    data, what = damaged(saved.read_bytes(), random)
    path = folder / saved.name
    path.write_bytes(data)
    return Case(f"load: {what}", partial(loaded, path, saved), what.split()[0])


def loaded(path: Path, saved: Path) -> Outcome:
    found, expected = load(path).state_dict(), load(saved).state_dict()
    same = found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)
    return RIGHT if same else Outcome(Kind.DIFFERENCE, "other numbers")


SURFACES = (
    Surface(
        "weights-file",
        "Damaged files",
        "`load` of a weights file in which bytes were changed, cut off or added. Right: the weights that were saved.",
        prepare,
        draw,
        cases=2000,
        quick=80,
    ),
)
