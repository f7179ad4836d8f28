"""How a run computes on a CPU: the precision, the library of matrix products and the algorithms of convolutions, by
measurement of its own layers and steps."""

import copy
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import fmean

import torch
from torch import Tensor, nn

from torchhebb.data.batches import Augment
from torchhebb.nn import HebbConv2d, Network
from torchhebb.nn.plastic import DataInitialised
from torchhebb.ops.conv_algorithms import AlgorithmName, convolutions_by
from torchhebb.ops.products import Products, has_onednn, products_by
from torchhebb.ops.timing import fastest_calls
from torchhebb.process import MEASURE, threads
from torchhebb.readouts import ReadoutPlan
from torchhebb.readouts.adam import Readout
from torchhebb.train.device import Precision, PrecisionChoice, autocast, find_precision, product_dtype
from torchhebb.train.fused import learning_step
from torchhebb.train.learn import make_optimizer
from torchhebb.train.recipe import Learning

WORTH_IT: Mapping[Precision, float] = {"float32": 0.9, "bfloat16": 0.75}
"""The fraction of the best time so far that a candidate may take: bfloat16, which rounds more, must be much faster."""
LEAST = 10_000_000  # multiplications of the largest layer's step, below which a network is small
BATCH = 10  # images of a step that is measured, at most
ROUNDS, PATIENCE = 4, 2.0  # of which, after so many seconds, two are enough
LAYER_ROUNDS, LAYER_PATIENCE = 6, 0.2  # likewise for a layer and its algorithms
THREADS_ROUNDS, THREADS_SECONDS = 3, 0.05  # for numbers of threads, each of them for as long at least


