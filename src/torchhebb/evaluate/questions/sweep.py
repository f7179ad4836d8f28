"""What does one setting of the recipe do? The layers trained again at one value after another."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor
from torch.nn import functional as F

from torchhebb.config import to_json
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Figure, Finding, Note
from torchhebb.evaluate.figures.panels import Panel, draw_panels
from torchhebb.evaluate.methods.held_out import HeldOut
from torchhebb.evaluate.methods.watch import spread
from torchhebb.nn import ConvBlock, LinearBlock
from torchhebb.runs.networks import built, untrained
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Measure, Recipe
from torchhebb.train.diagnostics import plastic_layers, r1_share, radii

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

Piece = dict[str, float]
"""What one training gives, by quantity."""

QUANTITIES = {
    "accuracy": "held-out accuracy, %",
    "r1": "neurons at radius 1, %",
    "radius": "mean radius",
    "cosine": "cosine with the first weights",
}


@dataclass(frozen=True)
class Sweep(HeldOut):
    """Every plastic layer trained anew at one value of a setting after another, all else as in the recipe.

    Curves against the setting:

        accuracy            of the probe on the held-out images, in %
        <block>_r1          neurons whose radius is 1 within 1e-2 (convolution) or 5e-3 (linear), in %
        <block>_radius      the mean radius
        <block>_cosine      between the weights of a neuron and those that it began with, the mean; 1: none has turned

    Measures `<quantity>_at_<value>`, and `random_accuracy` of the weights as drawn by the recipe.  The value of the
    highest mean accuracy is noted as `best`.
    Raises UserError for settings out of range, or blocks that the setting does not apply to.
    """

    setting: ClassVar[str]
    """The words for what is swept."""

    values: tuple[float, ...] = ()
    """What to sweep, in rising order."""

    @abstractmethod
    def at(self, recipe: Recipe, value: float) -> Recipe:
        """The recipe with the setting at a value; raises UserError where it has no such setting."""

    def run(self, run: Run) -> Iterator[Finding]:
        self.check(run)
        random = [self._once(run, seed, None)["accuracy"] for seed in run.seeds]
        pieces = [[self._once(run, seed, value) for value in self.values] for seed in run.seeds]
        curves: dict[str, Curve] = {}
        for quantity in pieces[0][0]:
            lines = [[piece[quantity] for piece in of_seed] for of_seed in pieces]
            curves[quantity] = spread(quantity, self.setting, _label(quantity), self.values, lines)
            yield curves[quantity]
            for number, value in enumerate(self.values):
                name, unit = f"{quantity}_at_{value:g}", "%" if quantity.endswith(("accuracy", "r1")) else ""
                yield Measure(name, unit, tuple(line[number] for line in lines))
        yield Measure("random_accuracy", "%", tuple(random))
        accuracy = curves["accuracy"].y
        yield Note("best", self.values[accuracy.index(max(accuracy))])
        yield Note("held_out_images", len(run.data.holdout(self.holdout).test))
        yield Figure(
            "sweep",
            f"Training at one {self.setting} after another; held-out images.",
            _figure(curves, fmean(random)),
        )

    def check(self, run: Run) -> None:
        """Raise UserError for a setting out of range, or blocks that the setting does not apply to."""
        values = self.values
        if not values or values[0] <= 0 or any(low >= high for low, high in zip(values, values[1:], strict=False)):
            raise UserError(f"values must be numbers that rise from above 0, got {values}")
        super().check(run)
        for value in values:
            self.at(run.recipe, value)

    def _once(self, run: Run, seed: int, value: float | None) -> Piece:
        """The piece of one value; of None, the weights as drawn."""
        settings = to_json(replace(self, values=()))
        work = (lambda: self._random(run, seed)) if value is None else (lambda: self._train(run, seed, value))
        key = {"question": self.question, "seed": seed, "value": value, "precision": run.precision}
        return run.once(work, settings=settings, **key)

    def _random(self, run: Run, seed: int) -> Piece:
        network = untrained(run, seed, self.images_of(run, seed))
        return {"accuracy": self.score(network, run, seed, f"seed {seed}: random weights")}

    def _train(self, run: Run, seed: int, value: float) -> Piece:
        recipe, task = self.at(run.recipe, value), f"seed {seed}: {value:g}"
        network = built(run, seed, recipe.architecture)
        first = {name: layer.weight.detach().clone() for name, layer in plastic_layers(network).items()}
        found = {"accuracy": self.learned_accuracy(network, run, seed, recipe, task)}
        for name, layer in plastic_layers(network).items():
            block = name.removesuffix(".layer")
            found[f"{block}_r1"] = 100 * r1_share(layer).item()
            found[f"{block}_radius"] = radii(layer).mean().item()
            found[f"{block}_cosine"] = _cosine(first[name], layer.weight)
        return found


@dataclass(frozen=True)
class InitialRadius(Sweep):
    """The radius that neurons begin with, all layers alike.

    Weights are drawn as in the recipe, from the same numbers, and scaled to the radius.  Curves, measures and errors
    are those of `Sweep`.
    Source: SoftHebb-2023, initial radius: no learning below 1, learning above 2.2 on MNIST.
    """

    question: ClassVar[str] = "initial_radius"
    setting: ClassVar[str] = "initial radius"

    values: tuple[float, ...] = (0.25, 0.5, 1.0, 1.5, 2.2, 3.0, 5.0, 10.0, 25.0)

    def at(self, recipe: Recipe, value: float) -> Recipe:
        return _blocks(recipe, self.setting, lambda block: replace(block, init_radius=value))


@dataclass(frozen=True)
class BatchSize(Sweep):
    """Images of a batch in the unsupervised phase; rates stay, as updates are normalised.

    Curves, measures and errors are those of `Sweep`.
    Source: SoftHebb-2023, which learns in batches of 10 or 32.
    """

    question: ClassVar[str] = "batch_size"
    setting: ClassVar[str] = "batch size"

    values: tuple[float, ...] = (5, 10, 20, 50, 100, 200)

    def at(self, recipe: Recipe, value: float) -> Recipe:
        if value != int(value):
            raise UserError(f"values must be whole numbers of images, got {value:g}")
        return replace(recipe, learning=replace(recipe.learning, batch_size=int(value)))


@dataclass(frozen=True)
class LearningRate(Sweep):
    """The rates of all blocks, each multiplied by one factor.

    Curves, measures and errors are those of `Sweep`.
    """

    question: ClassVar[str] = "learning_rate"
    setting: ClassVar[str] = "factor of the rates"

    values: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0)

    def at(self, recipe: Recipe, value: float) -> Recipe:
        return _blocks(recipe, self.setting, lambda block: replace(block, lr=value * block.lr))


def _blocks(
    recipe: Recipe, setting: str, change: Callable[[ConvBlock | LinearBlock], ConvBlock | LinearBlock]
) -> Recipe:
    """The recipe with every block changed; raises UserError for blocks without rates and radii of their own."""
    blocks = []
    for number, block in enumerate(recipe.architecture.blocks, 1):
        if not isinstance(block, ConvBlock | LinearBlock):
            raise UserError(f"block{number} is a {type(block).__name__}: it has no {setting} to sweep")
        blocks.append(change(block))
    return replace(recipe, architecture=replace(recipe.architecture, blocks=tuple(blocks)))


def _cosine(first: Tensor, last: Tensor) -> float:
    """The mean cosine between the rows of two weights."""
    return F.cosine_similarity(first.flatten(1).double(), last.detach().flatten(1).double()).mean().item()


def _label(quantity: str) -> str:
    """The words of a quantity.

    >>> _label("block2_r1"), _label("accuracy")
    ('block 2: neurons at radius 1, %', 'held-out accuracy, %')
    """
    block, _, rest = quantity.partition("_")
    return f"block {block[5:]}: {QUANTITIES[rest]}" if rest else QUANTITIES[quantity]


def _figure(curves: Mapping[str, Curve], random: float) -> "Canvas":
    """A panel a quantity, a line a block; random features are a level line."""
    panels = []
    ticks = {x: f"{x:g}" for x in curves["accuracy"].x}
    for quantity, title in QUANTITIES.items():
        found = {name: curve for name, curve in curves.items() if name == quantity or name.endswith(f"_{quantity}")}
        lines = {_words(name): curve for name, curve in found.items()}
        levels = {"random features": random} if quantity == "accuracy" else {}
        panels.append(Panel(title, lines, levels, "log", ticks))
    return draw_panels(panels, columns=2)


def _words(quantity: str) -> str:
    return "all blocks" if quantity == "accuracy" else f"block {quantity.partition('_')[0][5:]}"
