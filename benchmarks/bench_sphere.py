"""Blocks of local losses beside end-to-end backpropagation through the same blocks: the step, and memory against depth.

    python benchmarks/bench_sphere.py

The step: the network of the recipe sphere2025-cifar10 from equal weights, batch 128.  Backpropagation is the recipe's
own baseline, without auxiliaries and with a linear layer on the 24,576 features; the local step has no readout, which
learns on frozen features afterwards.  Both step by AdamW.
Memory: blocks of 96 channels without pooling, RGB images of 32x32; each number comes from a process of its own, and is
the growth of its peak over the state in which the network and one batch are there.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from arguments import parse
from depths import compare_memory
from harness import RESULTS, PeakGrowth, alternate, compare, keep, make_result
from torch import Tensor
from torch.nn import functional as F
from workload import CLASSES, Step, make_images, place

from torchhebb.nn import Architecture, SPHeReConvBlock, learn
from torchhebb.process import tune_process
from torchhebb.recipes.sphere2025 import network
from torchhebb.train.device import find_device
from torchhebb.train.supervised import backpropagation_model

Method = Literal["local losses", "backpropagation"]
LOCAL, BACKPROPAGATION = METHODS = ("local losses", "backpropagation")
MEMORY_STEPS = 2  # in the second step the gradients of the first have been and gone


@dataclass(frozen=True)
class Settings:
    """Local losses and backpropagation: the step, and peak memory against depth."""

    steps: int = 10
    """Timed steps of each."""
    warmup: int = 2
    """Steps of each before them."""
    widths: tuple[int, int, int] = (384, 768, 1536)
    """Channels of the three blocks of the step."""
    batch_size: int = 128
    depths: tuple[int, ...] = (3, 6, 12)
    channels: int = 96
    """Of every block of the memory's networks."""
    runs: int = 3
    """Fresh processes for each number of memory."""
    device: str = "auto"
    results: Path = RESULTS
    method: Method | None = None
    """Measure the memory of this one at the first depth and print it: how the script calls itself."""


def main(settings: Settings) -> None:
    device = find_device(settings.device)
    if settings.method is not None:
        print(json.dumps(measure(settings, settings.method, device)))
        return
    tune_process()
    time_steps(settings, device)
    compare_memory("sphere-memory", "bench_sphere.py", METHODS, settings, device)


def time_steps(settings: Settings, device: torch.device) -> None:
    started = time.perf_counter()
    architecture = network(settings.widths)
    steps = {method: make_step(architecture, method, settings.batch_size, device) for method in METHODS}
    samples = alternate(steps, steps=settings.steps, warmup=settings.warmup, device=device)
    result = make_result(
        "sphere-step",
        samples,
        "ms",
        [compare(samples, LOCAL, BACKPROPAGATION, target=0.85)],
        device=device,
        seconds=time.perf_counter() - started,
        batch_size=settings.batch_size,
        widths=settings.widths,
        warmup=settings.warmup,
    )
    keep(result, settings.results)


def measure(settings: Settings, method: str, device: torch.device) -> int:
    """The growth in bytes in this process."""
    tune_process()
    blocks = tuple(SPHeReConvBlock(settings.channels, pool=None) for _ in range(settings.depths[0]))
    step = make_step(Architecture((3, 32, 32), blocks, feature_pool=1), method, settings.batch_size, device)
    with PeakGrowth.of(device) as peak:
        for _ in range(MEMORY_STEPS):
            step()
    return peak.bytes


def make_step(architecture: Architecture, method: str, batch_size: int, device: torch.device) -> Step:
    """One step of AdamW, on a batch that stays the same."""
    x = make_images(batch_size, seed=0, device=device)
    if method == LOCAL:
        return local_step(architecture, x)
    return gradient_step(architecture, x, torch.arange(batch_size, device=device) % CLASSES)


def local_step(architecture: Architecture, x: Tensor) -> Step:
    blocks = place(architecture.build(), x.device)
    optimizer = torch.optim.AdamW(blocks.parameters(), lr=1e-3, weight_decay=0.05, fused=True)

    def step() -> None:
        learn(blocks, x)
        optimizer.step()
        optimizer.zero_grad()

    return step


def gradient_step(architecture: Architecture, x: Tensor, labels: Tensor) -> Step:
    model = backpropagation_model(architecture, CLASSES)
    model.to(x.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.05, fused=True)

    def step() -> None:
        F.cross_entropy(model(x), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


if __name__ == "__main__":
    main(parse(Settings))