@dataclass(frozen=True)
class Numerics:
    """What decides how sums are rounded; a run keeps it, so that it goes on as it began."""

    precision: Precision = "float32"
    products: Products = "torch"
    threads: int | None = None
    """The number of threads; None stands for torch's own."""
    by_threads: Mapping[str, float] = field(default_factory=dict, compare=False)
    """By a number of threads, milliseconds that learning and readout take for one training image."""
    convolutions: Mapping[str, AlgorithmName] = field(default_factory=dict)
    """By the shapes of a layer, the algorithm by which it learns; the others by the limits of `ops.conv_algorithms`."""
    measured: Mapping[str, float] = field(default_factory=dict, compare=False)
    """Milliseconds of a learning step by each candidate, of those that were measured."""
    layers: Mapping[str, Mapping[str, float]] = field(default_factory=dict, compare=False)
    """By the shapes of a layer, milliseconds of its `learn` by each algorithm."""

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within it, in all threads, products and convolutions are computed so; not precision and threads."""
        with products_by(self.products), convolutions_by(self.convolutions):
            yield

    @property
    def why(self) -> str:
        """One line for the log.

        >>> Numerics("bfloat16", measured={"float32": 52.31, "bfloat16": 33.0}).why
        'bfloat16, products by torch: a step takes 52.3 ms by float32, 33 ms by bfloat16'
        """
        said = f"{self.precision}, products by {self.products}"
        if self.measured:
            said += f": a step takes {_times(self.measured)}"
        if self.by_threads:
            said += f"; {self.threads} threads: an image takes {_times(self.by_threads)}"
        for layer, name in self.convolutions.items():
            said += f"; {layer} by {name}" + (f" ({_times(self.layers[layer])})" if layer in self.layers else "")
        return said if self.was_measured else f"{said}, not measured"

    @property
    def was_measured(self) -> bool:
        """Whether anything was measured, and not known beforehand.

        >>> Numerics(by_threads={"1": 0.2, "2": 0.3}).was_measured
        True
        """
        return bool(self.measured or self.layers or self.by_threads)


def _times(milliseconds: Mapping[str, float]) -> str:
    return ", ".join(f"{ms:.3g} ms by {name}" for name, ms in milliseconds.items())


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
    readout: ReadoutPlan | None = None,
    classes: int = 0,
    measure: Measure | None = None,
) -> Numerics:
    """The fastest of what `precision` allows, "auto" all of it, for the learning steps of a network.

    Each candidate first finds the fastest algorithm for every convolutional layer.  Then the number of threads is
    chosen, for learning and readout together, where OMP_NUM_THREADS does not say it.

    GPUs, and processes with TORCHHEBB_MEASURE=0, go by what `find_precision` knows of the hardware, and so does the
    precision of small networks.

    Args: network, which is not changed; readout and classes, what is trained on its features; measure, from candidates
    to the milliseconds of each, by default their steps.
    """
    known = Numerics(find_precision(precision, device))
    if device.type != "cpu" or os.environ.get(MEASURE) == "0" or not plan.epochs:
        return known
    found = _fastest(known, network, plan, precision, measure)
    if "OMP_NUM_THREADS" in os.environ or len(counts := _halved(torch.get_num_threads())) < 2:
        return found
    return with_threads(found, measure_threads(found, network, plan, readout, classes, counts))


def _fastest(
    known: Numerics, network: Network, plan: Learning, precision: PrecisionChoice, measure: Measure | None
) -> Numerics:
    """The fastest library, precision and algorithms; what is known for a small network."""
    allowed = {
        name: candidate
        for name, candidate in CANDIDATES.items()
        if precision in ("auto", candidate.precision) and (candidate.products == "torch" or has_onednn())
    }
    if multiplications(network, plan.batch_size) < LEAST:
        return known
    if precision == "auto" and product_dtype() != torch.bfloat16:
        del allowed["bfloat16"]
    allowed = {name: with_convolutions(candidate, network, plan) for name, candidate in allowed.items()}
    if len(allowed) < 2:
        return next(iter(allowed.values()), known)
    measured = (measure or (lambda those: measure_steps(network, plan, those)))(allowed)
    first, *others = allowed
    best = first
    for name in others:
        if measured[name] < WORTH_IT[allowed[name].precision] * measured[best]:
            best = name
    return replace(allowed[best], measured=dict(measured))


def with_convolutions(candidate: Numerics, network: Network, plan: Learning) -> Numerics:
    """The candidate with the fastest algorithm for the `learn` of every convolutional layer that has a choice."""
    twin = _twin(network)
    inputs: dict[HebbConv2d, Tensor] = {}

    def keep(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        inputs[module] = arguments[0]  # type: ignore[index]

    layers = [module for module in twin.modules() if isinstance(module, HebbConv2d)]
    handles = [layer.register_forward_pre_hook(keep) for layer in layers]
    chosen: dict[str, AlgorithmName] = {}
    times: dict[str, Mapping[str, float]] = {}
    device = next(twin.parameters()).device
    with torch.no_grad(), autocast(candidate.precision, device), products_by(candidate.products):
        twin.eval()(_images(network, plan))
        for handle in handles:
            handle.remove()
        twin.train()
        for layer, x in inputs.items():
            shapes, names = layer.algorithms(x)
            if len(names) < 2 or shapes in chosen:
                continue
            taken = fastest_calls(
                {name: partial(_learn_by, name, shapes, layer, x) for name in names}, LAYER_ROUNDS, LAYER_PATIENCE
            )
            fastest = min(names, key=taken.__getitem__)
            worth_it = taken[fastest] < WORTH_IT["float32"] * taken[names[0]]
            chosen[shapes], times[shapes] = (
                fastest if worth_it else names[0],
                {str(name): ms for name, ms in taken.items()},
            )
    return replace(candidate, convolutions=chosen, layers=times)


def with_threads(found: Numerics, taken: Mapping[int, float]) -> Numerics:
    """The fewest threads, of those measured, that no larger number is faster than by more than a little.

    Args: taken, from numbers of threads to the milliseconds of each.

    >>> with_threads(Numerics(), {4: 5.0, 2: 5.1, 1: 9.0}).threads
    2
    """
    chosen, *fewer = sorted(taken, reverse=True)
    for count in fewer:
        if WORTH_IT["float32"] * taken[count] <= min(taken[other] for other in taken if other >= count):
            chosen = count
    return replace(found, threads=chosen, by_threads={str(count): ms for count, ms in taken.items()})


def _halved(count: int) -> list[int]:
    """
    >>> _halved(6)
    [6, 3, 1]
    """
    return [count] if count == 1 else [count, *_halved(count // 2)]


def measure_threads(
    found: Numerics,
    network: Network,
    plan: Learning,
    readout: ReadoutPlan | None,
    classes: int,
    counts: Sequence[int],
) -> dict[int, float]:
    """By numbers of threads, milliseconds that all passes of learning and of a readout by batches take an image.

    They are means, not the fastest, and the numbers take turns: how long threads take to wake is part of it.
    """
    twin, x = _twin(network), _images(network, plan)
    step = learning_step(twin, make_optimizer(twin, plan), device=x.device, precision=found.precision, output=False)
    works: list[tuple[Callable[[], object], float]] = [(lambda: step(x), plan.epochs / len(x))]
    if isinstance(readout, Readout) and classes:
        batches = 4
        assert network.architecture is not None
        features = torch.rand(batches * readout.batch_size, network.architecture.output_shape().numel())
        labels = torch.arange(len(features)) % classes
        once = replace(readout, epochs=1, augment=Augment())
        works.append((lambda: once.fit(features, labels, classes), readout.epochs / len(features)))
    rounds: list[dict[int, float]] = []
    began = time.perf_counter()
    while len(rounds) < THREADS_ROUNDS and (not rounds or time.perf_counter() - began < PATIENCE):
        taken = dict.fromkeys(counts, 0.0)
        for count in counts:
            with threads(count), found.applied():
                taken[count] = sum(passes * _mean_milliseconds(work) for work, passes in works)
        rounds.append(taken)
    kept = rounds[1:] or rounds  # the first of them warms up, where there is time for others
    return {count: fmean(taken[count] for taken in kept) for count in counts}


def _mean_milliseconds(work: Callable[[], object]) -> float:
    """Of one call, over some tens of milliseconds of them."""
    calls, began = 0, time.perf_counter()
    while (seconds := time.perf_counter() - began) < THREADS_SECONDS:
        work()
        calls += 1
    return 1e3 * seconds / calls


def measure_steps(network: Network, plan: Learning, candidates: Mapping[str, Numerics]) -> dict[str, float]:
    """Milliseconds of the fastest of some learning steps by each candidate, which take turns, on random images."""
    x = _images(network, plan)
    works = {}
    for name, candidate in candidates.items():
        twin = _twin(network)
        step = learning_step(
            twin, make_optimizer(twin, plan), device=x.device, precision=candidate.precision, output=False
        )
        works[name] = partial(_step_by, candidate, step, x)
    return fastest_calls(works, ROUNDS, PATIENCE)


def _step_by(candidate: Numerics, step: Callable[[Tensor], object], x: Tensor) -> None:
    with candidate.applied():
        step(x)


def _learn_by(name: AlgorithmName, shapes: str, layer: HebbConv2d, x: Tensor) -> None:
    with convolutions_by({shapes: name}):
        layer.learn(x)


def _twin(network: Network) -> Network:
    """A copy in train mode, to be measured; weights that samples would set stay as drawn."""
    twin = copy.deepcopy(network).train()
    for module in twin.modules():
        if isinstance(module, DataInitialised):
            module.initialised = True
    return twin


def _images(network: Network, plan: Learning) -> Tensor:
    """Random images of the size of a batch, where that is small."""
    assert network.architecture is not None
    shape = min(BATCH, plan.batch_size), *network.architecture.input_shape
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)).to(next(network.parameters()).device)


@torch.no_grad()
def multiplications(network: Network, batch: int) -> int:
    """The most multiplications that the pre-activations of one layer take over a batch."""
    assert network.architecture is not None
    found = [0]

    def count(module: nn.Module, _: object, u: Tensor) -> None:
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
