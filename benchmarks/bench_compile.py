"""What `torch.compile` could save of a learning step: everything in it that is not a matrix product.

    python benchmarks/bench_compile.py

The pieces of the CIFAR-10 network of depth 3 at batch 10, on the tensors that they meet there: the competition for each
block's u, its triangle, and the step of its weights.  Each runs as the library runs it and as Inductor compiles it, and
both must give the same numbers.  The whole step takes its turns beside them, so that what could be saved has a scale.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import tyro
from harness import RESULTS, alternate, compare, keep, make_result
from torch import Tensor, nn
from workload import make_images, make_network, settle, torchhebb_step

from torchhebb.functional import triangle
from torchhebb.functional.plasticity import norm_adaptive_rate
from torchhebb.nn import HebbConv2d
from torchhebb.process import tune_process
from torchhebb.rules import Rule
from torchhebb.train.device import find_device
from torchhebb.train.diagnostics import plastic_layers

EAGER, COMPILED, STEP = "eager", "compiled", "whole step"


@dataclass(frozen=True)
class Settings:
    """Pieces of the learning step, eager and compiled."""

    steps: int = 40
    """Timed calls of each piece."""
    warmup: int = 5
    """Calls of each before them; compiling is not among them."""
    before: int = 40
    """Learning steps before the pieces' tensors are taken."""
    radius: float = 2.0
    """The mean radius of every layer that they start with."""
    batch_size: int = 10
    device: str = "auto"
    results: Path = RESULTS


def main(settings: Settings) -> None:
    device = find_device(settings.device)
    tune_process()
    started = time.perf_counter()
    batches = make_images(settings.batch_size, seed=0, device=device).unsqueeze(0)
    network = make_network(device)
    learn = torchhebb_step(network, batches, "float32")
    settle(network, learn, steps=settings.before, radius=settings.radius)
    variants: dict[str, Callable[[], object]] = {STEP: learn}
    seconds, names = {}, []
    for name, (piece, arguments) in pieces(network, batches[0]).items():
        eager, compiled = partial(piece, *arguments), partial(torch.compile(piece), *arguments)
        begun = time.perf_counter()
        torch.testing.assert_close(compiled(), eager())
        seconds[name] = time.perf_counter() - begun
        variants |= {f"{name}, {EAGER}": eager, f"{name}, {COMPILED}": compiled}
        names.append(name)
    with torch.no_grad():
        samples = alternate(variants, steps=settings.steps, warmup=settings.warmup, device=device)
    for way in (EAGER, COMPILED):
        samples[f"all pieces, {way}"] = tuple(np.sum([samples[f"{name}, {way}"] for name in names], 0).tolist())
    of_all = [compare(samples, f"all pieces, {COMPILED}", other) for other in (f"all pieces, {EAGER}", STEP)]
    ratios = [compare(samples, f"{name}, {COMPILED}", f"{name}, {EAGER}") for name in names]
    result = make_result(
        "compile",
        samples,
        "ms",
        [*of_all, compare(samples, f"all pieces, {EAGER}", STEP), *ratios],
        device=device,
        seconds=time.perf_counter() - started,
        compile_seconds=seconds,
        batch_size=settings.batch_size,
    )
    keep(result, settings.results)


@torch.no_grad()
def pieces(network: nn.Module, images: Tensor) -> dict[str, tuple[Callable[..., Tensor], tuple[object, ...]]]:
    """Name -> a function of the step and the arguments that it has there, block by block."""
    found: dict[str, tuple[Callable[..., Tensor], tuple[object, ...]]] = {}
    layers = plastic_layers(network)
    seen: dict[str, Tensor] = {}
    handles = [
        layer.register_forward_hook(lambda _module, _x, out, name=name: seen.__setitem__(name, out.clone()))
        for name, layer in layers.items()
    ]
    network.eval()(images)
    for handle in handles:
        handle.remove()
    network.train()
    generator = torch.Generator().manual_seed(0)
    for number, (name, layer) in enumerate(layers.items(), 1):
        assert isinstance(layer, HebbConv2d)
        power = network.get_submodule(f"block{number}.activation").power
        weight = layer.weight.detach().clone()
        update = torch.randn(weight.shape, generator=generator).to(weight).contiguous(memory_format=torch.channels_last)
        found[f"block {number} competition"] = (partial(competed, layer.rule), (seen[name],))
        found[f"block {number} triangle"] = (triangle, (seen[name], power))
        found[f"block {number} weights"] = (stepped, (weight, update))
    return found


def competed(rule: Rule, u: Tensor) -> Tensor:
    """The activity after the competition."""
    return rule(u)[0]


def stepped(weight: Tensor, update: Tensor) -> Tensor:
    """The weights after a step of `NormAdaptiveSGD`, out of place so that it can be repeated."""
    return torch.addcmul(weight, norm_adaptive_rate(weight, update, 0.01, 0.5, groups=1), update, value=-1)


if __name__ == "__main__":
    main(tyro.cli(Settings))
