"""The learning step of the CIFAR-10 network, depth 3, batch 10: plain, and this library, compiled and in bfloat16 too.

    python benchmarks/bench_step.py

Every variant starts from the same weights, in the state of a run that nears its end.  All of them run after
`tune_process()`, but for one plain variant in an untuned process of its own, which takes its turns like the others.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from arguments import parse
from harness import RESULTS, Remote, alternate, compare, keep, make_result, serve
from workload import (
    Step,
    in_kernels,
    make_images,
    make_network,
    mean_radii,
    measured_step,
    place,
    plain_step,
    settle,
    torchhebb_step,
)

import torchhebb
from torchhebb.process import tune_process
from torchhebb.train.device import find_device, native_bfloat16

PLAIN, UNTUNED = "plain float32", "plain float32, process not tuned"
FLOAT32, COMPILED, BFLOAT16 = "torchhebb float32", "torchhebb float32, compiled", "torchhebb bfloat16"
BATCHES = 16


@dataclass(frozen=True)
class Settings:
    """The learning step: plain against torchhebb."""

    steps: int = 40
    """Timed steps of each variant."""
    warmup: int = 20
    """Steps of each variant before them."""
    before: int = 40
    """Learning steps before the variants part."""
    radius: float = 2.0
    """The mean radius of every layer that they start with."""
    batch_size: int = 10
    device: str = "auto"
    results: Path = RESULTS
    untuned: Path | None = None
    """Serve the plain step from the weights of this file: how the script calls itself."""


def main(settings: Settings) -> None:
    device = find_device(settings.device)
    if settings.untuned is not None:
        network = place(torchhebb.load(settings.untuned), device)  # type: ignore[arg-type]
        serve(plain_step(network, make_batches(settings, device)), device)
        return
    tune_process()
    started = time.perf_counter()
    batches = make_batches(settings, device)
    network = make_network(device)
    learn = torchhebb_step(network, batches, "float32")
    settle(network, learn, steps=settings.before, radius=settings.radius)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        torchhebb.save(network, path)
        compiled, bfloat16 = (place(torchhebb.load(path), device) for _ in range(2))  # type: ignore[arg-type]
        untuned = Remote(
            "bench_step.py", "--untuned", path, "--batch-size", settings.batch_size, "--device", settings.device
        )
    variants: dict[str, Step] = {
        PLAIN: plain_step(network, batches),
        FLOAT32: measured_step(network, batches, "float32"),
        COMPILED: in_kernels(torchhebb_step(compiled, batches, "float32")),
        BFLOAT16: measured_step(bfloat16, batches, "bfloat16"),
        UNTUNED: untuned,
    }
    samples = alternate(variants, steps=settings.steps, warmup=settings.warmup, device=device)
    untuned.close()
    ratios = [
        compare(samples, FLOAT32, UNTUNED, target=1 / 3),
        compare(samples, FLOAT32, PLAIN, target=0.45),
        compare(samples, COMPILED, UNTUNED),
        compare(samples, BFLOAT16, UNTUNED, target=0.25 if native_bfloat16(device) else None),
        compare(samples, BFLOAT16, PLAIN),
    ]
    result = make_result(
        "step",
        samples,
        "ms",
        ratios,
        device=device,
        seconds=time.perf_counter() - started,
        bfloat16_hardware=native_bfloat16(device),
        batch_size=settings.batch_size,
        warmup=settings.warmup,
        learned_before=settings.before,
        radius_before=settings.radius,
        mean_radii_after=mean_radii(network),
    )
    keep(result, settings.results)


def make_batches(settings: Settings, device: torch.device) -> torch.Tensor:
    return make_images(BATCHES * settings.batch_size, seed=0, device=device).unflatten(0, (BATCHES, -1))


if __name__ == "__main__":
    main(parse(Settings))
