"""The shape of a question that trains the plastic layers again at several values of one setting."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor
from torch.nn import functional as F

from torchhebb.bounds import rising
from torchhebb.evaluate.evaluator import Figure, Finding, Note
from torchhebb.evaluate.figures.panels import Panel, draw_panels
from torchhebb.evaluate.held_out import HeldOut
from torchhebb.evaluate.methods.radii import plastic_blocks
from torchhebb.evaluate.study import NOT_IN_CELLS, Cell, Quantity, curve_over, values
from torchhebb.runs.networks import built
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Recipe
from torchhebb.train.diagnostics import r1_share, radii

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

RANDOM = "random"


@dataclass(frozen=True)
class Sweep(HeldOut[float | None]):
    """Held-out accuracy and radii of networks that are trained again at several values of one setting.

    Curves against the setting:

        accuracy            of the probe on the held-out images, in %
        <block>_r1          neurons whose radius is 1 within 1e-2 (convolution) or 5e-3 (linear), in %
        <block>_radius      the mean radius
        <block>_cosine      mean cosine between the weights of a neuron and its initial weights

    Measures `<quantity>_at_<value>`, and `random_accuracy` of the weights as drawn by the recipe.  The note `best` has
    the value of the highest mean accuracy.
    Raises UserError for settings out of range, or blocks without the setting.
    """

    setting: ClassVar[str]
    """The name of the setting on axes and in captions."""
    quantities: ClassVar[dict[str, Quantity]] = {
        "accuracy": Quantity("held-out accuracy, %", "%"),
        "r1": Quantity("neurons at radius 1, %", "%"),
        "radius": Quantity("mean radius"),
        "cosine": Quantity("cosine with the first weights"),
    }

    values: tuple[float, ...] = field(default=(), metadata=rising(above=0) | NOT_IN_CELLS)
    """Values of the setting to compare, in increasing order."""

    @abstractmethod
    def at(self, recipe: Recipe, value: float) -> Recipe:
        """The recipe with the setting at a value; raises UserError for blocks without the setting."""

    def check(self, run: Run) -> None:
        super().check(run)
        for value in self.values:
            self.at(run.recipe, value)

    def variants(self, run: Run) -> dict[str, float | None]:
        return {RANDOM: None} | {str(value): value for value in self.values}

    def cell(self, run: Run, variant: float | None, seed: int) -> Cell:
        if variant is None:
            return {"accuracy": self.random_accuracy(run, seed)}
        recipe, task = self.at(run.recipe, variant), f"seed {seed}: {variant:g}"
        network = built(run, seed, recipe.architecture)
        first = {block: layer.weight.detach().clone() for block, layer in plastic_blocks(network).items()}
        found = {"accuracy": self.learned_accuracy(network, run, seed, recipe, task)}
        for block, layer in plastic_blocks(network).items():
            found[f"{block}_r1"] = 100 * r1_share(layer).item()
            found[f"{block}_radius"] = radii(layer).mean().item()
            found[f"{block}_cosine"] = mean_cosine(first[block], layer.weight)
        return found

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        random = values(cells[RANDOM], "accuracy")
        swept = [cells[str(value)] for value in self.values]
        curves: dict[str, Curve] = {}
        for quantity in swept[0][0]:
            label = self.quantity(quantity).label
            curves[quantity] = curve_over(quantity, self.setting, label, self.values, swept, quantity)
            yield curves[quantity]
            for value, of_seeds in zip(self.values, swept, strict=True):
                yield self.measure(run, f"{quantity}_at_{value:g}", values(of_seeds, quantity), quantity)
        yield self.measure(run, "random_accuracy", random, "accuracy")
        accuracy = curves["accuracy"].y
        yield Note("best", self.values[accuracy.index(max(accuracy))])
        yield self.held_out_images(run)
        caption = f"Held-out accuracy and radii against the {self.setting}."
        yield Figure("sweep", caption, self._figure(curves, fmean(random)))

    def _figure(self, curves: Mapping[str, Curve], random: float) -> "Canvas":
        """One panel per quantity, one line per block; random features are a level line."""
        panels, ticks = [], {value: f"{value:g}" for value in self.values}
        for quantity, row in self.quantities.items():
            lines = {_words(name): curve for name, curve in curves.items() if name.endswith(quantity)}
            levels = {"random features": random} if quantity == "accuracy" else {}
            if lines:
                panels.append(Panel(row.label, lines, levels, "log", ticks))
        return draw_panels(panels, columns=2)


def mean_cosine(first: Tensor, last: Tensor) -> float:
    """The mean cosine between the rows of two weights."""
    return F.cosine_similarity(first.flatten(1).double(), last.detach().flatten(1).double()).mean().item()


def _words(quantity: str) -> str:
    return "all blocks" if quantity == "accuracy" else f"block {quantity.partition('_')[0][5:]}"
