"""What does a block's own rate or inverse temperature do? One of them changed at a time, all else as in the recipe."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, ClassVar, Literal

from torchhebb.config import to_json
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Figure, Finding, Note
from torchhebb.evaluate.figures.panels import Panel, draw_panels
from torchhebb.evaluate.methods.held_out import HeldOut
from torchhebb.evaluate.methods.watch import spread
from torchhebb.fields import read_field, replace_field
from torchhebb.nn import ConvBlock, LinearBlock
from torchhebb.rules import SoftHebb
from torchhebb.runs.networks import built, untrained
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Measure, Recipe
from torchhebb.train.diagnostics import plastic_layers, radii

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

SettingName = Literal["rate", "inverse_temperature"]
FIELDS: dict[SettingName, str] = {"rate": "lr", "inverse_temperature": "rule.inverse_temperature"}

Piece = dict[str, float]
"""The `accuracy` of one training in %, and the mean `radius` of every block, by `<block>_radius`."""


@dataclass(frozen=True)
class PerBlock(HeldOut):
    """The recipe, and its network trained again with one setting of one block multiplied by a factor.

    Curves against the factor, of which 1 is the recipe itself:

        <block>_<setting>_accuracy      of the probe on the held-out images, in %
        <block>_<setting>_radius        the mean radius of that block

    a setting being `rate` or `inverse_temperature`, the latter of blocks with soft competition.  Measures `accuracy` of
    the recipe, `<block>_<setting>_accuracy_at_<factor>` and `<block>_<setting>_radius_at_<factor>`, and
    `random_accuracy` of the weights as drawn.  The change of the highest mean accuracy is noted as `best`: block,
    setting and factor, or null where none is above the recipe.
    Raises UserError for settings out of range, or a network without a block whose rate is its own.
    """

    question: ClassVar[str] = "per_block"

    factors: tuple[float, ...] = (0.3, 3.0)
    """What the rate or the inverse temperature of one block is multiplied by, in rising order, 1 left out."""
    settings: tuple[SettingName, ...] = ("rate", "inverse_temperature")
    """Which settings to change."""

    def run(self, run: Run) -> Iterator[Finding]:
        self.check(run)
        random = [self._once(run, seed, "random", run.recipe)["accuracy"] for seed in run.seeds]
        recipe = [self._once(run, seed, "recipe", run.recipe) for seed in run.seeds]
        yield Measure("accuracy", "%", tuple(piece["accuracy"] for piece in recipe))
        yield Measure("random_accuracy", "%", tuple(random))
        best: tuple[float, dict[str, object] | None] = (fmean(piece["accuracy"] for piece in recipe), None)
        factors = tuple(sorted({*self.factors, 1.0}))
        curves: dict[str, Curve] = {}
        for setting, number in self._changes(run.recipe):
            pieces = {1.0: recipe}
            for factor in self.factors:
                changed, task = (
                    changed_block(run.recipe, number, setting, factor),
                    f"block{number} {setting} {factor:g}",
                )
                pieces[factor] = [self._once(run, seed, task, changed) for seed in run.seeds]
                if (mean := fmean(piece["accuracy"] for piece in pieces[factor])) > best[0]:
                    best = mean, {"block": number, "setting": setting, "factor": factor}
            for quantity, unit, key in (("accuracy", "%", "accuracy"), ("radius", "", f"block{number}_radius")):
                lines = [[pieces[factor][row][key] for factor in factors] for row in range(len(recipe))]
                name, y_label = f"block{number}_{setting}_{quantity}", f"{_QUANTITIES[quantity]}{unit and ', %'}"
                curves[name] = spread(name, f"factor of the {_words(setting)}", y_label, factors, lines)
                yield curves[name]
                for factor in self.factors:
                    yield Measure(f"{name}_at_{factor:g}", unit, tuple(piece[key] for piece in pieces[factor]))
        yield Note("best", best[1])
        yield Note("held_out_images", len(run.data.holdout(self.holdout).test))
        caption = "One block's rate or inverse temperature multiplied by a factor, all else as it is; held-out images."
        yield Figure("factors", caption, _figure(curves, self.settings, fmean(random)))

    def check(self, run: Run) -> None:
        """Raise UserError for a setting out of range, or a network in which nothing can be changed."""
        factors, settings = self.factors, self.settings
        rising = all(low < high for low, high in zip(factors, factors[1:], strict=False))
        if not factors or not rising or factors[0] <= 0 or 1.0 in factors:
            raise UserError(f"factors must be numbers that rise from above 0, without 1, got {factors}")
        if not settings or not set(settings) <= FIELDS.keys() or len({*settings}) < len(settings):
            raise UserError(f"settings must be among {', '.join(FIELDS)}, each once, got {settings}")
        super().check(run)
        if not self._changes(run.recipe):
            raise UserError(f"no block of {run.recipe.name} has a {' or '.join(map(_words, settings))} of its own")

    def _changes(self, recipe: Recipe) -> list[tuple[SettingName, int]]:
        """Every setting that can be changed, with the number of its block, from 1."""
        blocks = [
            (number, block)
            for number, block in enumerate(recipe.architecture.blocks, 1)
            if isinstance(block, ConvBlock | LinearBlock)
        ]
        return [
            (setting, number)
            for setting in self.settings
            for number, block in blocks
            if setting == "rate" or isinstance(block.rule, SoftHebb)
        ]

    def _once(self, run: Run, seed: int, task: str, recipe: Recipe) -> Piece:
        settings = to_json(replace(self, factors=(), settings=()))
        return run.once(
            lambda: self._piece(run, seed, task, recipe),
            question=self.question,
            seed=seed,
            task=task,
            precision=run.precision,
            asked=settings,
        )

    def _piece(self, run: Run, seed: int, task: str, recipe: Recipe) -> Piece:
        words = f"seed {seed}: {task}"
        if task == "random":
            return {"accuracy": self.score(untrained(run, seed, self.images_of(run, seed)), run, seed, words)}
        network = built(run, seed, recipe.architecture)
        found = {"accuracy": self.learned_accuracy(network, run, seed, recipe, words)}
        for name, layer in plastic_layers(network).items():
            found[f"{name.removesuffix('.layer')}_radius"] = radii(layer).mean().item()
        return found


def changed_block(recipe: Recipe, number: int, setting: SettingName, factor: float) -> Recipe:
    """The recipe with one setting of block `number`, from 1, multiplied by a factor.

    >>> from torchhebb.recipes import get_recipe
    >>> digits = get_recipe("softhebb2023-digits")
    >>> digits.architecture.blocks[1].lr, changed_block(digits, 2, "rate", 3.0).architecture.blocks[1].lr
    (0.005, 0.015)
    """
    path = f"architecture.blocks.{number - 1}.{FIELDS[setting]}"
    return replace_field(recipe, path, factor * read_field(recipe, path))


_QUANTITIES = {"accuracy": "held-out accuracy", "radius": "mean radius of the block"}


def _words(setting: SettingName) -> str:
    return setting.replace("_", " ")


def _figure(curves: Mapping[str, Curve], settings: tuple[SettingName, ...], random: float) -> "Canvas":
    """A column a setting: accuracy above, with random features as a level line, the block's radius below."""
    panels = []
    for quantity in _QUANTITIES:
        for setting in settings:
            lines = {
                f"block {name.partition('_')[0][5:]}": curve
                for name, curve in curves.items()
                if name.endswith(f"_{setting}_{quantity}")
            }
            if lines:
                curve = next(iter(lines.values()))
                levels = {"random features": random} if quantity == "accuracy" else {}
                panels.append(Panel(curve.y_label, lines, levels, "log", {x: f"{x:g}" for x in curve.x}))
    return draw_panels(panels, columns=len(panels) // len(_QUANTITIES))
