"""Products of few bits against float32 on one thread: whether this processor has instructions for them.

    python benchmarks/bench_products.py

torch multiplies bfloat16 and int8 matrices on every CPU, by instructions where the processor has them and number by
number elsewhere.  Measured are a product of patches and weights, exact products of int8 by torch's own function and by
float32, and the features of `evaluate width` in both dtypes, which the library chooses between by measurement.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from arguments import parse
from harness import RESULTS, alternate, compare, keep, make_result
from workload import Step

from torchhebb.data import Images
from torchhebb.ops.int8 import float_products
from torchhebb.process import threads, tune_process
from torchhebb.recipes import get_recipe
from torchhebb.train.calibrate import calibrate
from torchhebb.train.device import native_bfloat16
from torchhebb.train.patch_features import PatchFeatures

RECIPE = "patches-cifar10"
POSITIONS, PATCH = 27 * 27, 109  # of an image, and numbers of a patch with its threshold
ROWS, COLUMNS = 512, 1024  # of the int8 matrices
IMAGES = 2


@dataclass(frozen=True)
class Settings:
    """Products in bfloat16 and int8 against float32."""

    neurons: int = 512
    """Neurons of the features and of the product of patches."""
    steps: int = 10
    warmup: int = 2
    results: Path = RESULTS


def main(settings: Settings) -> None:
    tune_process()
    started, device = time.perf_counter(), torch.device("cpu")
    with threads(1):
        samples = alternate(make_calls(settings.neurons), steps=settings.steps, warmup=settings.warmup, device=device)
    pairs = [
        ("patches, bfloat16", "patches, float32"),
        ("int8 by _int_mm", "int8 by float32"),
        ("features, bfloat16", "features, float32"),
    ]
    result = make_result(
        "products",
        samples,
        "ms",
        [compare(samples, few, many) for few, many in pairs],
        device=device,
        seconds=time.perf_counter() - started,
        neurons=settings.neurons,
        bfloat16_hardware=native_bfloat16(device),
    )
    keep(replace(result, device=result.device.split(",")[0] + ", 1 threads"), settings.results)


def make_calls(neurons: int) -> Mapping[str, Step]:
    """The variants, each a call."""
    generator = torch.Generator().manual_seed(0)
    calls: dict[str, Step] = {}
    patches = torch.rand(POSITIONS, PATCH, generator=generator)
    weights = torch.rand(PATCH, neurons, generator=generator)
    a = torch.randint(-127, 128, (ROWS, COLUMNS), generator=generator, dtype=torch.int8)
    pixels = torch.randint(256, (1000, 3, 32, 32), generator=generator, dtype=torch.uint8)
    architecture = get_recipe(RECIPE).architecture
    (block,) = architecture.blocks
    network = calibrate(
        replace(architecture, blocks=(block.with_settings(channels=neurons),)).build(0),
        Images(pixels, torch.zeros(len(pixels), dtype=torch.long)),
        seed=0,
    )
    for dtype in (torch.float32, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        calls[f"patches, {name}"] = partial(torch.mm, patches.to(dtype), weights.to(dtype))
        calls[f"features, {name}"] = partial(PatchFeatures(network, dtype), pixels[:IMAGES] / 255.0)
    calls["int8 by _int_mm"] = partial(torch._int_mm, a, a.T)
    calls["int8 by float32"] = partial(float_products, a, a)
    return calls


if __name__ == "__main__":
    main(parse(Settings))
