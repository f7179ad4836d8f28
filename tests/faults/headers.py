"""Weights files whose header says something else than their tensors, with a checksum that fits."""

import json
import random
import struct
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as tensors_of

from tests.faults.campaign import Case, Surface
from tests.faults.hostile import changed
from torchhebb import load, save
from torchhebb.nn import (
    Architecture,
    ConvBlock,
    LinearBlock,
    LinearReadout,
    NeuronLabels,
    Pool,
    SPHeReConvBlock,
    Tap,
    WhitenedBlock,
)
from torchhebb.nn.tensors import write_tensors
from torchhebb.rules import BCM, Foldiak

NETWORKS = {
    "conv": Architecture((1, 6, 6), (ConvBlock(3, 3, pool=Pool()), LinearBlock(4))),
    "sphere": Architecture((3, 6, 5), (SPHeReConvBlock(4, projection=4),), mean=(0.5,) * 3, std=(0.2,) * 3),
    "whitened": Architecture((1, 6, 6), (WhitenedBlock(4, 2), WhitenedBlock(4, 1)), taps=(Tap(1, 2), Tap(2, 1))),
    "stateful": Architecture((1, 4, 4), (ConvBlock(3, 3, Foldiak()), LinearBlock(4, BCM(), bias=True))),
}
HOSTILE = (float("nan"), float("inf"), 1e38, -1e38, 0.0)


def prepare(folder: Path) -> Path:
    for name, architecture in NETWORKS.items():
        network = architecture.build()
        width = architecture.output_shape()
        readout = NeuronLabels(width[0], 2) if len(width) == 1 else LinearReadout(width.numel(), 2)
        save(network.attach(readout, ("one", "two")), folder / f"{name}.safetensors")
    return folder


def draw(given: Path, random: random.Random, folder: Path) -> Case:
    name = random.choice([*NETWORKS])
    content = (given / f"{name}.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, tensors = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["torchhebb"]), tensors_of(content)
    header.pop("crc32")
    if random.random() < 0.75:
        header, kind, what = changed(header, random)
        group = "headers"
    else:
        kind, what, group = *other_tensors(tensors, random), "tensors"
    path = folder / "model.safetensors"
    if not isinstance(header, dict):
        header = {"model": header}
    return Case(f"{name}: {what} {kind}", partial(loaded, tensors, header, path), group)


def other_tensors(tensors: dict[str, torch.Tensor], random: random.Random) -> tuple[str, str]:
    """Change one of the tensors in place; its kind, and in words what."""
    key = random.choice([*tensors])
    tensor = tensors[key]
    kind = random.choice(("removed", "added", "reshaped", "retyped", "filled", "emptied", "enlarged"))
    if kind == "removed":
        del tensors[key]
    elif kind == "added":
        tensors[random.choice(("x", "block9.weight", "readout.x", "", "block1"))] = torch.zeros(2)
    elif kind == "reshaped":
        tensors[key] = tensor.reshape(-1) if tensor.dim() > 1 else tensor.reshape(1, -1)
    elif kind == "retyped":
        dtype = random.choice((torch.int64, torch.bool, torch.complex64, torch.float16, torch.float64, torch.uint8))
        tensors[key] = tensor.to(dtype)
    elif kind == "filled":
        tensors[key] = torch.full_like(tensor, random.choice(HOSTILE)) if tensor.is_floating_point() else tensor - 10
    else:
        tensors[key] = tensor.reshape(-1)[:0] if kind == "emptied" else torch.cat([tensor.reshape(-1)] * 3)
    return kind, key


def loaded(tensors: dict[str, torch.Tensor], header: dict[str, Any], path: Path) -> None:
    """Write the file as a stranger can, load it, and use what was loaded."""
    try:
        write_tensors(tensors, header, path)
    except (ValueError, UnicodeError, RecursionError):
        return  # no file holds that
    model = load(path)
    architecture = getattr(model, "architecture", None)
    if architecture is not None:
        dtype = next(tensor.dtype for tensor in model.state_dict().values() if tensor.is_floating_point())
        pixels = torch.rand(2, *architecture.input_shape, dtype=dtype)
        model(pixels)
        if getattr(model, "readout", None) is not None:
            model.classifier(pixels)  # type: ignore[operator]


SURFACES = (
    Surface(
        "weights-headers",
        "Hostile inputs",
        "`load` of a weights file whose header was changed, or whose tensors are other ones, the checksum fitting. "
        "Right: a network that answers.",
        prepare,
        draw,
        cases=20_000,
        quick=80,
    ),
)
