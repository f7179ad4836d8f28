"""Held-out accuracy when the learning rate or the inverse temperature of one block is changed at a time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, ClassVar, Literal

from torchhebb.bounds import distinct, rising
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Figure, Finding, Note
from torchhebb.evaluate.figures.panels import Panel, draw_panels
from torchhebb.evaluate.held_out import HeldOut
from torchhebb.evaluate.methods.radii import mean_radii
from torchhebb.evaluate.study import NOT_IN_CELLS, Cell, Quantity, curve_over, values
from torchhebb.fields import read_field, replace_field
from torchhebb.runs.networks import built
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

SettingName = Literal["rate", "inverse_temperature"]
FIELDS: dict[SettingName, str] = {"rate": "lr", "inverse_temperature": "rule.inverse_temperature"}


@dataclass(frozen=True)
class Change:
    """One setting of one block, counted from 1, multiplied by a factor."""

    block: int
    setting: SettingName
    factor: float

    def of(self, recipe: Recipe) -> Recipe:
        """The recipe with this change.

        >>> from torchhebb.recipes import get_recipe
        >>> digits = get_recipe("softhebb2023-digits")
        >>> digits.architecture.blocks[1].lr, Change(2, "rate", 3.0).of(digits).architecture.blocks[1].lr
        (0.005, 0.015)
        """
        path = f"architecture.blocks.{self.block - 1}.{FIELDS[self.setting]}"
        return replace_field(recipe, path, self.factor * read_field(recipe, path))

    def __str__(self) -> str:
        return f"block{self.block} {self.setting} {self.factor:g}"


@dataclass(frozen=True)
class PerBlock(HeldOut[Change | str]):
    """Held-out accuracy when the learning rate or inverse temperature of one block is multiplied by a factor.

    Curves against the factor, where 1 is the recipe itself:

        <block>_<setting>_accuracy      of the probe on the held-out images, in %
        <block>_<setting>_radius        the mean radius of that block

    A setting is `rate` or, for blocks with soft competition, `inverse_temperature`.  Measures `accuracy` of the recipe,
    `<block>_<setting>_accuracy_at_<factor>` and `<block>_<setting>_radius_at_<factor>`, and `random_accuracy` of the
    weights as drawn.  The note `best` has the block, setting and factor of the highest mean accuracy; it is null if no
    change is better than the recipe.
    Raises UserError for settings out of range, or a network without a block that has a learning rate of its own.

    Example:
        >>> PerBlock(factors=(0.3, 3.0)).question
        'per_block'
    """

    question: ClassVar[str] = "per_block"
    quantities: ClassVar[dict[str, Quantity]] = {
        "accuracy": Quantity("held-out accuracy, %", "%"),
        "radius": Quantity("mean radius of the block"),
    }

    factors: tuple[float, ...] = field(default=(0.3, 3.0), metadata=rising(above=0) | NOT_IN_CELLS)
    """Factors of the rate or inverse temperature, in increasing order, without 1."""
    settings: tuple[SettingName, ...] = field(
        default=("rate", "inverse_temperature"), metadata=distinct() | NOT_IN_CELLS
    )
    """Settings to change."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if 1.0 in self.factors:
            raise UserError(f"factors must leave out 1, which is the recipe itself, got {self.factors}")

    def check(self, run: Run) -> None:
        super().check(run)
        if not self._places(run.recipe):
            words = " or ".join(map(_words, self.settings))
            raise UserError(f"no block of {run.recipe.name} has a {words} of its own")

    def variants(self, run: Run) -> dict[str, Change | str]:
        changes = [Change(*place, factor) for place in self._places(run.recipe) for factor in self.factors]
        return {"random": "random", "recipe": "recipe"} | {str(change): change for change in changes}

    def cell(self, run: Run, variant: Change | str, seed: int) -> Cell:
        if variant == "random":
            return {"accuracy": self.random_accuracy(run, seed)}
        recipe = variant.of(run.recipe) if isinstance(variant, Change) else run.recipe
        network = built(run, seed, recipe.architecture)
        found = {"accuracy": self.learned_accuracy(network, run, seed, recipe, f"seed {seed}: {variant}")}
        return found | mean_radii(network)

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        recipe, random = cells["recipe"], values(cells["random"], "accuracy")
        yield self.measure(run, "accuracy", values(recipe, "accuracy"), "accuracy")
        yield self.measure(run, "random_accuracy", random, "accuracy")
        factors = tuple(sorted({*self.factors, 1.0}))
        curves: dict[str, Curve] = {}
        for block, setting in self._places(run.recipe):
            row = [recipe if f == 1 else cells[str(Change(block, setting, f))] for f in factors]
            for quantity, key in (("accuracy", "accuracy"), ("radius", f"block{block}_radius")):
                name, label = f"block{block}_{setting}_{quantity}", self.quantities[quantity].label
                curves[name] = curve_over(name, f"factor of the {_words(setting)}", label, factors, row, key)
                yield curves[name]
                for factor, of_seeds in zip(factors, row, strict=True):
                    if factor != 1:
                        yield self.measure(run, f"{name}_at_{factor:g}", values(of_seeds, key), quantity)
        yield Note("best", self._best(run, cells))
        yield self.held_out_images(run)
        caption = "Held-out accuracy when the rate or inverse temperature of one block is multiplied by a factor."
        yield Figure("factors", caption, self._figure(curves, fmean(random)))

    def _places(self, recipe: Recipe) -> list[tuple[int, SettingName]]:
        """The number of every block, from 1, with each setting of it that can be changed."""
        blocks = list(enumerate(recipe.architecture.blocks, 1))
        return [
            (number, setting)
            for setting in self.settings
            for number, block in blocks
            if block.lr is not None and (setting == "rate" or hasattr(block.rule, "inverse_temperature"))
        ]

    def _best(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> dict[str, object] | None:
        """The change of the highest mean accuracy; None if the recipe's is as high."""
        means = {name: fmean(values(of_seeds, "accuracy")) for name, of_seeds in cells.items() if name != "random"}
        best = self.variants(run)[max(means, key=means.__getitem__)]  # ties go to the first, which is the recipe
        return asdict(best) if isinstance(best, Change) else None

    def _figure(self, curves: Mapping[str, Curve], random: float) -> "Canvas":
        """One column per setting: accuracy above, with random features as a level line, and radius below."""
        panels = []
        for quantity in self.quantities:
            for setting in self.settings:
                lines = {
                    f"block {name.partition('_')[0][5:]}": curve
                    for name, curve in curves.items()
                    if name.endswith(f"_{setting}_{quantity}")
                }
                if lines:
                    curve = next(iter(lines.values()))
                    levels = {"random features": random} if quantity == "accuracy" else {}
                    panels.append(Panel(curve.y_label, lines, levels, "log", {x: f"{x:g}" for x in curve.x}))
        return draw_panels(panels, columns=len(panels) // len(self.quantities))


def _words(setting: SettingName) -> str:
    return setting.replace("_", " ")
