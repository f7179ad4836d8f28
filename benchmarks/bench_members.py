"""K members learning side by side against the same K one after another, and against one, over batch sizes.

    python benchmarks/bench_members.py

A step of the members is what `learn_ensemble` does: layers that are large on this device run member after member, small
ones as one batched matrix product. All variants of a size start from the same weights, at radii near a run's end.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import torch
from arguments import parse
from harness import RESULTS, Ratio, Samples, alternate, compare, keep, make_result
from torch import Tensor
from workload import Step, make_images, place, settle, torchhebb_step

from torchhebb.nn import Network, learn
from torchhebb.nn.ensemble import stack_ensemble
from torchhebb.optim import NormAdaptiveSGD
from torchhebb.process import tune_process
from torchhebb.recipes import get_recipe
from torchhebb.train.device import autocast, find_device, find_precision
from torchhebb.train.ensemble import large_layers, member_groups

BATCHES = 8


@dataclass(frozen=True)
class Settings:
    """The learning step of K members: side by side, one after another, and of one alone."""

    recipes: tuple[str, ...] = ("softhebb2023-digits", "softhebb2023-cifar10")
    members: int = 4
    batch_sizes: tuple[int, ...] = (1, 10, 50)
    steps: int = 20
    """Timed steps of each variant."""
    warmup: int = 5
    """Steps of each variant before them."""
    before: int = 20
    """Learning steps of every member before the variants part."""
    radius: float = 2.0
    """The mean radius that its layers are then given."""
    device: str = "auto"
    precision: str = "float32"
    results: Path = RESULTS


def main(settings: Settings) -> None:
    tune_process()
    device, started = find_device(settings.device), time.perf_counter()
    precision = find_precision(settings.precision, device)  # type: ignore[arg-type]
    samples: dict[str, Samples] = {}
    ratios: list[Ratio] = []
    for recipe in settings.recipes:
        for batch_size in settings.batch_sizes:
            where = f"{recipe.removeprefix('softhebb2023-')}, batch {batch_size}"
            one, serial, side = (f"{where}: {words}" for words in _words(settings.members))
            variants = _variants(settings, recipe, batch_size, device, precision)
            found = alternate(
                dict(zip((one, serial, side), variants, strict=True)),
                steps=settings.steps,
                warmup=settings.warmup,
                device=device,
            )
            samples |= found
            ratios += [compare(found, side, serial), compare(found, side, one, target=_target(device))]
    result = make_result(
        "members",
        samples,
        "ms",
        ratios,
        device=device,
        seconds=time.perf_counter() - started,
        members=settings.members,
        precision=precision,
        warmup=settings.warmup,
        learned_before=settings.before,
        radius_before=settings.radius,
    )
    keep(result, settings.results)


def _words(members: int) -> tuple[str, str, str]:
    return "one", f"{members} one after another", f"{members} side by side"


def _target(device: torch.device) -> float | None:
    """Four in at most twice the time of one, where one leaves the device idle."""
    return 2.0 if device.type == "cuda" else None


def _variants(
    settings: Settings, recipe: str, batch_size: int, device: torch.device, precision: str
) -> tuple[Step, Step, Step]:
    architecture = get_recipe(recipe).architecture
    channels, height, width = architecture.input_shape
    images = make_images(settings.members * BATCHES * batch_size, seed=0, device=device)
    batches = images[:, :channels, :height, :width].unflatten(0, (settings.members, BATCHES, batch_size))

    def members() -> list[Network]:
        networks = [place(architecture.build(seed), device) for seed in range(settings.members)]
        for network, own in zip(networks, batches, strict=True):
            step = torchhebb_step(network, own, precision)
            settle(network, step, steps=settings.before, radius=settings.radius)
        return networks

    steps = [torchhebb_step(network, own, precision) for network, own in zip(members(), batches, strict=True)]

    def serial() -> None:
        for step in steps:
            step()

    one = torchhebb_step(members()[0], batches[0], precision)
    return one, serial, members_step(members(), batches, precision)


def members_step(networks: Sequence[Network], batches: Tensor, precision: str) -> Step:
    """The inner step of `learn_ensemble` on the next of the batches (K, N, B, C, H, W)."""
    apart = large_layers(networks[0], batches.shape[3:], batches.shape[2])
    stacked = stack_ensemble([network.train() for network in networks], unstacked=apart)
    optimizer = NormAdaptiveSGD(member_groups(stacked, networks))
    stream, device = cycle(batches.transpose(0, 1).flatten(1, 2).contiguous()), batches.device

    def step() -> None:
        with autocast("bfloat16" if precision == "bfloat16" else "float32", device):
            learn(stacked, next(stream))
        optimizer.step()
        optimizer.zero_grad()

    return step


if __name__ == "__main__":
    main(parse(Settings))
