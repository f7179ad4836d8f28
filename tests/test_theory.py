"""The Bayesian theory of SoftHebb-2022 on data from a known mixture: the layer finds its directions and its priors.

`python -m tests.test_theory` prints the table of docs/explanation/theory.md:
twenty runs from each start, at several overlaps.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Generator, Tensor
from torch.nn.functional import normalize

from torchhebb import learn
from torchhebb.functional import kl_divergence, mixture_log_density, posterior, sample_mixture, soft_wta
from torchhebb.nn import HebbLinear
from torchhebb.rules import SoftHebb

DIMENSION = 20
PRIORS = torch.tensor([0.5, 0.2, 0.15, 0.1, 0.05], dtype=torch.float64)
BATCH, BATCHES, HELD_OUT = 100, 400, 4000
KEEP_EVERY = 10  # batches
WINDOWS = (0, 30, 50, 100, 200, BATCHES)  # batches seen
SEEDS = range(10)

Start = Callable[[Tensor, Generator], Tensor]


def farthest_samples(x: Tensor, generator: Generator) -> Tensor:
    """A random sample, then each time the sample whose closest chosen one is farthest away (Gonzalez 1985)."""
    chosen = torch.randint(len(x), (1,), generator=generator)
    while len(chosen) < len(PRIORS):
        closest = (x @ x[chosen].T).amax(1)
        chosen = torch.cat([chosen, closest.argmin()[None]])
    return x[chosen]


def random_samples(x: Tensor, generator: Generator) -> Tensor:
    return x[torch.randperm(len(x), generator=generator)[: len(PRIORS)]]


def random_weights(radius: float) -> Start:
    """The layer's own initialisation."""

    def start(x: Tensor, generator: Generator) -> Tensor:
        layer = HebbLinear(x.shape[1], len(PRIORS), init_radius=radius, dtype=x.dtype)
        layer.reset_parameters(generator)
        return layer.weight.detach()

    return start


@dataclass(frozen=True)
class World:
    """A mixture whose directions are drawn from the seed, and what was drawn from it."""

    kappa: float
    means: Tensor
    x: Tensor
    held_out: Tensor

    @property
    def bias(self) -> Tensor:
        return PRIORS.log() / self.kappa


@dataclass(frozen=True)
class Model:
    weight: Tensor
    bias: Tensor

    def log_density(self, world: World) -> Tensor:
        return mixture_log_density(world.held_out, self.weight, world.kappa, bias=self.bias)

    def divergence(self, world: World) -> float:
        return kl_divergence(Model(world.means, world.bias).log_density(world), self.log_density(world)).item()

    def cosines_and_priors(self, world: World) -> tuple[Tensor, Tensor]:
        """One of each for every true component, from the neuron matched to it."""
        cosines = world.means @ normalize(self.weight, dim=1).T
        component, neuron = linear_sum_assignment(-cosines.numpy())
        return cosines[component, neuron], (world.kappa * self.bias).exp()[neuron]

    def recovers(self, world: World) -> bool:
        if not self.weight.isfinite().all():
            return False
        cosines, priors = self.cosines_and_priors(world)
        return bool((cosines > 0.98).all() and ((priors - PRIORS).abs() < 0.02).all())


def draw_world(generator: Generator, kappa: float) -> World:
    means = normalize(torch.randn(len(PRIORS), DIMENSION, generator=generator, dtype=torch.float64), dim=1)
    samples = BATCH * BATCHES + HELD_OUT
    x, _ = sample_mixture(samples, means, kappa, bias=PRIORS.log() / kappa, generator=generator)
    return World(kappa, means, x[:-HELD_OUT], x[-HELD_OUT:])


def hebbian_layer(weight: Tensor, kappa: float) -> HebbLinear:
    """A layer with these weights and the uniform prior."""
    neurons, inputs = weight.shape
    rule = SoftHebb(kappa, anti_hebbian=False)
    layer = HebbLinear(inputs, neurons, rule=rule, bias=True, init_radius=1.0, dtype=weight.dtype)
    layer.weight.copy_(weight)
    return layer


def learned(world: World, weight: Tensor, passes: int = 1) -> list[Model]:
    """Plain SGD at the rate 1 / (1 + batch / (50 passes)), a tenth of it for log priors; the model all along."""
    layer = hebbian_layer(weight, world.kappa)
    assert layer.bias is not None
    groups = [{"params": [layer.weight], "lr": 1.0}, {"params": [layer.bias], "lr": 0.1 / world.kappa}]
    optimizer = torch.optim.SGD(groups)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda batch: 1 / (1 + batch / (50 * passes)))
    models = []
    for seen, batch in enumerate(world.x.split(BATCH) * passes):
        if seen % KEEP_EVERY == 0:
            models.append(Model(layer.weight.detach().clone(), layer.bias.detach().clone()))
        optimizer.zero_grad()
        learn(layer, batch)
        optimizer.step()
        schedule.step()
    return [*models, Model(layer.weight.detach(), layer.bias.detach())]


def expectation_maximisation(world: World, model: Model, steps: int = 100) -> Model:
    """The classical algorithm on many samples at once: the posterior, then its means and mean directions, in turn."""
    x = world.x[:10_000]
    for _ in range(steps):
        y = posterior(x, model.weight, world.kappa, bias=model.bias)
        model = Model(normalize(y.T @ x, dim=1), y.mean(0).log() / world.kappa)
    return model


