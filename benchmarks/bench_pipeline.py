"""The whole CIFAR-10 recipe of depth 3, plain against torchhebb, extrapolated from steps of each kind.

    python benchmarks/bench_pipeline.py

Nothing here runs the recipe to its end.  Every kind of step is timed `steps` times, the variants taking turns, and
the medians are multiplied by their numbers: 5,000 learning steps; 782 readout steps in each of 50 epochs; the test
images; and, for torchhebb alone, the features of all images once.  Where the processor multiplies bfloat16 itself, it
has a pipeline as well, whose readout is the same.  The plain pipeline, as public code runs it, is not
tuned, and lives in a process of its own.  The interval of the ratio is a bootstrap over whole rounds.
"""

import math
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from arguments import parse
from bench_readout import cached, plain
from harness import (
    RESAMPLES,
    RESULTS,
    Ratio,
    Remote,
    Samples,
    alternate,
    keep,
    make_result,
    rates,
    serve,
)
from plain import PlainNetwork
from torch import Tensor
from workload import (
    CLASSES,
    RECIPE,
    make_images,
    make_network,
    measured_step,
    place,
    plain_step,
    settle,
    torchhebb_step,
)

import torchhebb
from torchhebb.data import Images
from torchhebb.nn import Network
from torchhebb.process import tune_process
from torchhebb.recipes import get_recipe
from torchhebb.train import Readout
from torchhebb.train.device import Precision, autocast, find_device, native_bfloat16
from torchhebb.train.features import batch_size_for

TRAIN, TEST = 50_000, 10_000
STEP, READOUT, TESTING = "plain step", "plain readout step", "plain test batch"
OUR_STEP, OUR_FEATURES, OUR_READOUT = "torchhebb step", "torchhebb feature batch", "torchhebb readout step"
OUR_STEP_BF16, OUR_FEATURES_BF16 = "torchhebb step, bfloat16", "torchhebb feature batch, bfloat16"
PLAIN, OURS, OURS_BF16 = "plain pipeline", "torchhebb pipeline", "torchhebb pipeline, bfloat16"
TARGETS = {OURS: 1 / 75, OURS_BF16: 1 / 100}


@dataclass(frozen=True)
class Settings:
    """The pipeline, extrapolated from its steps."""

    steps: int = 30
    """Timed steps of each kind."""
    warmup: int = 3
    """Steps of each kind before them."""
    before: int = 40
    """Learning steps before the variants part."""
    radius: float = 2.0
    """The mean radius of every layer that they start with."""
    device: str = "auto"
    results: Path = RESULTS
    untuned: Path | None = None
    """Serve one kind of plain step from the weights of this file: how the script calls itself."""
    kind: str = STEP
    """Which kind."""


def main(settings: Settings) -> None:
    device = find_device(settings.device)
    if settings.untuned is not None:
        network = place(torchhebb.load(settings.untuned), device)  # type: ignore[arg-type]
        serve(plain_kind(settings.kind, network, device), device)
        return
    tune_process()
    started = time.perf_counter()
    recipe, plan = get_recipe(RECIPE), readout_plan()
    network = make_network(device)
    batches = learning_batches(recipe.learning.batch_size, device)
    learn = torchhebb_step(network, batches, "float32")
    settle(network, learn, steps=settings.before, radius=settings.radius)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        torchhebb.save(network, path)
        remotes = {
            kind: Remote("bench_pipeline.py", "--untuned", path, "--kind", kind, "--device", settings.device)
            for kind in (STEP, READOUT, TESTING)
        }
        frozen = place(torchhebb.load(path), device).eval()  # type: ignore[arg-type]
        other = place(torchhebb.load(path), device)  # type: ignore[arg-type]
    rows = feature_batch(frozen, device)
    variants: dict[str, Callable[[], object]] = {
        **remotes,
        OUR_STEP: measured_step(network, batches, "float32"),
        OUR_FEATURES: extracting(frozen, rows, device, "float32"),
        OUR_READOUT: reading_out(frozen, plan.batch_size, device),
    }
    if native_bfloat16(device):
        variants[OUR_STEP_BF16] = measured_step(other, batches, "bfloat16")
        variants[OUR_FEATURES_BF16] = extracting(frozen, rows, device, "bfloat16")
    samples = alternate(variants, steps=settings.steps, warmup=settings.warmup, device=device)
    for remote in remotes.values():
        remote.close()
    counts = how_often(recipe.learning.batch_size, plan.batch_size, plan.epochs, rows)
    counts = {name: kinds for name, kinds in counts.items() if kinds.keys() <= samples.keys()}
    ratios = [pipeline_ratio(samples, counts, of=name, target=TARGETS[name]) for name in counts if name != PLAIN]
    rate = rates()["matrix_gflops"]
    result = make_result(
        "pipeline",
        samples,
        "ms",
        ratios,
        device=device,
        seconds=time.perf_counter() - started,
        extrapolated=f"from {settings.steps} timed steps of each kind; no pipeline was run to its end",
        faster=max(1 / ratio.value for ratio in ratios),
        pipeline_seconds={name: 1e-3 * total(samples, counts[name]) for name in counts},
        counts=counts,
        matrix_gflops=rate,
        share_of_matrix_rate={
            name: flop / (1e-3 * float(np.median(samples[name]))) / 1e9 / rate
            for name, flop in arithmetic(frozen, recipe.learning.batch_size, rows, plan.batch_size).items()
        },
    )
    keep(result, settings.results)


