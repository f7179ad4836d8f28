"""When may learning stop? The pass ended once the norms of the weights have converged, against the whole of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from torchhebb.config import to_json
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Figure, Finding, Note
from torchhebb.evaluate.figures.panels import Panel, draw_panels
from torchhebb.evaluate.methods.held_out import HeldOut
from torchhebb.evaluate.methods.watch import fit, samples_seen, spread
from torchhebb.nn import Network
from torchhebb.progress import SILENT
from torchhebb.runs.networks import built, untrained
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Measure
from torchhebb.train.diagnostics import plastic_layers, radii
from torchhebb.train.learn import calibrate

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

WHOLE = "whole"


@dataclass(frozen=True)
class Stopping(HeldOut):
    """What is lost, and what is saved, if learning ends once norms have converged.

    A neuron's radius r converges to 1.  The rule looks `looks` times at the mean of |r - 1| over the neurons of each
    layer, d, and stops at the first look at which no layer has come nearer by more than the tolerance t,

        d_now >= (1 - t) d_before    for every layer.

    The layers are trained once, as in the recipe; where the rule of a tolerance would stop, the weights are copied,
    batch norm is calibrated for them, and the probe is fitted.  Greedy blocks learn in turn, and the rule would look at
    one of them alone, so such a recipe is refused.

    Measures for each tolerance, written in percent, and for `whole`, all images of the phase:

        <tolerance>_images      samples seen when the rule stops, all of them where it never does
        <tolerance>_accuracy    of the probe on the held-out images, in %
        <tolerance>_lost        accuracy of the whole phase less that, in points

    and `random_accuracy` of the weights as drawn.  Curves `<block>_distance`, d against samples seen.
    Raises UserError for settings out of range, a network without plastic layers, or greedy order.
    """

    question: ClassVar[str] = "stopping"

    tolerances: tuple[float, ...] = (0.2, 0.1, 0.05, 0.02, 0.01)
    """Shares of d that must be gone from one look to the next for learning to go on, in falling order."""
    looks: int = 20
    """How often the rule looks, at equal distances, the last time at the end."""

    def run(self, run: Run) -> Iterator[Finding]:
        self.check(run)
        traces = [self._trace(run, seed) for seed in run.seeds]
        random = tuple(trace["random"] for trace in traces)
        whole = [trace["stops"][WHOLE]["accuracy"] for trace in traces]
        yield Measure("random_accuracy", "%", random)
        points: list[tuple[float, float]] = []
        for name in (*map(_percent, self.tolerances), WHOLE):
            stops = [trace["stops"][name] for trace in traces]
            images, accuracy = ([stop[key] for stop in stops] for key in ("images", "accuracy"))
            yield Measure(f"{name}_images", "images", tuple(images))
            yield Measure(f"{name}_accuracy", "%", tuple(accuracy))
            if name != WHOLE:
                lost = tuple(all_seen - stopped for all_seen, stopped in zip(whole, accuracy, strict=True))
                yield Measure(f"{name}_lost", "points", lost)
            points.append((fmean(images), fmean(accuracy)))
        curves = {}
        for block in traces[0]["distances"]:
            lines = [trace["distances"][block] for trace in traces]
            name = f"{block}_distance"
            curves[name] = spread(
                name, "samples seen", "mean distance of the radii from 1", traces[0]["samples"], lines
            )
            yield curves[name]
        yield Note("held_out_images", len(run.data.holdout(self.holdout).test))
        caption = "Left: mean distance of the radii from 1. Right: accuracy on held-out images where the rule stops."
        yield Figure("stops", caption, _figure(curves, points, fmean(random)))

    def check(self, run: Run) -> None:
        """Raise UserError for a setting out of range, or a recipe that the rule does not fit."""
        values = self.tolerances
        falling = all(high > low for high, low in zip(values, values[1:], strict=False))
        if not values or not falling or not values[-1] > 0 or not values[0] < 1:
            raise UserError(f"tolerances must be numbers that fall from below 1 to above 0, got {values}")
        if self.looks < 2:
            raise UserError(f"looks must be at least 2, got {self.looks}")
        super().check(run)
        if run.recipe.learning.order == "greedy":
            raise UserError(
                f"learning.order must be joint or pipeline, got greedy: blocks of {run.recipe.name} have a pass each"
            )
        if not plastic_layers(run.recipe.architecture.build()):
            raise UserError(f"{run.recipe.name} has no layer whose neurons have a radius to converge")

    def _trace(self, run: Run, seed: int) -> dict[str, Any]:
        return run.once(
            lambda: self._follow(run, seed),
            question=self.question,
            seed=seed,
            precision=run.precision,
            settings=to_json(self),
        )

    def _follow(self, run: Run, seed: int) -> dict[str, Any]:
        """Train from the beginning, and read out wherever a tolerance stops, and at the end."""
        images, quiet = self.images_of(run, seed), replace(run, progress=SILENT)
        plan = self.plan_of(run.recipe)
        seen = samples_seen(len(images), plan, len(run.recipe.architecture.blocks))
        steps = [round((len(seen) - 1) * look / self.looks) for look in range(self.looks + 1)]
        network, twin = built(run, seed), built(run, seed)
        samples: list[int] = []
        distances: dict[str, list[float]] = {}
        stops: dict[str, dict[str, float]] = {}

        def look(step: int) -> None:
            if step not in steps:
                return
            samples.append(seen[step])
            for block, distance in mean_distances(network).items():
                distances.setdefault(block, []).append(distance)
            due = [name for t in self.tolerances if (name := _percent(t)) not in stops and settled(distances, t)]
            if step == steps[-1]:
                due = [name for name in (*map(_percent, self.tolerances), WHOLE) if name not in stops]
            if due:
                twin.load_state_dict(network.state_dict())
                calibrate(twin, images, seed=seed, learned=True)
                stop = {"images": seen[step], "accuracy": self.score(twin, quiet, seed, "stopped")}
                stops.update({name: stop for name in due})
            run.progress.advance(1)

        run.progress.start(f"seed {seed}: learning, read out where the rule stops", len({*steps}), "looks")
        look(0)
        fit(nn.Sequential(network), images, plan, look, seed=seed, precision=run.precision)
        run.progress.finish()
        random = self.score(untrained(run, seed, images), run, seed, f"seed {seed}: random weights")
        return {"samples": samples, "distances": distances, "stops": stops, "random": random}


@torch.no_grad()
def mean_distances(network: Network) -> dict[str, float]:
    """The mean of |r - 1| over the neurons of each block, r a neuron's radius; one transfer to the host."""
    layers = plastic_layers(network)
    means = torch.stack([(radii(layer) - 1).abs().mean() for layer in layers.values()]).tolist()
    return {name.removesuffix(".layer"): mean for name, mean in zip(layers, means, strict=True)}


def settled(distances: Mapping[str, Sequence[float]], tolerance: float) -> bool:
    """Whether at the last look no layer had come nearer to radius 1 by more than a share of its distance.

    >>> settled({"block1": [24.0, 8.0], "block2": [24.0, 23.5]}, 0.1), settled({"block1": [24.0, 8.0, 7.5]}, 0.1)
    (False, True)
    """
    return all(len(d) > 1 and d[-1] >= (1 - tolerance) * d[-2] for d in distances.values())


def _percent(tolerance: float) -> str:
    """The name of a tolerance.

    >>> _percent(0.05), _percent(0.005)
    ('5_percent', '0.5_percent')
    """
    return f"{100 * tolerance:g}_percent"


def _figure(curves: Mapping[str, Curve], points: Sequence[tuple[float, float]], random: float) -> "Canvas":
    points = sorted({*points})
    stopped = Curve("stopped", "samples seen", "", tuple(x for x, _ in points), tuple(y for _, y in points))
    lines = {f"block {name.partition('_')[0][5:]}": curve for name, curve in curves.items()}
    left = Panel("mean distance of the radii from 1", lines)
    right = Panel("held-out accuracy, %", {"where it stops": stopped}, {"random features": random})
    return draw_panels([left, right], columns=2)