@dataclass(frozen=True)
class Run:
    world: World
    models: list[Model]


def run(seed: int, kappa: float, start: Start, passes: int = 1) -> Run:
    generator = torch.Generator().manual_seed(seed)
    world = draw_world(generator, kappa)
    return Run(world, learned(world, start(world.x[: 10 * BATCH], generator), passes))


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return [run(seed, 40.0, farthest_samples) for seed in SEEDS]


def test_directions_and_priors_are_found(runs: list[Run]):
    for seed, one in enumerate(runs):
        assert one.models[-1].recovers(one.world), f"seed {seed}: {one.models[-1].cosines_and_priors(one.world)}"


def test_weights_arrive_on_the_sphere_and_priors_sum_to_one(runs: list[Run]):
    for one in runs:
        final = one.models[-1]
        torch.testing.assert_close(final.weight.norm(dim=1), torch.ones(5, dtype=torch.float64), rtol=0, atol=0.01)
        assert (one.world.kappa * final.bias).exp().sum().item() == pytest.approx(1, abs=0.01)


def test_the_divergence_falls_without_labels(runs: list[Run]):
    """In each run, no window's mean divergence lies above the window's before it by more than its standard error."""
    for seed, one in enumerate(runs):
        truth = Model(one.world.means, one.world.bias).log_density(one.world)
        means, errors = [], []
        for first, end in pairwise(WINDOWS):
            window = one.models[first // KEEP_EVERY : end // KEEP_EVERY]
            ratio = truth - torch.stack([model.log_density(one.world) for model in window]).mean(0)
            means.append(ratio.mean().item())
            errors.append(ratio.std().item() / len(ratio) ** 0.5)
        for earlier, later, error in zip(means, means[1:], errors[1:], strict=False):
            assert later < earlier + error, f"seed {seed}: {means} +- {errors}"
        assert means[-1] < 0.02 < 1 < means[0]


def test_one_pass_is_close_to_the_maximum_likelihood(runs: list[Run]):
    for one in runs[:3]:
        best = expectation_maximisation(one.world, Model(one.world.means, one.world.bias), steps=30)
        assert one.models[-1].divergence(one.world) - best.divergence(one.world) < 0.02


def test_maximum_likelihood_is_a_fixed_point():
    """Where EM stands still, so does the layer, at unit radius."""
    world = draw_world(torch.Generator().manual_seed(0), 40.0)
    best = expectation_maximisation(world, Model(world.means, world.bias))
    layer = hebbian_layer(best.weight, world.kappa)
    assert layer.bias is not None
    layer.bias.copy_(best.bias)
    learn(layer, world.x[:10_000])
    assert layer.weight.grad is not None and layer.bias.grad is not None
    assert layer.weight.grad.abs().max() < 1e-10
    assert layer.bias.grad.abs().max() < 1e-10


@pytest.mark.parametrize("kappa", [10.0, 40.0])
def test_the_bias_alone_learns_the_log_prior(kappa: float):
    """Weights at the truth, the uniform prior, all samples at once: b = log E[y] / kappa, close to the true prior."""
    world = draw_world(torch.Generator().manual_seed(1), kappa)
    x = world.x[:10_000]
    layer = hebbian_layer(world.means, kappa)
    assert layer.bias is not None
    torch.testing.assert_close((kappa * layer.bias).exp(), torch.full((5,), 0.2, dtype=torch.float64))
    optimizer = torch.optim.SGD([layer.bias], lr=0.5 / kappa)
    for _ in range(100):
        optimizer.zero_grad()
        learn(layer, x)
        optimizer.step()
    y = soft_wta(layer(x), kappa, bias=layer.bias)
    torch.testing.assert_close(layer.bias.detach(), y.mean(0).log() / kappa, rtol=0, atol=1e-6)
    torch.testing.assert_close((kappa * layer.bias).exp(), PRIORS, rtol=0, atol=0.02)


STARTS: dict[str, Start] = {
    "samples far apart": farthest_samples,
    "random samples": random_samples,
    "random weights, radius 1": random_weights(1.0),
    "random weights, radius 0.1": random_weights(0.1),
    "random weights, radius 25": random_weights(25.0),
}


def table() -> None:
    """Of twenty runs, how many find every direction and prior; dead: that miss them with a neuron of prior < 0.01.

    A run that diverges leaves nothing for EM.
    """
    print("| start | kappa | one pass | its KL, median | five passes | dead | then EM | EM from the start |")
    print("|---|---|---|---|---|---|---|---|")
    for name, start in STARTS.items():
        for kappa in (20.0, 40.0):
            once = five = dead = after = classical = 0
            divergences = []
            for seed in range(20):
                one, longer = run(seed, kappa, start), run(seed, kappa, start, passes=5)
                world, first, last, final = one.world, one.models[0], one.models[-1], longer.models[-1]
                once += last.recovers(world)
                five += final.recovers(world)
                if final.weight.isfinite().all():
                    dead += not final.recovers(world) and bool(((kappa * final.bias).exp() < 0.01).any())
                    after += expectation_maximisation(world, final).recovers(world)
                classical += expectation_maximisation(world, first).recovers(world)
                divergences.append(last.divergence(world) if last.weight.isfinite().all() else math.inf)
            cells = [name, f"{kappa:.0f}", once, f"{median(divergences):.3f}", five, dead, after, classical]
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    table()
