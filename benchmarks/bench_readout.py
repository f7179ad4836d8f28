"""The readout's step at batch 64 on 24,576 features of the CIFAR-10 network: cached, and computed anew.

    python benchmarks/bench_readout.py

The cached features of torchhebb are computed once, before; that pass is measured too, as the time of one batch.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import torch
from arguments import parse
from harness import RESULTS, alternate, compare, keep, make_result
from plain import PlainNetwork, PlainReadout
from torch import Tensor
from workload import CLASSES, make_images, make_network, settle, torchhebb_step

from torchhebb.nn import LinearReadout, Network
from torchhebb.process import tune_process
from torchhebb.readouts.adam import _step as readout_step
from torchhebb.readouts.dropout import PackedDropout
from torchhebb.readouts.sources import Rows
from torchhebb.train import Readout
from torchhebb.train.device import find_device

PLAIN, CACHED, FEATURES = "plain readout", "torchhebb readout", "torchhebb features, once a run"
BATCHES = 8
LEARNING_BATCH = 10


@dataclass(frozen=True)
class Settings:
    """The readout's step: plain against torchhebb."""

    steps: int = 30
    """Timed steps of each variant."""
    warmup: int = 5
    """Steps of each variant before them."""
    before: int = 40
    """Learning steps of the network."""
    radius: float = 2.0
    """The mean radius that its layers are then given."""
    batch_size: int = 64
    device: str = "auto"
    results: Path = RESULTS


def main(settings: Settings) -> None:
    tune_process()
    torch.manual_seed(0)  # the plain dropout and the first weights of its layer
    device = find_device(settings.device)
    started = time.perf_counter()
    network = make_network(device)
    learn = torchhebb_step(
        network, make_images(200, seed=1, device=device).unflatten(0, (-1, LEARNING_BATCH)), "float32"
    )
    settle(network, learn, steps=settings.before, radius=settings.radius)
    images = make_images(BATCHES * settings.batch_size, seed=0, device=device)
    labels = torch.randint(CLASSES, (len(images),), generator=torch.Generator().manual_seed(0)).to(device)
    stream = cycle(images.split(settings.batch_size))

    @torch.no_grad()
    def extract() -> Tensor:
        return network(next(stream)).flatten(1)

    with torch.no_grad():
        features = torch.cat([network.eval()(part).flatten(1) for part in images.split(settings.batch_size)])
    variants: dict[str, Callable[[], object]] = {
        PLAIN: plain(network, images, labels, settings.batch_size),
        CACHED: cached(features, labels, settings.batch_size),
        FEATURES: extract,
    }
    samples = alternate(variants, steps=settings.steps, warmup=settings.warmup, device=device)
    ratios = [compare(samples, CACHED, PLAIN), compare(samples, FEATURES, PLAIN)]
    result = make_result(
        "readout",
        samples,
        "ms",
        ratios,
        device=device,
        seconds=time.perf_counter() - started,
        batch_size=settings.batch_size,
        features=features.shape[1],
        warmup=settings.warmup,
    )
    keep(result, settings.results)


def plain(network: Network, images: Tensor, labels: Tensor, batch_size: int) -> Callable[[], object]:
    """A step that computes and differentiates the frozen network."""
    copy = PlainNetwork(network)
    width = copy.eval()(images[:1]).numel()
    readout = PlainReadout(copy, torch.nn.Linear(width, CLASSES).to(images.device))
    order = cycle(torch.arange(len(images), device=images.device).split(batch_size))

    def step() -> Tensor:
        chosen = next(order)
        return readout.step(images[chosen], labels[chosen])

    return step


def cached(features: Tensor, labels: Tensor, batch_size: int) -> Callable[[], object]:
    """A step as `Readout.fit` takes it."""
    plan = Readout()
    readout = LinearReadout(features.shape[1], CLASSES).to(features.device)
    optimizer = torch.optim.Adam([readout.weight, readout.bias], lr=plan.lr, fused=True)
    for parameter in (readout.weight, readout.bias):
        parameter.grad = torch.zeros_like(parameter)
    dropout = PackedDropout(plan.dropout, torch.Generator(features.device).manual_seed(0))
    rows = Rows(features, batch_size)
    order = cycle(torch.randperm(len(features)).to(features.device).split(batch_size))

    def step() -> Tensor:
        chosen = next(order)
        return readout_step(readout, optimizer, dropout(rows(chosen)), labels[chosen])

    return step


if __name__ == "__main__":
    main(parse(Settings))
