"""The on-line step of one layer, 100 to 2,000 neurons, batch 1 to 32, beside the plain step and backpropagation.

    python benchmarks/bench_online.py

The layer is that of SoftHebb-2022 on images of 28 x 28, by the step of the training loop, with the matrix products
that a run would choose by measurement, and by `learn` followed by the optimizer.  All variants compute by the number of
threads that such a run takes.  Backpropagation differentiates the same layer, with ReLU, under a linear one, by AdamW
as the baseline of the library does, and by torch's fused form of it.  A turn is some steps one after the other, as
on-line learning takes them: a single one would find the weights out of the cache, where those of the other variants
have been meanwhile.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

import torch
from arguments import parse
from bench_cost import gradient_step
from harness import RESULTS, Ratio, Samples, alternate, compare, keep, make_result
from torch import Tensor
from workload import Step, place, plain_step, torchhebb_step

from torchhebb.nn import Architecture, Network, learn
from torchhebb.ops.products import products_by
from torchhebb.optim import NormAdaptiveSGD
from torchhebb.process import threads, tune_process
from torchhebb.recipes import get_recipe
from torchhebb.train import Learning
from torchhebb.train.device import find_device
from torchhebb.train.diagnostics import plastic_layers, radii
from torchhebb.train.numerics import Numerics, choose_numerics

FUSED, SEPARATE, PLAIN = "torchhebb", "learn and NormAdaptiveSGD", "plain"
BACKPROPAGATION, TORCH_FUSED = "backpropagation", "backpropagation, fused AdamW"
RADIUS = 2.0
BATCHES = 16


@dataclass(frozen=True)
class Settings:
    """The on-line step of one layer: torchhebb, plain, backpropagation."""

    neurons: tuple[int, ...] = (100, 500, 1000, 2000)
    batch_sizes: tuple[int, ...] = (1, 8, 32)
    turns: int = 25
    """Timed turns of each variant at each size."""
    warmup: int = 3
    """Turns of each before them."""
    steps: int = 10
    """Steps of a turn."""
    device: str = "auto"
    results: Path = RESULTS


def main(settings: Settings) -> None:
    device = find_device(settings.device)
    tune_process()
    started = time.perf_counter()
    samples: dict[str, Samples] = {}
    ratios: list[Ratio] = []
    sizes = [(neurons, batch) for neurons in settings.neurons for batch in settings.batch_sizes]
    for neurons, batch in sizes:
        chosen = choose_numerics(
            _network(_architecture(neurons), device), Learning(batch_size=batch), "float32", device
        )
        turns = {
            _label(name, neurons, batch): _turn(
                step, settings.steps, chosen if name == FUSED else replace(chosen, products="torch")
            )
            for name, step in make_steps(neurons, batch, device).items()
        }
        taken = alternate(turns, steps=settings.turns, warmup=settings.warmup, device=device)
        samples |= {name: tuple(value / settings.steps for value in values) for name, values in taken.items()}
        targets = {PLAIN: 1.0, BACKPROPAGATION: 0.5, TORCH_FUSED: None}
        own = _label(FUSED, neurons, batch)
        ratios += [compare(samples, own, _label(n, neurons, batch), target=t) for n, t in targets.items()]
        ratios.append(compare(samples, _label(SEPARATE, neurons, batch), _label(PLAIN, neurons, batch)))
    result = make_result(
        "online",
        samples,
        "ms",
        ratios,
        device=device,
        seconds=time.perf_counter() - started,
        table=table(sizes, samples, ratios),
        steps_of_a_turn=settings.steps,
    )
    keep(result, settings.results)


def make_steps(neurons: int, batch: int, device: torch.device) -> dict[str, Step]:
    """One step of every variant on the next of some batches."""
    batches = torch.rand(BATCHES, batch, 1, 28, 28, generator=torch.Generator().manual_seed(0)).to(device)
    architecture = _architecture(neurons)
    network = _network(architecture, device)
    return {
        FUSED: torchhebb_step(network, batches, "float32"),
        SEPARATE: separate_step(_network(architecture, device), batches),
        PLAIN: plain_step(_network(architecture, device), batches),
        BACKPROPAGATION: gradient_step(architecture, batches),
        TORCH_FUSED: gradient_step(architecture, batches, fused=True),
    }


def separate_step(network: Network, batches: Tensor) -> Step:
    """`learn`, then the optimizer, as a user's own loop has them."""
    optimizer = NormAdaptiveSGD(network.train().learning_groups())
    stream = cycle(batches)

    def step() -> None:
        learn(network, next(stream))
        optimizer.step()
        optimizer.zero_grad()

    return step


def table(
    sizes: Sequence[tuple[int, int]], samples: dict[str, Samples], ratios: Sequence[Ratio]
) -> list[tuple[str, ...]]:
    """A row a size, under a header."""
    names = (FUSED, SEPARATE, PLAIN, BACKPROPAGATION, TORCH_FUSED)
    rows = [("neurons", "batch", *(f"{name}, ms" for name in names), *(f"of {name} [95 %]" for name in names[2:]))]
    between = {(ratio.of, ratio.to): ratio for ratio in ratios}
    for neurons, batch in sizes:
        own = [_label(name, neurons, batch) for name in names]
        medians = [torch.tensor(samples[name]).median().item() for name in own]
        compared = [between[own[0], other] for other in own[2:]]
        rows.append(
            (
                str(neurons),
                str(batch),
                *(f"{median:.3f}" for median in medians),
                *(f"{r.value:.2f} [{r.low:.2f}, {r.high:.2f}] {r.verdict}".rstrip() for r in compared),
            )
        )
    return rows


def _architecture(neurons: int) -> Architecture:
    base = get_recipe("softhebb2022-mnist").architecture
    return replace(base, blocks=tuple(block.with_width(neurons) for block in base.blocks))


@torch.no_grad()
def _network(architecture: Architecture, device: torch.device) -> Network:
    network = place(architecture.build(), device)
    for layer in plastic_layers(network).values():
        layer.weight.mul_(RADIUS / radii(layer).mean())
    return network


def _turn(step: Step, count: int, numerics: Numerics) -> Step:
    """So many steps by these products and threads."""

    def turn() -> None:
        with products_by(numerics.products), threads(numerics.threads):
            for _ in range(count):
                step()

    return turn


def _label(name: str, neurons: int, batch: int) -> str:
    return f"{name}, {neurons} neurons, batch {batch}"


if __name__ == "__main__":
    main(parse(Settings))
