"""Radii of neurons during learning, by norm-adaptive rates and by rates that decay to zero."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from torchhebb.bounds import at_least, distinct
from torchhebb.evaluate.evaluator import Figure, Finding, Note
from torchhebb.evaluate.figures.panels import Panel, draw_panels
from torchhebb.evaluate.methods.radii import plastic_blocks
from torchhebb.evaluate.methods.subsample import subsample
from torchhebb.evaluate.methods.watch import fit, samples_seen
from torchhebb.evaluate.probe import Probe
from torchhebb.evaluate.statistics import mean_curve
from torchhebb.evaluate.study import NOT_IN_CELLS, Cell, Quantity, Study, count_test_images, values
from torchhebb.runs.networks import built
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Recipe
from torchhebb.train.calibrate import calibrate
from torchhebb.train.diagnostics import r1_share, radii
from torchhebb.train.recipe import shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


@dataclass(frozen=True)
class Radius(Study[float | None]):
    """Share of neurons at radius 1 and mean radius during learning, for norm-adaptive and for decaying rates.

    `adaptive` is the recipe: the rate of a neuron is proportional to | ||w|| - 1 | ** q.  `decaying` rates are the same
    for all neurons of a layer (q = 0) and fall linearly to zero.  They start at the recipe's rate times a factor, with
    one training per factor; at an initial radius R, adaptive rates start at (R - 1) ** q times the recipe's.
    After learning, batch norm is calibrated and the probe is fitted.

    Curves `<block>_<quantity> <rates>` against samples seen, rates being adaptive or decaying_<factor>:

        <block>_r1          neurons whose radius is 1 within 1e-2 (convolution) or 5e-3 (linear), in %
        <block>_radius      the mean radius

    Measures `<rates>_<block>_r1` and `<rates>_<block>_radius` at the end, and `<rates>_accuracy` on test images in %.
    Raises UserError for settings out of range, or a block without a learning rate of its own.
    Source: SoftHebb-2023, R1 features against samples seen, norm-adaptive against linearly decaying rates.

    Example:
        >>> Radius(factors=(1.0, 5.0), points=20).question
        'radius'
    """

    question: ClassVar[str] = "radius"
    quantities: ClassVar[dict[str, Quantity]] = {
        "accuracy": Quantity("test accuracy, %", "%", count_test_images),
        "r1": Quantity("neurons at radius 1, %", "%"),
        "radius": Quantity("mean radius"),
    }

    factors: tuple[float, ...] = field(default=(1.0, 5.0), metadata=distinct(above=0, empty=True) | NOT_IN_CELLS)
    """Initial values of the decaying rates, as factors of the recipe's."""
    points: int = field(default=40, metadata=at_least(1))
    """Number of points of the curves after the first one, which is before any image; denser at the beginning."""
    passes: int | None = field(default=None, metadata=at_least(1))
    """Passes over the images; None takes the recipe's."""
    images: int | None = field(default=None, metadata=at_least(1))
    """Number of training images that are learned from, drawn once; None takes all."""
    probe: Probe = field(default_factory=Probe)
    """Settings of the readout, which is fitted to training images."""

    def check(self, run: Run) -> None:
        decaying(run.recipe, 1.0)

    def variants(self, run: Run) -> dict[str, float | None]:
        return {"adaptive": None} | {f"decaying_{factor:g}": factor for factor in self.factors}

    def cell(self, run: Run, variant: float | None, seed: int) -> Cell:
        """`samples` seen, the quantities of every block after them, and the `accuracy` at the end."""
        recipe = run.recipe if variant is None else decaying(run.recipe, variant)
        images, task = subsample(run.data.train, self.images), f"seed {seed}: {_words(variant)} rates"
        plan = shortened(recipe.learning, self.passes)
        network = built(run, seed, recipe.architecture)
        seen = samples_seen(len(images), plan, len(recipe.architecture.blocks))
        # The points are spaced by squares, since radii change most at the beginning.
        steps = {round((len(seen) - 1) * (point / self.points) ** 2) for point in range(self.points + 1)}
        found: Cell = {"samples": []}

        @torch.no_grad()
        def look(step: int) -> None:
            found["samples"].append(seen[step])
            for block, layer in plastic_blocks(network).items():
                found.setdefault(f"{block}_r1", []).append(100 * r1_share(layer).item())
                found.setdefault(f"{block}_radius", []).append(radii(layer).mean().item())
            run.progress.advance(1)

        run.progress.start(task, len(steps), "points")
        fit(nn.Sequential(network), images, plan, look, at=steps, seed=seed, precision=run.precision)
        run.progress.finish()
        calibrate(network, images, seed=seed, learned=True)
        return found | {"accuracy": self.probe.score(network, run.data.train, run.data.test, run, seed, task)}

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        panels: dict[str, dict[str, Curve]] = {}
        for (name, traces), variant in zip(cells.items(), self.variants(run).values(), strict=True):
            yield self.measure(run, f"{name}_accuracy", values(traces, "accuracy"), "accuracy")
            for quantity in [key for key in traces[0] if key not in ("samples", "accuracy")]:
                lines, title = values(traces, quantity), self.quantity(quantity).label
                curve = mean_curve(f"{quantity} {name}", "samples seen", title, traces[0]["samples"], lines)
                panels.setdefault(quantity, {})[_words(variant)] = curve
                yield curve
                yield self.measure(run, f"{name}_{quantity}", [line[-1] for line in lines], quantity)
        yield Note("test_images", count_test_images(run))
        yield Figure("curves", "Radii of neurons while they learn.", self._figure(panels))

    def _figure(self, panels: Mapping[str, Mapping[str, Curve]]) -> "Canvas":
        """One row per quantity, one column per block; samples on a symmetric logarithmic axis, which shows 0."""
        order = sorted(panels, key=lambda quantity: quantity.endswith("_radius"))
        drawn = [Panel(self.quantity(quantity).label, panels[quantity], x_scale="symlog") for quantity in order]
        return draw_panels(drawn, columns=len(order) // 2)


def decaying(recipe: Recipe, factor: float) -> Recipe:
    """The recipe with rates that start at `factor` times its own and fall linearly to zero.

    Raises UserError for a block without a learning rate of its own.
    """
    architecture = recipe.architecture.with_blocks(
        lambda block: block.with_settings(lr=factor * block.setting("lr"), lr_power=0.0)
    )
    return replace(
        recipe, architecture=architecture, learning=replace(recipe.learning, schedule="linear", final_lr_fraction=0.0)
    )


def _words(factor: float | None) -> str:
    """The rates in a figure.

    >>> _words(None), _words(5.0)
    ('norm-adaptive', 'decaying from 5x')
    """
    return "norm-adaptive" if factor is None else f"decaying from {factor:g}x"
