"""Peak memory of learning against depth, beside end-to-end backpropagation through the same blocks.

    python benchmarks/bench_memory.py

Blocks of 96 channels, kernel 3, no pooling, RGB images of 32x32.  Backpropagation differentiates the very same blocks
under a linear head on the global average, with cross-entropy and SGD.  Each number comes from a process of its own, and
is the growth of its peak over the state in which the network and one batch are there.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from arguments import parse
from depths import compare_memory
from harness import RESULTS, PeakGrowth
from torch import Tensor, nn
from torch.nn import functional as F
from workload import CLASSES, Step, place, torchhebb_step

from torchhebb.nn import Architecture, ConvBlock, Network
from torchhebb.process import tune_process
from torchhebb.train.device import find_device

Method = Literal["learning", "backpropagation"]
METHODS: tuple[Method, ...] = ("learning", "backpropagation")
STEPS = 2  # in the second step the gradients of the first have been and gone


@dataclass(frozen=True)
class Settings:
    """Peak memory against depth: learning and backpropagation."""

    depths: tuple[int, ...] = (3, 6, 12)
    runs: int = 3
    """Fresh processes for each number."""
    batch_size: int = 128
    channels: int = 96
    device: str = "auto"
    results: Path = RESULTS
    method: Method | None = None
    """Measure this one at the first depth and print it: how the script calls itself."""


def main(settings: Settings) -> None:
    device = find_device(settings.device)
    if settings.method is not None:
        print(json.dumps(measure(settings, settings.method, device)))
        return
    compare_memory("memory", "bench_memory.py", METHODS, settings, device)


def measure(settings: Settings, method: Method, device: torch.device) -> int:
    """The growth in bytes in this process."""
    tune_process()
    blocks = tuple(ConvBlock(settings.channels, 3) for _ in range(settings.depths[0]))
    network = place(Architecture((3, 32, 32), blocks).build(), device)
    x = torch.rand(settings.batch_size, 3, 32, 32, generator=torch.Generator().manual_seed(0)).to(device)
    labels = torch.arange(settings.batch_size, device=device) % CLASSES
    if method == "learning":
        step = torchhebb_step(network, x[None], "float32")
    else:
        step = gradient_step(network, settings.channels, x, labels)
    with PeakGrowth.of(device) as peak:
        for _ in range(STEPS):
            step()
    return peak.bytes


def gradient_step(network: Network, channels: int, x: Tensor, labels: Tensor) -> Step:
    """One step of SGD on the cross-entropy, through every block."""
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)).to(x.device)
    model = nn.Sequential(network.train().requires_grad_(True), head)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def step() -> None:
        loss = F.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


if __name__ == "__main__":
    main(parse(Settings))
