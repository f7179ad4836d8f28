"""The learning step of every kind of recipe, beside the plain step and backpropagation through the same blocks.

    python benchmarks/bench_recipes.py
    python benchmarks/bench_recipes.py --recipes softhebb2023-stl10

Recipes that share a network and a batch share a row: CIFAR-100's are CIFAR-10's, ImageNet's are ImageNette's.  Images
are noise in [0, 1]; weights start at a mean radius of 2, where few numbers are denormal.  What has no plain form here
(local losses, whitening), or none that learns by gradients (whitening), has no time for it.  All methods compute by the
threads of a run of this size, and the library's by the products and algorithms that a run measures to be fastest;
bfloat16 is measured where the hardware multiplies it.  Peak memory is that of a process of its own, in which nothing is
measured before, above the state in which network and batch are there.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from arguments import parse
from bench_cost import gradient_step
from harness import MEBIBYTE, RESULTS, PeakGrowth, Ratio, Samples, alternate, compare, fresh, keep, make_result
from workload import Step, measured_step, place, plain_step

from torchhebb.errors import UserError
from torchhebb.nn import Network, init_from_data
from torchhebb.nn.learning import needs_data
from torchhebb.process import MEASURE, threads, tune_process
from torchhebb.recipes import get_recipe
from torchhebb.train.device import Precision, find_device, native_bfloat16
from torchhebb.train.diagnostics import plastic_layers, radii
from torchhebb.train.numerics import choose_numerics

RECIPES = (
    "softhebb2022-digits",
    "softhebb2022-mnist",
    "softhebb2022-mnist-hard",
    "softhebb2022-mnist-ranked",
    "softhebb2023-digits",
    "softhebb2023-mnist",
    "softhebb2023-cifar10-depth1",
    "softhebb2023-cifar10-depth2",
    "softhebb2023-cifar10",
    "softhebb2023-cifar10-hard",
    "softhebb2023-cifar10-ranked",
    "softhebb2023-cifar10-depth2-linear",
    "softhebb2023-cifar10-best",
    "softhebb2023-stl10",
    "softhebb2023-imagenette",
    "sphere2025-digits",
    "sphere2025-cifar10-narrow",
    "sphere2025-cifar10",
    "sphere2025-tiny-imagenet",
)
Method = Literal["torchhebb", "torchhebb bfloat16", "plain", "backpropagation"]
METHODS: tuple[Method, ...] = get_args(Method)
MOST_TIME, MOST_MEMORY = 1.0, 1.05  # of backpropagation's
TURN = 50.0  # milliseconds of the slowest method before another takes its turn: a run has its code in cache
RADIUS = 2.0
BATCHES = 4
CLASSES = 10
PEAK_STEPS = 2  # in the second, what the first left behind is there
PREPARED_FROM = 200


@dataclass(frozen=True)
class Settings:
    """The learning step of recipes: torchhebb, plain, backpropagation."""

    recipes: tuple[str, ...] = RECIPES
    """Which to measure."""
    steps: int = 8
    """Timed steps of each method, where the slowest takes less than `patience`; elsewhere 3."""
    warmup: int = 2
    """Steps of each before them; where steps are slow, 1."""
    patience: float = 2.0
    """Seconds of a slow step."""
    memory: bool = True
    """Measure peak memory too."""
    device: str = "auto"
    results: Path = RESULTS
    peak: Method | None = None
    """Print the growth in bytes of this method's peak on the first recipe: how the script calls itself."""


def main(settings: Settings) -> None:
    device = find_device(settings.device)
    tune_process()
    if settings.peak is not None:
        os.environ[MEASURE] = "0"  # what is measured would leave its memory behind
        step = make_step(settings.recipes[0], settings.peak, device)
        assert step is not None, "only asked of methods that the recipe has"
        with PeakGrowth.of(device) as peak:
            for _ in range(PEAK_STEPS):
                step()
        print(json.dumps(peak.bytes))
        return
    started = time.perf_counter()
    samples: dict[str, Samples] = {}
    ratios: list[Ratio] = []
    memory: dict[str, float] = {}
    for name in settings.recipes:
        print(f"{name} ...", flush=True)
        own = timed(name, settings, device)
        samples |= own
        ratios += [
            compare(own, f"{name}: {ours}", other, target=MOST_TIME if "backpropagation" in other else None)
            for ours in METHODS[:2]
            for other in (f"{name}: {method}" for method in METHODS[2:])
            if other in own and f"{name}: {ours}" in own
        ]
        if settings.memory:
            for variant in own:
                arguments = ("--recipes", name, "--peak", variant.rpartition(": ")[2], "--device", settings.device)
                memory[variant] = fresh("bench_recipes.py", *arguments) / MEBIBYTE
    result = make_result(
        "recipes",
        samples,
        "ms",
        ratios,
        device=device,
        seconds=time.perf_counter() - started,
        peak_of_recipes=memory,
        table=summary(settings.recipes, samples, ratios, memory),
    )
    keep(result, settings.results)


