"""Radii of the plastic layers while they learn, and which neurons win on test images."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from torchhebb.bounds import at_least
from torchhebb.data import Batches
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Finding
from torchhebb.evaluate.statistics import mean_curve, percent
from torchhebb.evaluate.study import Cell, Quantity, Study, values
from torchhebb.runs.networks import learning_task
from torchhebb.runs.run import Run
from torchhebb.train import Curve
from torchhebb.train.device import autocast
from torchhebb.train.diagnostics import plastic_layers, win_rates
from torchhebb.train.features import batch_size_for


@dataclass(frozen=True)
class Diagnostics(Study[None]):
    """Radii, R1 share and dead share of every layer against samples seen; a histogram of win rates on test images.

    The curves over samples are those that the run logged while it learned; nothing is trained again.  Curves
    `<layer> <quantity>`: the mean over seeds, with the standard deviation; the stages of greedy learning follow each
    other.  Curves `<layer> win_rates`: share of the neurons against their wins in multiples of the mean, 1 / K.
    Measures are the values after learning: R1 share in %, mean radius, dead share on the test images in %.
    Raises UserError for a run without plastic layers, or without a record of its learning.

    Example:
        >>> Diagnostics(bins=10).question
        'diagnostics'
    """

    question: ClassVar[str] = "diagnostics"
    needs_labels: ClassVar[bool] = False
    keeps_cells: ClassVar[bool] = False
    quantities: ClassVar[dict[str, Quantity]] = {
        "radius_mean": Quantity("mean radius"),
        "radius_std": Quantity("spread of radii"),
        "r1_share": Quantity("share of neurons at radius 1", "%"),
        "dead_share": Quantity("share of neurons that never win", "%"),
    }

    bins: int = field(default=20, metadata=at_least(1))
    """Bins of the histogram."""

    def check(self, run: Run) -> None:
        if not plastic_layers(run.network(run.seeds[0])):
            raise UserError(f"{run.recipe.name} has no layer with a radius: its blocks learn by local losses")
        tasks = {line["task"] for line in run.log() if line["kind"] == "learning"}
        if not tasks.issuperset(map(learning_task, run.seeds)):
            raise UserError(f"{run.folder / 'metrics.jsonl'} has no record of learning: train the run again")

    def variants(self, run: Run) -> dict[str, None]:
        return {"": None}

    def cell(self, run: Run, variant: None, seed: int) -> Cell:
        """`logged`: (samples, value) of every layer and quantity; `wins`: the win rates of every layer, times K."""
        lines = [line for line in run.log() if line["kind"] == "learning" and line["task"] == learning_task(seed)]
        stage = max(line["samples"] for line in lines)
        logged: dict[str, dict[float, float]] = {}
        for line in lines:
            for quantity in self.quantities:
                of_layer = logged.setdefault(f"{line['name'].removesuffix('.layer')} {quantity}", {})
                of_layer[line["stage"] * stage + line["samples"]] = line[quantity]
        return {
            "logged": {name: sorted(points.items()) for name, points in logged.items()},
            "wins": {layer: (rates * len(rates)).tolist() for layer, rates in _test_win_rates(run, seed).items()},
        }

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        logged, wins = values(cells[""], "logged"), values(cells[""], "wins")
        for name in logged[0]:
            lines = [dict(of_seed[name]) for of_seed in logged]
            x = sorted(set.intersection(*map(set, lines)))
            label = self.quantity(name.rsplit(" ", 1)[1]).label
            yield mean_curve(name, "samples seen", label, x, [[line[samples] for samples in x] for line in lines])
        for layer in wins[0]:
            of_layer = [torch.tensor(of_seed[layer], dtype=torch.float64) for of_seed in wins]
            yield _histogram(layer, of_layer, self.bins)
            r1, radius = (
                [of_seed[f"{layer} {name}"][-1][1] for of_seed in logged] for name in ("r1_share", "radius_mean")
            )
            dead = [percent(of_seed == 0) for of_seed in of_layer]
            yield self.measure(run, f"{layer}_r1_share", [100 * share for share in r1], "r1_share")
            yield self.measure(run, f"{layer}_radius_mean", radius, "radius_mean")
            yield self.measure(run, f"{layer}_dead_share", dead, "dead_share")


@torch.no_grad()
def _test_win_rates(run: Run, seed: int) -> dict[str, Tensor]:
    """The fraction of test images and positions that each neuron of each layer wins."""
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


def _histogram(layer: str, wins: Sequence[Tensor], bins: int) -> Curve:
    """Share of neurons in equal bins from 0 to the largest win rate of any seed; x is the middle of a bin."""
    top = max(float(of_seed.max()) for of_seed in wins)
    shares = torch.stack([torch.histc(of_seed, bins, 0, top) / len(of_seed) for of_seed in wins])
    middles = (torch.arange(bins) + 0.5) * top / bins
    label = "wins, in multiples of the fair share"
    return mean_curve(f"{layer} win_rates", label, "share of neurons", middles.tolist(), shares.tolist())
