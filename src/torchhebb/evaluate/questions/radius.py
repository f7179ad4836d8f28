"""How do neurons get to radius 1? Norm-adaptive rates against rates that fall to zero."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from torchhebb.config import to_json
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Evaluator, Figure, Finding, Note
from torchhebb.evaluate.figures.panels import Panel, draw_panels
from torchhebb.evaluate.methods.probe import Probe, at_least_one
from torchhebb.evaluate.methods.resize import draw
from torchhebb.evaluate.methods.watch import fit, samples_seen, spread
from torchhebb.evaluate.questions.accuracy import wilson
from torchhebb.nn import ConvBlock, LinearBlock
from torchhebb.runs.networks import built
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Measure, Recipe
from torchhebb.train.diagnostics import plastic_layers, r1_share, radii
from torchhebb.train.learn import calibrate

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

QUANTITIES = {"r1": "neurons at radius 1, %", "radius": "mean radius"}

Trace = dict[str, list[float]]
"""`samples`, and after so many of them every quantity of every block; `accuracy` in % in the end."""


@dataclass(frozen=True)
class Radius(Evaluator):
    """Neurons at radius 1 (R1) and the mean radius of each layer while it learns, by two kinds of rates.

    `adaptive` is the recipe: the rate of a neuron falls with the distance of its radius to 1, | ||w|| - 1 | ** q.
    `decaying` are scalar rates, the same for all neurons of a layer, that fall to zero linearly: q = 0.  They start at
    the recipe's times a factor, one training a factor; at a radius R adaptive ones start at (R - 1) ** q times those.
    In the end batch norm is calibrated and the probe fitted.

    Curves `<block>_<quantity> <rates>` against samples seen, rates being adaptive or decaying_<factor>:

        <block>_r1          neurons whose radius is 1 within 1e-2 (convolution) or 5e-3 (linear), in %
        <block>_radius      the mean radius

    Measures `<rates>_<block>_r1` and `<rates>_<block>_radius` in the end, and `<rates>_accuracy` on test images in %.
    Raises UserError for settings out of range, or a block without a rate of its own.
    Source: SoftHebb-2023, R1 features against samples seen, norm-adaptive against linearly decaying rates.
    """

    question: ClassVar[str] = "radius"

    factors: tuple[float, ...] = (1.0, 5.0)
    """Where decaying rates start, in multiples of the recipe's."""
    points: int = 40
    """How often to look after the first time, which is before any image; more densely where learning begins."""
    passes: int | None = None
    """Passes over the images; None is as many as the recipe says."""
    images: int | None = None
    """How many training images are learned from, drawn once; None is all of them."""
    probe: Probe = field(default_factory=Probe)
    """The readout, fitted to training images."""

    def run(self, run: Run) -> Iterator[Finding]:
        self._check(run)
        recipes = {"adaptive": run.recipe}
        recipes |= {f"decaying_{factor:g}": decaying(run.recipe, factor) for factor in self.factors}
        panels: dict[str, dict[str, Curve]] = {}
        for name, recipe in recipes.items():
            traces = [self._trace(run, seed, name, recipe) for seed in run.seeds]
            accuracy = tuple(trace["accuracy"][0] for trace in traces)
            yield Measure(f"{name}_accuracy", "%", accuracy, None, wilson(accuracy, len(run.data.test)))
            for quantity in [key for key in traces[0] if key not in ("samples", "accuracy")]:
                lines = [trace[quantity] for trace in traces]
                title = _label(quantity)
                curve = spread(f"{quantity} {name}", "samples seen", title, traces[0]["samples"], lines)
                panels.setdefault(title, {})[_words(name)] = curve
                yield curve
                unit = "%" if quantity.endswith("_r1") else ""
                yield Measure(f"{name}_{quantity}", unit, tuple(line[-1] for line in lines))
        yield Note("test_images", len(run.data.test))
        yield Figure("curves", "Radii of neurons while they learn.", _figure(panels))

    def _check(self, run: Run) -> None:
        if min(self.factors, default=1.0) <= 0 or len({*self.factors}) < len(self.factors):
            raise UserError(f"factors must be above 0, each once, got {self.factors}")
        at_least_one(points=self.points, passes=self.passes, images=self.images)
        self.probe.check()
        decaying(run.recipe, 1.0)

    def _trace(self, run: Run, seed: int, name: str, recipe: Recipe) -> Trace:
        settings = to_json(replace(self, factors=()))
        return run.once(
            lambda: self._follow(run, seed, name, recipe),
            question=self.question,
            seed=seed,
            rates=name,
            precision=run.precision,
            settings=settings,
        )

    def _follow(self, run: Run, seed: int, name: str, recipe: Recipe) -> Trace:
        """Train from the beginning, and look at the weights on the way."""
        images = draw(run.data.train, self.images)
        plan = recipe.learning if self.passes is None else replace(recipe.learning, epochs=self.passes)
        network = built(run, seed, recipe.architecture)
        seen = samples_seen(len(images), plan, len(recipe.architecture.blocks))
        # The square spaces the points as most of the way is gone at the beginning.
        steps = {round((len(seen) - 1) * (point / self.points) ** 2) for point in range(self.points + 1)}
        trace: Trace = {"samples": []}

        @torch.no_grad()
        def look(step: int) -> None:
            run.progress.advance(1)
            if step not in steps:
                return
            trace["samples"].append(seen[step])
            for layer_name, layer in plastic_layers(network).items():
                block = layer_name.removesuffix(".layer")
                for quantity, value in (("r1", 100 * r1_share(layer)), ("radius", radii(layer).mean())):
                    trace.setdefault(f"{block}_{quantity}", []).append(value.item())

        run.progress.start(f"seed {seed}: {_words(name)} rates", len(seen), "steps")
        look(0)
        fit(nn.Sequential(network), images, plan, look, seed=seed, precision=run.precision)
        run.progress.finish()
        calibrate(network, images, seed=seed, learned=True)
        task = f"seed {seed}: {_words(name)} rates"
        trace["accuracy"] = [self.probe.score(network, run.data.train, run.data.test, run, seed, task)]
        return trace


