"""A weights file with bytes flipped, cut or a hostile header: one line, or what was saved; never another error."""

import json
import random
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from torchhebb import load, save
from torchhebb.errors import UserError
from torchhebb.nn import Architecture, ConvBlock, LinearBlock, Pool

SEED = 0
TRIED = 300
HOSTILE: tuple[Any, ...] = (None, True, -1, 0, 2**70, 1e308, "", "x", "\x1b[31m", [], {}, [[[]]], {"type": "Recipe"})


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    blocks = (ConvBlock(3, 3, pool=Pool()), LinearBlock(4))
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save(Architecture((1, 6, 6), blocks).build(), path)
    return path


def outcome(path: Path, expected: dict[str, torch.Tensor]) -> str:
    """What a load comes to: "refused" in one line, "same" as what was saved, or what went wrong."""
    try:
        found = load(path).state_dict()
    except UserError as error:
        line = str(error)
        return "refused" if "\n" not in line and "\x1b" not in line and len(line) < 1000 else f"a bad line: {line!r}"
    same = found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)
    return "same" if same else "other numbers"


def test_flipped_and_cut_bytes(saved: Path, tmp_path: Path) -> None:
    whole, expected, draw = saved.read_bytes(), load(saved).state_dict(), random.Random(SEED)
    path = tmp_path / "model.safetensors"
    wrong = []
    for _ in range(TRIED):
        data, place = bytearray(whole), draw.randrange(len(whole))
        if draw.random() < 0.2:
            data = data[:place]
        else:
            data[place] ^= 1 << draw.randrange(8)
        path.write_bytes(data)
        if (found := outcome(path, expected)) not in ("refused", "same"):
            wrong.append((place, found))
    assert not wrong


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container and key inside a JSON value."""
    keys = [*value] if isinstance(value, dict) else [*range(len(value))] if isinstance(value, list) else []
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


def test_hostile_headers(saved: Path, tmp_path: Path) -> None:
    whole, draw = saved.read_bytes(), random.Random(SEED)
    expected = load(saved).state_dict()
    (length,) = struct.unpack("<Q", whole[:8])
    path = tmp_path / "model.safetensors"
    wrong = []
    for _ in range(TRIED):
        header = json.loads(whole[8 : 8 + length])
        name = draw.choice([*header["__metadata__"]])
        try:
            inner = json.loads(header["__metadata__"][name])
        except ValueError:
            inner = header["__metadata__"][name]
        if inside := places(inner):
            container, key = draw.choice(inside)
            container[key] = draw.choice(HOSTILE)
        else:
            inner = draw.choice(HOSTILE)
        header["__metadata__"][name] = json.dumps(inner)
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + whole[8 + length :])
        if (found := outcome(path, expected)) not in ("refused", "same"):
            wrong.append((name, inner, found))
    assert not wrong
