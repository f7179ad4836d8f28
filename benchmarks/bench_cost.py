"""What a learning step costs against batch, width, depth and image size, beside the plain step and backpropagation.

    python benchmarks/bench_cost.py

One of the four is varied at a time around the CIFAR-10 network of depth 3 at batch 10.  Backpropagation differentiates
the same blocks, with ReLU, under a linear layer, by AdamW.  Peak memory is that of a process of its own.
"""

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from arguments import parse
from harness import MEBIBYTE, RESULTS, PeakGrowth, Samples, alternate, compare, fresh, keep, make_result, rates
from torch import Tensor
from torch.nn import functional as F
from workload import CLASSES, RECIPE, Step, place, plain_step, torchhebb_step

from torchhebb.nn import Architecture
from torchhebb.process import tune_process
from torchhebb.recipes import get_recipe
from torchhebb.train.device import find_device
from torchhebb.train.supervised import backpropagation_model

Method = Literal["torchhebb", "plain", "backpropagation"]
METHODS: tuple[Method, ...] = ("torchhebb", "plain", "backpropagation")
PEAK_STEPS = 2
RADIUS = 2.0


@dataclass(frozen=True)
class Point:
    """A size of the network and of its batch."""

    batch: int = 10
    width: int = 4
    """Factor from block to block; 1, 2 and 4 are the paper's."""
    depth: int = 3
    side: int = 32
    """Of the image, in pixels."""

    def __str__(self) -> str:
        return f"batch {self.batch}, width x{self.width}, depth {self.depth}, {self.side} px"


AXES = {
    "batch": (Point(5), Point(10), Point(20), Point(40)),
    "width": (Point(width=1), Point(width=2)),
    "depth": (Point(depth=1), Point(depth=2)),
    "side": (Point(side=16), Point(side=64)),
}


@dataclass(frozen=True)
class Settings:
    """Cost of a learning step against the size of the problem."""

    steps: int = 8
    """Timed steps of each method at each point."""
    warmup: int = 2
    """Steps of each before them."""
    memory_runs: int = 1
    """Fresh processes for the peak memory of each method at batch 10."""
    device: str = "auto"
    results: Path = RESULTS
    peak: Method | None = None
    """Print the growth in bytes of this method's peak: how the script calls itself."""


def main(settings: Settings) -> None:
    device = find_device(settings.device)
    tune_process()
    if settings.peak is not None:
        step = make_step(settings.peak, Point(), device)
        with PeakGrowth.of(device) as peak:
            for _ in range(PEAK_STEPS):
                step()
        print(json.dumps(peak.bytes))
        return
    started = time.perf_counter()
    samples: dict[str, Samples] = {}
    ratios, speeds = [], {}
    points = tuple(dict.fromkeys(point for axis in AXES.values() for point in axis))
    for point in points:
        names = {method: f"{method}, {point}" for method in METHODS}
        variants = {names[method]: make_step(method, point, device) for method in METHODS}
        samples |= alternate(variants, steps=settings.steps, warmup=settings.warmup, device=device)
        for other in METHODS[1:]:
            ratios.append(compare(samples, names["torchhebb"], names[other]))
        middle = torch.tensor(samples[names["torchhebb"]]).median().item()
        speeds[str(point)] = 1e3 * point.batch / middle
    memory = {
        method: [fresh("bench_cost.py", "--peak", method, "--device", settings.device) / MEBIBYTE for _ in range(runs)]
        for method in METHODS
        if (runs := settings.memory_runs)
    }
    result = make_result(
        "cost",
        samples,
        "ms",
        ratios,
        device=device,
        seconds=time.perf_counter() - started,
        images_per_second=speeds,
        peak_mebibytes=memory,
        rates=rates(),
        points=[asdict(point) for point in points],
    )
    keep(result, settings.results)


def make_architecture(point: Point) -> Architecture:
    """The CIFAR-10 network, narrower, shallower or for other images."""
    base = get_recipe(RECIPE).architecture
    first = base.blocks[0].width
    blocks = tuple(block.with_width(first * point.width**number) for number, block in enumerate(base.blocks))
    return replace(base, input_shape=(3, point.side, point.side), blocks=blocks[: point.depth])


def make_step(method: Method, point: Point, device: torch.device) -> Step:
    """One step of a method, from weights at a mean radius near RADIUS."""
    architecture = make_architecture(point)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(4, point.batch, 3, point.side, point.side, generator=generator).to(device)
    if method == "backpropagation":
        return gradient_step(architecture, x)
    network = place(architecture.build(), device)
    with torch.no_grad():
        for weight in (p for p in network.parameters() if p.dim() == 4):
            weight.mul_(RADIUS / 25)
    return plain_step(network, x) if method == "plain" else torchhebb_step(network, x, "float32")


def gradient_step(architecture: Architecture, batches: Tensor, *, fused: bool | None = None) -> Step:
    """One step of AdamW, torch's fused form of it where wanted, on the cross-entropy, through every block."""
    device = batches.device
    model = backpropagation_model(architecture, CLASSES, 0).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], fused=fused)
    labels = torch.arange(batches.shape[1], device=device) % CLASSES
    x = batches[0]

    def step() -> None:
        F.cross_entropy(model.train()(x), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


if __name__ == "__main__":
    main(parse(Settings))
