"""Early stopping by the convergence of the weights' norms: accuracy lost and images saved."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from torchhebb.bounds import at_least, falling
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Figure, Finding
from torchhebb.evaluate.figures.panels import Panel, draw_panels
from torchhebb.evaluate.held_out import HeldOut
from torchhebb.evaluate.methods.radii import plastic_blocks
from torchhebb.evaluate.methods.watch import fit, samples_seen
from torchhebb.evaluate.statistics import mean_curve
from torchhebb.evaluate.study import Cell, Quantity, values
from torchhebb.nn import Network
from torchhebb.progress import SILENT
from torchhebb.runs.networks import built
from torchhebb.runs.run import Run
from torchhebb.train import Curve
from torchhebb.train.calibrate import calibrate
from torchhebb.train.diagnostics import plastic_layers, radii

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

WHOLE = "whole"


@dataclass(frozen=True)
class Stopping(HeldOut[None]):
    """Accuracy lost and images saved if learning stops once the norms of the weights have converged.

    A neuron's radius r converges to 1.  The rule checks the mean d of |r - 1| over the neurons of each layer at `looks`
    points, and stops at the first point where no d has decreased by more than the tolerance t since the last one,

        d_now >= (1 - t) d_before    for every layer.

    The layers are trained once, as in the recipe.  Where the rule stops for a tolerance, the weights are copied, their
    batch norm is calibrated, and the probe is fitted.  Recipes in greedy order are refused: their blocks learn in turn,
    so that the rule would apply to one block at a time.

    Measures for each tolerance, written in percent, and for `whole`, all images of the phase:

        <tolerance>_images      samples seen when the rule stops, or all samples if it does not
        <tolerance>_accuracy    of the probe on the held-out images, in %
        <tolerance>_lost        accuracy of the whole phase minus that, in points

    and `random_accuracy` of the weights as drawn.  Curves `<block>_distance`, d against samples seen.
    Raises UserError for settings out of range, a network without plastic layers, or greedy order.

    Example:
        >>> Stopping(tolerances=(0.05, 0.01)).question
        'stopping'
    """

    question: ClassVar[str] = "stopping"
    quantities: ClassVar[dict[str, Quantity]] = {
        "accuracy": Quantity("held-out accuracy, %", "%"),
        "images": Quantity("samples seen", "images"),
        "lost": Quantity("accuracy lost, points", "points"),
        "distance": Quantity("mean distance of the radii from 1"),
    }

    tolerances: tuple[float, ...] = field(default=(0.2, 0.1, 0.05, 0.02, 0.01), metadata=falling(below=1, above=0))
    """Relative decreases of d between two points below which learning stops, in decreasing order."""
    looks: int = field(default=20, metadata=at_least(2))
    """Number of points at which the rule is checked, evenly spaced, the last one at the end."""

    def check(self, run: Run) -> None:
        super().check(run)
        if run.recipe.learning.order == "greedy":
            raise UserError(
                f"learning.order must be joint or pipeline, got greedy: blocks of {run.recipe.name} have a pass each"
            )
        if not plastic_layers(run.recipe.architecture.build()):
            raise UserError(f"{run.recipe.name} has no layer whose neurons have a radius to converge")

    def variants(self, run: Run) -> dict[str, None]:
        return {"stops": None}

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        traces = cells["stops"]
        random = values(traces, "random")
        yield self.measure(run, "random_accuracy", random, "accuracy")
        points: list[tuple[float, float]] = []
        whole = [trace["stops"][WHOLE]["accuracy"] for trace in traces]
        for name in (*map(_percent, self.tolerances), WHOLE):
            stops = [trace["stops"][name] for trace in traces]
            images, accuracy = values(stops, "images"), values(stops, "accuracy")
            yield self.measure(run, f"{name}_images", images, "images")
            yield self.measure(run, f"{name}_accuracy", accuracy, "accuracy")
            if name != WHOLE:
                lost = [all_seen - stopped for all_seen, stopped in zip(whole, accuracy, strict=True)]
                yield self.measure(run, f"{name}_lost", lost, "lost")
            points.append((fmean(images), fmean(accuracy)))
        curves, label = {}, self.quantities["distance"].label
        for block in traces[0]["distances"]:
            lines = [trace["distances"][block] for trace in traces]
            curves[block] = mean_curve(f"{block}_distance", "samples seen", label, traces[0]["samples"], lines)
            yield curves[block]
        yield self.held_out_images(run)
        caption = "Left: mean distance of the radii from 1. Right: accuracy on held-out images where the rule stops."
        yield Figure("stops", caption, self._figure(curves, points, fmean(random)))

    def cell(self, run: Run, variant: None, seed: int) -> Cell:
        """Train from the beginning, and measure the accuracy where each tolerance stops and at the end."""
        images, quiet = self.images_of(run, seed), replace(run, progress=SILENT)
        plan = self.plan_of(run.recipe)
        seen = samples_seen(len(images), plan, len(run.recipe.architecture.blocks))
        steps = [round((len(seen) - 1) * look / self.looks) for look in range(self.looks + 1)]
        network, twin = built(run, seed), built(run, seed)
        samples: list[int] = []
        distances: dict[str, list[float]] = {}
        stops: dict[str, dict[str, float]] = {}

        def look(step: int) -> None:
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
        fit(nn.Sequential(network), images, plan, look, at=steps, seed=seed, precision=run.precision)
        run.progress.finish()
        found = {"samples": samples, "distances": distances, "stops": stops}
        return found | {"random": self.random_accuracy(run, seed)}

    def _figure(self, curves: Mapping[str, Curve], points: Sequence[tuple[float, float]], random: float) -> "Canvas":
        points = sorted({*points})
        stopped = Curve("stopped", "samples seen", "", tuple(x for x, _ in points), tuple(y for _, y in points))
        lines = {f"block {block[5:]}": curve for block, curve in curves.items()}
        left = Panel(self.quantities["distance"].label, lines)
        levels = {"random features": random}
        right = Panel(self.quantities["accuracy"].label, {"where it stops": stopped}, levels)
        return draw_panels([left, right], columns=2)


@torch.no_grad()
def mean_distances(network: Network) -> dict[str, float]:
    """The mean of |r - 1| over the neurons of each block, where r is the radius; one transfer to the host."""
    layers = plastic_blocks(network)
    means = torch.stack([(radii(layer) - 1).abs().mean() for layer in layers.values()]).tolist()
    return dict(zip(layers, means, strict=True))


def settled(distances: Mapping[str, Sequence[float]], tolerance: float) -> bool:
    """Whether the distance of no layer from radius 1 has decreased by more than a relative tolerance.

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
