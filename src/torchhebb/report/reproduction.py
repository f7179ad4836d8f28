"""Every published number of a paper compared with what was measured, as a table and as a figure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from torchhebb.evaluate.statistics import welch
from torchhebb.recipes import get_experiments, get_recipe, list_recipes
from torchhebb.recipes.claim import MeasureRef
from torchhebb.recipes.softhebb2023_published import RELEASED
from torchhebb.report.claims import ACCURACIES, find_measure
from torchhebb.train import Measure, Recipe, Result
from torchhebb.train.recipe import Supervised

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Verdict = Literal["agrees", "higher", "lower", "open", "not run"]
_HEADER = ("recipe", "measure", "published", "measured", "seeds", "difference [95 %]", "verdict")
_COLOURS = {"agrees": "#0072B2", "higher": "#009E73", "lower": "#D55E00", "open": "#505050"}


@dataclass(frozen=True)
class Comparison:
    """A published number and the measure of it; `half` is half of the 95 % interval of their difference."""

    recipe: str
    name: str
    published: float
    measure: Measure | None
    half: float | None
    hours: float | None = None
    """Where nothing was measured: the estimated cost of one seed on two processor cores."""
    precision: str = "float32"

    @property
    def difference(self) -> float | None:
        return None if self.measure is None else self.measure.mean - self.published

    @property
    def verdict(self) -> Verdict:
        """Agrees where the interval of the difference contains 0; open where nothing tells how the measure spreads."""
        if self.difference is None:
            return "not run"
        if self.half is None:
            return "open"
        if abs(self.difference) <= self.half:
            return "agrees"
        return "higher" if self.difference > 0 else "lower"


def compare(paper: str, results: Sequence[Result]) -> list[Comparison]:
    """All published numbers of a paper, in the order of its recipes; of several results, the one with most seeds.

    The published number is taken as exact.  The interval is Student's over seeds where there are several, and else
    that of the measure over test images.
    """
    return [*_accuracies(paper, results), *_other_measures(paper, results)]


def reproduction_table(paper: str, results: Sequence[Result]) -> str:
    """One row a published number, as Markdown."""
    lines = [_HEADER, *(_row(comparison) for comparison in compare(paper, results))]
    rows = ["| " + " | ".join(cells) + " |" for cells in lines]
    return "\n".join([rows[0], "|" + "---|" * len(_HEADER), *rows[1:]])


def released_table(results: Sequence[Result]) -> str:
    """Baselines whose printed values the paper's released code does not give either, as Markdown.

    The column of the released code holds its own numbers, not this library's.
    """

    def ours(recipe: str | None, name: str) -> str:
        found = None if recipe is None else find_measure(results, MeasureRef(recipe, "accuracy", name))
        if found is None:
            return "" if recipe is None else "not run"
        return f"{found[0].mean:.2f} ({len(found[0].values)})"

    header = ("CIFAR-10", "published", "released code, one seed", "a port", "ours", "ours, batch norm calibrated")
    rows = [
        (
            row.network,
            f"{row.printed:.1f}",
            f"{row.released:.1f}",
            "" if row.port is None else f"{row.port:.1f}",
            ours(row.recipe, "test_accuracy"),
            ours(row.calibrated, "random_test_accuracy"),
        )
        for row in RELEASED
    ]
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])


def reproduction_figure(comparisons: Sequence[Comparison]) -> "Figure":
    """Measured against published accuracy, a point a number, with its 95 % interval; the diagonal is agreement."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 5.4), layout="constrained")
    axes = figure.subplots()
    measured = [c for c in comparisons if c.measure is not None and c.measure.unit == "%"]
    for verdict, colour in _COLOURS.items():
        chosen = [c for c in measured if c.verdict == verdict]
        if chosen:
            x, y = [c.published for c in chosen], [c.published + (c.difference or 0.0) for c in chosen]
            bars = [c.half or 0.0 for c in chosen]
            label = f"{verdict} ({len(chosen)})"
            axes.errorbar(x, y, yerr=bars, fmt="o", color=colour, markersize=5, elinewidth=1, label=label)
    low, high = axes.get_xlim()
    axes.plot([low, high], [low, high], color="#505050", linewidth=0.8, zorder=0)
    axes.set_xlabel("published accuracy, %")
    axes.set_ylabel("measured accuracy, %")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _accuracies(paper: str, results: Sequence[Result]) -> Iterator[Comparison]:
    """The accuracies that recipes name as published; a baseline's number once for each data set, depth and plan."""
    # Of one seed: items of all seeds come after those of one.
    cost = {(item.recipe, item.question): item for item in reversed(get_experiments(paper))}
    seen: set[tuple[str, str, float, Supervised | None]] = set()
    for name in list_recipes(f"{paper}-*"):
        recipe = get_recipe(name)
        for measure, published in _published(recipe):
            by_gradients = measure == "backpropagation_test_accuracy"
            key = (recipe.data, measure, published, recipe.supervised if by_gradients else None)
            if measure != "test_accuracy" and key in seen:
                continue
            seen.add(key)
            found = find_measure(results, MeasureRef(name, "accuracy", measure))
            if found is None:
                item = cost.get((name, "baselines" if by_gradients else "accuracy")) or cost.get((name, "accuracy"))
                hours = None if item is None else (item.training_seconds + item.seconds) / 3600
                yield Comparison(name, measure, published, None, None, hours)
            else:
                half = welch(found[0], published)
                yield Comparison(name, measure, published, found[0], half, precision=found[1].precision)


def _published(recipe: Recipe) -> Iterator[tuple[str, float]]:
    """The names of measures and their published numbers."""
    own = ("online_" if recipe.online else "") + "test_accuracy"
    for measure in (own, "random_test_accuracy", "backpropagation_test_accuracy"):
        published = recipe.published_for(measure)
        if published is not None:
            yield measure, published


def _other_measures(paper: str, results: Sequence[Result]) -> Iterator[Comparison]:
    """Published numbers of other questions, as their results hold them."""
    for result in results:
        if result.recipe.startswith(f"{paper}-") and result.question not in ACCURACIES:
            for measure in result.measures:
                if measure.published is not None:
                    half = welch(measure, measure.published)
                    name = f"{result.question}: {measure.name}"
                    yield Comparison(result.recipe, name, measure.published, measure, half, precision=result.precision)


def _row(comparison: Comparison) -> tuple[str, ...]:
    name, measure = comparison.name.replace("_", " "), comparison.measure
    if measure is None:
        hours = "" if comparison.hours is None else f"not run, about {comparison.hours:.1f} hours a seed"
        return comparison.recipe, name, f"{comparison.published:.2f}", "", "", "", hours or "not run"
    spread = "" if measure.std is None else f" ± {measure.std:.2f}"
    difference = f"{comparison.difference:+.2f}"
    if comparison.half is not None:
        difference += f" ± {comparison.half:.2f}"
    measured = f"{measure.mean:.2f}{spread} {measure.unit}".strip()
    published = f"{comparison.published:.2f} {measure.unit}".strip()
    seeds = str(len(measure.values)) + ("" if comparison.precision == "float32" else f", {comparison.precision}")
    return comparison.recipe, name, published, measured, seeds, difference, comparison.verdict