def timed(name: str, settings: Settings, device: torch.device) -> dict[str, Samples]:
    """Milliseconds of the steps of every method that a recipe has, taking turns."""
    recipe = get_recipe(name)
    network = place(recipe.architecture.build(), device)
    numerics = choose_numerics(network, recipe.learning, "float32", device, readout=recipe.readout, classes=CLASSES)
    with threads(numerics.threads):
        methods = [method for method in METHODS if "bfloat16" not in method or native_bfloat16(device)]
        steps = {method: step for method in methods if (step := make_step(name, method, device)) is not None}
        variants = {f"{name}: {method}": step for method, step in steps.items()}
        first = alternate(variants, steps=1, warmup=0, device=device)
        slowest = max(taken for (taken,) in first.values())
        slow = slowest > 1e3 * settings.patience
        steps_kept, warmup = (min(3, settings.steps), 1) if slow else (settings.steps, settings.warmup)
        together = max(1, int(TURN / slowest))
        turns = {variant: in_turn(step, together) for variant, step in variants.items()}
        taken = alternate(turns, steps=steps_kept, warmup=warmup, device=device)
        return {variant: tuple(ms / together for ms in samples) for variant, samples in taken.items()}


def in_turn(step: Step, count: int) -> Step:
    """So many steps, one after another as in a run."""

    def turn() -> None:
        for _ in range(count):
            step()

    return turn


def make_step(name: str, method: Method, device: torch.device) -> Step | None:
    """The inner step of a recipe's training loop, by a method; None where the network has no such form."""
    recipe = get_recipe(name)
    shape, batch = recipe.architecture.input_shape, recipe.learning.batch_size
    batches = torch.rand(BATCHES, batch, *shape, generator=torch.Generator().manual_seed(0)).to(device)
    if method == "backpropagation":
        try:
            return gradient_step(recipe.architecture, batches)
        except UserError:
            return None
    network = place(recipe.architecture.build(), device)
    if method == "plain" and any(needs_data(module) for module in network.modules()):
        return None  # whitening and weights from patches have no plain form: nothing is prepared
    network = started(network, shape, device)
    if method in ("torchhebb", "torchhebb bfloat16"):
        precision: Precision = "bfloat16" if "bfloat16" in method else "float32"
        return measured_step(network, batches, precision, plan=recipe.learning)
    try:
        return plain_step(network, batches)
    except ValueError:
        return None


@torch.no_grad()
def started(network: Network, shape: tuple[int, int, int], device: torch.device) -> Network:
    """Whitening and sampled weights from some images, and every other layer at the mean radius RADIUS."""
    if any(needs_data(module) for module in network.modules()):
        generator = torch.Generator().manual_seed(1)
        init_from_data(network, torch.rand(PREPARED_FROM, *shape, generator=generator).to(device), generator)
        return network
    for layer in plastic_layers(network).values():
        layer.weight.mul_(RADIUS / radii(layer).mean())
    return network


def summary(
    recipes: tuple[str, ...], samples: Mapping[str, Samples], ratios: list[Ratio], memory: Mapping[str, float]
) -> list[tuple[str, ...]]:
    """A row a recipe, under a header."""
    rows = [
        (
            "recipe",
            "batch",
            *(f"{method}, ms" for method in METHODS),
            *(f"{ours} of {method}" for method in METHODS[2:] for ours in METHODS[:2]),
            "images/s",
            "peak, MiB",
            "time, memory",
        )
    ]
    between = {(ratio.of, ratio.to): ratio for ratio in ratios}
    for name in recipes:
        batch = get_recipe(name).learning.batch_size
        variants = [f"{name}: {method}" for method in METHODS]
        medians = [float(np.median(samples[variant])) if variant in samples else None for variant in variants]
        compared = [between.get((ours, other)) for other in variants[2:] for ours in variants[:2]]
        peaks = [f"{memory[variant]:.0f}" if variant in memory else "" for variant in variants]
        best = min(median for median in medians[:2] if median is not None)
        rows.append(
            (
                name,
                str(batch),
                *("" if median is None else f"{median:.1f}" for median in medians),
                *("" if r is None else f"{r.value:.2f} [{r.low:.2f}, {r.high:.2f}]" for r in compared),
                f"{1e3 * batch / best:.0f}",
                " / ".join(peak or "-" for peak in peaks) if any(peaks) else "",
                verdicts(variants, between, memory),
            )
        )
    return rows


def verdicts(variants: list[str], between: Mapping[tuple[str, str], Ratio], memory: Mapping[str, float]) -> str:
    """Whether the better precision takes at most MOST_TIME of backpropagation's time, and MOST_MEMORY of its memory."""
    *ours, _, other = variants
    said = []
    if times := [between[one, other].value for one in ours if (one, other) in between]:
        said.append("PASS" if min(times) <= MOST_TIME else "FAIL")
    if other in memory:
        said.append(
            "PASS" if min(memory[one] for one in ours if one in memory) <= MOST_MEMORY * memory[other] else "FAIL"
        )
    return ", ".join(said)


if __name__ == "__main__":
    main(parse(Settings))
