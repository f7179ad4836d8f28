"""What `--compile` saves of a learning step: the chains of operations around its matrix products, as kernels.

    python benchmarks/bench_compile.py

The step of the CIFAR-10 network of depth 3 at batch 10, eager and compiled, in two networks of the same weights; beside
it its kernels on the tensors that they meet there, block by block: the competition with the decay, and the step of the
weights.  Both networks must have the same weights after a step.
"""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from arguments import parse
from harness import RESULTS, alternate, compare, keep, make_result
from torch import Tensor, nn
from workload import Step, in_kernels, make_images, make_network, settle, torchhebb_step

from torchhebb.nn import HebbConv2d, Network
from torchhebb.nn.plastic import compete
from torchhebb.optim import NormAdaptiveSGD
from torchhebb.process import tune_process
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
    networks = [make_network(device) for _ in range(2)]
    steps = [torchhebb_step(network, batches, "float32") for network in networks]
    for network, step in zip(networks, steps, strict=True):
        settle(network, step, steps=settings.before, radius=settings.radius)
    with torch.no_grad():
        variants = {STEP: steps[0], **pieces(networks[0], batches[0])}
        compiled = {name: in_kernels(call) for name, call in (variants | {STEP: steps[1]}).items()}
        seconds = {name: first_call(call) for name, call in compiled.items()}
        variants[STEP]()
        for eager, other in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
            torch.testing.assert_close(other, eager, rtol=1e-4, atol=1e-5)
        both = {
            f"{name}, {way}": calls[name]
            for name in variants
            for way, calls in ((EAGER, variants), (COMPILED, compiled))
        }
        samples = alternate(both, steps=settings.steps, warmup=settings.warmup, device=device)
    result = make_result(
        "compile",
        samples,
        "ms",
        [compare(samples, f"{name}, {COMPILED}", f"{name}, {EAGER}") for name in variants],
        device=device,
        seconds=time.perf_counter() - started,
        compile_seconds=seconds,
        batch_size=settings.batch_size,
    )
    keep(result, settings.results)


def first_call(call: Step) -> float:
    """Seconds of the call in which a chain is compiled."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def pieces(network: Network, images: Tensor) -> dict[str, Step]:
    """Name -> a kernel on the arguments that it has in the step, block by block."""
    seen: dict[str, Tensor] = {}
    layers = plastic_layers(network)
    handles = [
        layer.register_forward_hook(lambda _module, _x, out, name=name: seen.__setitem__(name, out.clone()))
        for name, layer in layers.items()
    ]
    network.eval()(images)
    for handle in handles:
        handle.remove()
    network.train()
    found: dict[str, Step] = {}
    for number, (name, layer) in enumerate(layers.items(), 1):
        assert isinstance(layer, HebbConv2d)
        weight = nn.Parameter(layer.weight.clone(), requires_grad=False)
        weight.grad = torch.randn_like(weight)
        found[f"block {number} competition"] = partial(compete, layer.rule, seen[name])
        found[f"block {number} weights"] = NormAdaptiveSGD([weight], lr=1e-6).step
    return found


if __name__ == "__main__":
    main(parse(Settings))