def decaying(recipe: Recipe, factor: float) -> Recipe:
    """The recipe with scalar rates that start at `factor` times its own and fall to zero linearly.

    Raises UserError for a block without a rate of its own.
    """
    blocks = []
    for number, block in enumerate(recipe.architecture.blocks, 1):
        if not isinstance(block, ConvBlock | LinearBlock):
            raise UserError(f"block{number} is a {type(block).__name__}: no radius falls to 1 by its rate")
        blocks.append(replace(block, lr=factor * block.lr, lr_power=0.0))
    learning = replace(recipe.learning, schedule="linear", final_share=0.0)
    return replace(recipe, architecture=replace(recipe.architecture, blocks=tuple(blocks)), learning=learning)


def _words(name: str) -> str:
    """The rates in a figure.

    >>> _words("adaptive"), _words("decaying_5")
    ('norm-adaptive', 'decaying from 5x')
    """
    kind, _, factor = name.partition("_")
    return "norm-adaptive" if kind == "adaptive" else f"decaying from {factor}x"


def _label(quantity: str) -> str:
    """The words of a quantity.

    >>> _label("block2_r1")
    'block 2: neurons at radius 1, %'
    """
    block, _, rest = quantity.partition("_")
    return f"block {block[5:]}: {QUANTITIES[rest]}"


def _figure(panels: Mapping[str, Mapping[str, Curve]]) -> "Canvas":
    """A row a quantity, a column a block; samples on a logarithmic axis on which 0 has a place."""
    order = sorted(panels, key=lambda title: [title.endswith(words) for words in QUANTITIES.values()], reverse=True)
    return draw_panels([Panel(t, panels[t], x_scale="symlog") for t in order], columns=len(order) // 2)
