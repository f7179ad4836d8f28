"""Does a device compute what a CPU does?  Each block of the papers learns on both from the same weights and images.

    python benchmarks/device_checks.py --device cuda

Prints one line a check, and ends with 1 if one of them fails.  What it is compared with is float64 on the CPU.
"""

import copy
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from arguments import parse
from torch import Tensor, nn

from torchhebb import learn, load, save
from torchhebb.nn import Architecture, init_from_data
from torchhebb.optim import NormAdaptiveSGD
from torchhebb.recipes import get_recipe
from torchhebb.train.device import autocast, find_device

RECIPES = ("softhebb2022-digits", "softhebb2023-digits", "softhebb2023-cifar10-best", "sphere2025-digits")
MOST = {"float32": 1e-3, "bfloat16": 0.2}
"""Largest error of an update, relative to its norm: a relu within rounding of 0 alone moves it by some 1e-4."""


@dataclass(frozen=True)
class Settings:
    """A device against the CPU in float64."""

    device: str = "auto"
    images: int = 16
    width: int = 32


def main(settings: Settings) -> int:
    device, failed = find_device(settings.device), 0
    for name in RECIPES:
        for words, error, most in checks(get_recipe(name).architecture, settings, device):
            print(f"{'ok' if error <= most else 'FAILED'}  {name}: {words}, error {error:.1e} of at most {most:.0e}")
            failed += error > most
    return int(failed > 0)


def checks(architecture: Architecture, settings: Settings, device: torch.device) -> Iterator[tuple[str, float, float]]:
    """What was compared, its error, and the largest one allowed."""
    narrow = architecture.with_blocks(lambda block: block.narrowed(settings.width))
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(settings.images, *architecture.input_shape, generator=generator)
    network = narrow.build(0)
    init_from_data(network, x, generator)
    expected = gradients(copy.deepcopy(network).double(), x.double())
    there = copy.deepcopy(network).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    for precision, most in MOST.items():
        with autocast(precision, device):  # type: ignore[arg-type]
            found = gradients(copy.deepcopy(there), x.to(device))
        yield f"update in {precision}", distance(found, expected), most
    features = network.eval()(x)
    yield "features", distance(there.eval()(x.to(device)), features), MOST["float32"]
    with tempfile.TemporaryDirectory() as folder:
        save(there, Path(folder) / "model.safetensors")
        yield "features once saved", distance(load(Path(folder) / "model.safetensors").eval()(x), features), 1e-3
    if all(block.lr is not None for block in narrow.blocks):
        stepped = [steps(copy.deepcopy(one), x.to(where)) for one, where in ((network, "cpu"), (there, device))]
        yield "weights after three steps", distance(*stepped), 1e-2


def gradients(network: nn.Module, x: Tensor) -> Tensor:
    learn(network.train(), x)
    return flat(parameter.grad for parameter in network.parameters() if parameter.grad is not None)


def steps(network: nn.Module, x: Tensor) -> Tensor:
    optimizer = NormAdaptiveSGD(network.learning_groups())  # type: ignore[operator]
    for _ in range(3):
        learn(network.train(), x)
        optimizer.step()
        optimizer.zero_grad()
    return flat(network.parameters())


def flat(tensors: Iterator[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def distance(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach().double().cpu(), expected.detach().double().cpu()
    return float((found - expected).norm() / expected.norm().clamp_min(1e-30))


if __name__ == "__main__":
    sys.exit(main(parse(Settings)))
