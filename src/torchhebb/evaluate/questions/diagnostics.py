"""Radii of the plastic layers while they learn, and which neurons win on test images."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from torchhebb.bounds import at_least
from torchhebb.data import Batches
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Evaluator, Finding
from torchhebb.evaluate.statistics import mean_curve
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Measure
from torchhebb.train.device import autocast
from torchhebb.train.diagnostics import plastic_layers, win_rates
from torchhebb.train.features import batch_size_for

QUANTITIES = {
    "radius_mean": "mean radius",
    "radius_std": "spread of radii",
    "r1_share": "share of neurons at radius 1",
    "dead_share": "share of neurons that never win",
}


@dataclass(frozen=True)
class Diagnostics(Evaluator):
    """Radii, R1 share and dead share of every layer against samples seen; a histogram of win rates on test images.

    Curves `<layer> <quantity>`: mean over seeds, with the spread over seeds; stages of greedy learning follow each
    other.  Curves `<layer> win_rates`: share of neurons by wins in multiples of the fair share 1 / K.
    Measures are the values after learning: R1 share in %, dead share on the test images in %, mean radius.
    """

    question: ClassVar[str] = "diagnostics"
    needs_labels = False

    bins: int = field(default=20, metadata=at_least(1))
    """Bins of the histogram."""

    def run(self, run: Run) -> Iterator[Finding]:
        series = _series(run)
        yield from _curves(series)
        rates = [_test_win_rates(run, seed) for seed in run.seeds]
        for layer in rates[0]:
            fair = [seed[layer] * len(seed[layer]) for seed in rates]
            yield _histogram(layer, fair, self.bins)
            last = [points[max(points)] for points in series[layer, "r1_share"].values()]
            yield Measure(f"{layer}_r1_share", "%", tuple(100 * value for value in last))
            radius = [points[max(points)] for points in series[layer, "radius_mean"].values()]
            yield Measure(f"{layer}_radius_mean", "", tuple(radius))
            dead = (100 * (seed == 0).double().mean().item() for seed in fair)
            yield Measure(f"{layer}_dead_share", "%", tuple(dead))


Series = dict[tuple[str, str], dict[str, dict[float, float]]]


def _series(run: Run) -> Series:
    """(layer, quantity) -> task of a seed -> samples seen -> value."""
    lines = [line for line in run.log() if line["kind"] == "learning"]
    if not plastic_layers(run.network(run.seeds[0])):
        raise UserError(f"{run.recipe.name} has no layer with a radius: its blocks learn by local losses")
    if not lines:
        raise UserError(f"{run.folder / 'metrics.jsonl'} has no record of learning: train the run again")
    stage = max(line["samples"] for line in lines)
    series: Series = defaultdict(lambda: defaultdict(dict))
    for line in lines:
        for quantity in QUANTITIES:
            seen = line["stage"] * stage + line["samples"]
            series[line["name"].removesuffix(".layer"), quantity][line["task"]][seen] = line[quantity]
    return series


def _curves(series: Series) -> Iterator[Curve]:
    for (layer, quantity), seeds in series.items():
        x = sorted(set.intersection(*(set(points) for points in seeds.values())))
        lines = [[points[seen] for seen in x] for points in seeds.values()]
        yield mean_curve(f"{layer} {quantity}", "samples seen", QUANTITIES[quantity], x, lines)


@torch.no_grad()
def _test_win_rates(run: Run, seed: int) -> dict[str, Tensor]:
    """The share of test images and positions that each neuron of each layer wins."""
    network, images = run.network(seed), run.data.test
    batch_size = batch_size_for(network, images, run.device)
    totals: dict[str, Tensor] = {}
    run.progress.start(f"seed {seed}: win rates", len(images), "images")
    for x in Batches(images.images, batch_size, shuffle=False, device=run.device).epoch(0):
        with autocast(run.precision, run.device):
            found = win_rates(network, x)
        for layer, rates in found.items():
            name = layer.removesuffix(".layer")
            totals[name] = totals.get(name, torch.zeros_like(rates, dtype=torch.float64)) + rates * len(x)
        run.progress.advance(len(x))
    run.progress.finish()
    return {layer: (total / len(images)).cpu() for layer, total in totals.items()}


def _histogram(layer: str, fair: list[Tensor], bins: int) -> Curve:
    """Share of neurons in equal bins from 0 to the largest win rate of any seed; x is the middle of a bin."""
    top = max(float(seed.max()) for seed in fair)
    shares = torch.stack([torch.histc(seed, bins, 0, top) / len(seed) for seed in fair])
    middles = (torch.arange(bins) + 0.5) * top / bins
    std = tuple(shares.std(0).tolist()) if len(fair) > 1 else None
    label = "wins, in multiples of the fair share"
    return Curve(
        f"{layer} win_rates", label, "share of neurons", tuple(middles.tolist()), tuple(shares.mean(0).tolist()), std
    )
