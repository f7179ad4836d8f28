"""A run that takes a second: the digits recipe with a handful of neurons, as a value and as flags."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from torchhebb.data import Data, Images, load_data
from torchhebb.nn import Architecture, ConvBlock, Network, Pool
from torchhebb.readouts import Readout
from torchhebb.recipes import get_recipe
from torchhebb.rules import SoftHebb
from torchhebb.train import Learning, Recipe
from torchhebb.train.log import read_log

# The architecture of `tiny_recipe` for the command line.
FLAGS = (
    *("--architecture.blocks.0.channels", "4", "--architecture.blocks.1.channels", "8"),
    *("--precision", "float32", "--seeds", "1", "--readout.epochs", "2", "--readout.batch-size", "200"),
    *("--learning.batch-size", "50", "--learning.epochs", "1"),
)

ARCHITECTURE = Architecture(
    (1, 8, 8),
    (
        ConvBlock(4, 3, SoftHebb(1.0), power=0.7, init_radius=3.0, lr=0.08),
        ConvBlock(8, 3, SoftHebb(0.65), power=1.4, pool=Pool("max", 4, 2, 1), init_radius=3.0, lr=0.005),
    ),
)


def tiny_recipe(**changes: Any) -> Recipe:
    """The digits recipe on `ARCHITECTURE`, one seed and few steps."""
    tiny = {
        "architecture": ARCHITECTURE,
        "learning": Learning(batch_size=50, epochs=1),
        "readout": Readout(epochs=2, batch_size=200),
        "seeds": 1,
    }
    return replace(get_recipe("softhebb2023-digits"), **{**tiny, **changes})


def digits(count: int) -> Images:
    """The first training digits."""
    return load_data("digits").train.select(torch.arange(count))


def few_digits() -> Data:
    """A part of the digits, for runs in which it does not matter how many there are."""
    whole = load_data("digits")
    return replace(whole, train=digits(300), test=whole.test.select(torch.arange(100)), fingerprint="few digits")


def state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of everything learned."""
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two states are bit-identical."""
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def learned(folder: Path) -> dict[str, bytes]:
    """The files of a run folder that hold what was learned, by relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))}


def untimed(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl without the fields that tell time: what two runs of one recipe share."""
    return [{name: value for name, value in line.items() if "second" not in name} for line in read_log(path)]


def network(seed: int = 0) -> Network:
    """The tiny network before it learned."""
    return ARCHITECTURE.build(seed)


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file as by hand, but without the checksum that would tell."""
    value = json.loads(path.read_text(encoding="utf-8"))
    value.pop("checksum", None)
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")