def how_often(batch: int, readout_batch: int, epochs: int, feature_rows: int) -> dict[str, dict[str, int]]:
    """How many steps of each kind a pipeline takes; the plain one computes its test images in batches of the readout.

    >>> how_often(10, 64, 50, 64)["plain pipeline"]["plain readout step"]
    39100
    """
    steps, readouts = math.ceil(TRAIN / batch), epochs * math.ceil(TRAIN / readout_batch)
    features = math.ceil((TRAIN + TEST) / feature_rows)
    return {
        PLAIN: {STEP: steps, READOUT: readouts, TESTING: math.ceil(TEST / readout_batch)},
        OURS: {OUR_STEP: steps, OUR_FEATURES: features, OUR_READOUT: readouts},
        OURS_BF16: {OUR_STEP_BF16: steps, OUR_FEATURES_BF16: features, OUR_READOUT: readouts},
    }


def total(samples: Mapping[str, Samples], counts: Mapping[str, int]) -> float:
    """Milliseconds of a pipeline: medians times numbers."""
    return sum(count * float(np.median(samples[kind])) for kind, count in counts.items())


def pipeline_ratio(
    samples: Mapping[str, Samples],
    counts: Mapping[str, Mapping[str, int]],
    *,
    target: float,
    of: str = OURS,
    seed: int = 0,
) -> Ratio:
    """A pipeline of ours / PLAIN, of sums of medians, its 95 % interval from a bootstrap over whole rounds."""
    rounds = len(next(iter(samples.values())))
    drawn = np.random.default_rng(seed).integers(rounds, size=(RESAMPLES, rounds))

    resampled = {
        name: np.sum([n * np.median(np.asarray(samples[kind])[drawn], 1) for kind, n in counts[name].items()], 0)
        for name in (of, PLAIN)
    }
    low, high = np.quantile(resampled[of] / resampled[PLAIN], (0.025, 0.975)).tolist()
    return Ratio(of, PLAIN, total(samples, counts[of]) / total(samples, counts[PLAIN]), low, high, target)


def plain_kind(kind: str, network: Network, device: torch.device) -> Callable[[], object]:
    """A step of the plain pipeline."""
    recipe, plan = get_recipe(RECIPE), readout_plan()
    if kind == STEP:
        return plain_step(network, learning_batches(recipe.learning.batch_size, device))
    images = make_images(4 * plan.batch_size, seed=3, device=device)
    if kind == READOUT:
        labels = torch.zeros(len(images), dtype=torch.long, device=device)
        return plain(network, images, labels, plan.batch_size)
    copy, stream = PlainNetwork(network).eval(), cycle(images.split(plan.batch_size))
    return torch.no_grad()(lambda: copy(next(stream)))


def readout_plan() -> Readout:
    plan = get_recipe(RECIPE).readout
    assert isinstance(plan, Readout)
    return plan


def learning_batches(size: int, device: torch.device) -> Tensor:
    return make_images(16 * size, seed=0, device=device).unflatten(0, (16, -1))


def feature_batch(network: Network, device: torch.device) -> int:
    """How many images `extract_features` takes at a time."""
    pixels = (make_images(1000, seed=2, device=device) * 255).byte().cpu()
    images = Images(pixels, torch.zeros(len(pixels), dtype=torch.long))
    with torch.no_grad():
        return batch_size_for(network, images, device)


def extracting(network: Network, rows: int, device: torch.device, precision: Precision) -> Callable[[], object]:
    stream = cycle(make_images(4 * rows, seed=3, device=device).split(rows))

    @torch.no_grad()
    def extract() -> Tensor:
        with autocast(precision, device):
            return network(next(stream)).flatten(1)

    return extract


def reading_out(network: Network, batch: int, device: torch.device) -> Callable[[], object]:
    """Steps on as many features as do not fit into a cache."""
    with torch.no_grad():
        width = network(make_images(1, seed=3, device=device)).numel()
    features = torch.rand(64 * batch, width, device=device)
    return cached(features, torch.randint(CLASSES, (len(features),), device=device), batch)


def arithmetic(network: Network, batch: int, rows: int, readout_batch: int) -> dict[str, float]:
    """Floating-point operations of our steps as a plain convolution would need them: two a multiplication."""
    flop = 0.0
    width = 0

    def count(layer: torch.nn.Module, _x: object, u: Tensor) -> None:
        nonlocal flop
        flop += 2.0 * layer.weight[0].numel() * u[0].numel()  # type: ignore[index]

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, torchhebb.nn.HebbConv2d)]
    with torch.no_grad():
        width = network(make_images(1, seed=3, device=next(network.parameters()).device)).numel()
    for hook in hooks:
        hook.remove()
    return {
        OUR_STEP: 2 * batch * flop,
        OUR_FEATURES: rows * flop,
        OUR_READOUT: 2 * 2.0 * readout_batch * width * CLASSES,
    }


if __name__ == "__main__":
    main(parse(Settings))
