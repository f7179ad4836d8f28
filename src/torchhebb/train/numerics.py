"""How a run computes on a CPU: the precision and the library of matrix products, by measurement of its own steps."""

import copy
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from torchhebb.nn import Network
from torchhebb.nn.plastic import DataInitialised
from torchhebb.ops.products import Products, has_onednn, products_by
from torchhebb.process import MEASURE
from torchhebb.train.device import Precision, PrecisionChoice, find_precision
from torchhebb.train.fused import learning_step
from torchhebb.train.learn import make_optimizer
from torchhebb.train.recipe import Learning

WORTH_IT: Mapping[Precision, float] = {"float32": 0.9, "bfloat16": 0.75}
"""The fraction of the best time so far that a candidate may take: bfloat16, which rounds more, must be much faster."""
LEAST = 10_000_000  # multiplications of the largest layer's step, below which a network is small
BATCH = 10  # images of a step that is measured, at most
ROUNDS, PATIENCE = 4, 2.0  # of which, after so many seconds, two are enough


@dataclass(frozen=True)
class Numerics:
    """What decides how sums are rounded; a run keeps it, so that it goes on as it began."""

    precision: Precision = "float32"
    products: Products = "torch"
    threads: int | None = None
    """The number of threads; None stands for torch's own."""
    measured: Mapping[str, float] = field(default_factory=dict, compare=False)
    """Milliseconds of a learning step by each candidate, of those that were measured."""

    @property
    def why(self) -> str:
        """One line for the log.

        >>> Numerics("bfloat16", measured={"float32": 52.31, "bfloat16": 33.0}).why
        'bfloat16, products by torch: a step takes 52.3 ms by float32, 33 ms by bfloat16'
        """
        said = f"{self.precision}, products by {self.products}"
        times = ", ".join(f"{ms:.3g} ms by {name}" for name, ms in self.measured.items())
        return f"{said}: a step takes {times}" if times else f"{said}, not measured"


CANDIDATES: Mapping[str, Numerics] = {
    "float32": Numerics("float32", "torch"),
    "float32, onednn": Numerics("float32", "onednn"),
    "bfloat16": Numerics("bfloat16", "torch"),
}

Measure = Callable[[Mapping[str, Numerics]], Mapping[str, float]]


def choose_numerics(
    network: Network,
    plan: Learning,
    precision: PrecisionChoice,
    device: torch.device,
    *,
    measure: Measure | None = None,
) -> Numerics:
    """The fastest of what `precision` allows, "auto" all of it, for the learning steps of a network.

    Small networks, GPUs, and processes with TORCHHEBB_MEASURE=0 go by what `find_precision` knows of the hardware.
    Small networks compute by one thread, where OMP_NUM_THREADS does not say by how many: more wait for each other.

    Args: network, which is not changed; measure, from candidates to the milliseconds of each, by default their steps.
    """
    known = Numerics(find_precision(precision, device))
    if device.type != "cpu" or os.environ.get(MEASURE) == "0" or not plan.epochs:
        return known
    allowed = {
        name: candidate
        for name, candidate in CANDIDATES.items()
        if precision in ("auto", candidate.precision) and (candidate.products == "torch" or has_onednn())
    }
    if multiplications(network, plan.batch_size) < LEAST:
        return known if "OMP_NUM_THREADS" in os.environ else replace(known, threads=1)
    if len(allowed) < 2:
        return known
    measured = (measure or (lambda those: measure_steps(network, plan, those)))(allowed)
    first, *others = allowed
    best = first
    for name in others:
        if measured[name] < WORTH_IT[allowed[name].precision] * measured[best]:
            best = name
    return replace(allowed[best], measured=dict(measured))


def measure_steps(network: Network, plan: Learning, candidates: Mapping[str, Numerics]) -> dict[str, float]:
    """Milliseconds of the fastest of some learning steps by each candidate, which take turns, on random images."""
    assert network.architecture is not None
    device = next(network.parameters()).device
    shape = network.architecture.input_shape
    x = torch.rand(min(BATCH, plan.batch_size), *shape, generator=torch.Generator().manual_seed(0)).to(device)
    steps = {}
    for name, candidate in candidates.items():
        twin = copy.deepcopy(network).train()
        for module in twin.modules():
            if isinstance(module, DataInitialised):
                module.initialised = True  # as drawn: what is measured is time
        steps[name] = learning_step(
            twin, make_optimizer(twin, plan), device=device, precision=candidate.precision, output=False
        )
    taken = {name: float("inf") for name in candidates}
    began = time.perf_counter()
    for number in range(ROUNDS):  # the first of them warms up, and is hardly ever the fastest
        if number > 1 and time.perf_counter() - began > PATIENCE:
            break
        for name, candidate in candidates.items():
            with products_by(candidate.products):
                started = time.perf_counter()
                steps[name](x)
                taken[name] = min(taken[name], 1e3 * (time.perf_counter() - started))
    return taken


@torch.no_grad()
def multiplications(network: Network, batch: int) -> int:
    """The most multiplications that the pre-activations of one layer take over a batch."""
    assert network.architecture is not None
    found = [0]

    def count(module: nn.Module, _: object, u: torch.Tensor) -> None:
        found.append(u.numel() // len(u) * batch * module.get_parameter("weight")[0].numel())

    layers = [m for m in network.modules() if getattr(m, "weight", None) is not None and m.weight.dim() > 1]  # type: ignore[operator]
    handles = [layer.register_forward_hook(count) for layer in layers]
    modes = [(module, module.training) for module in network.modules()]
    try:
        parameter = next(network.parameters())
        network.eval()(parameter.new_zeros(1, *network.architecture.input_shape))
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode
    return max(found)
