"""Accuracy against depth and width, of finished runs of one data set.

Not a `Study`: it computes nothing for a seed; it compares results of several runs, each with seeds of its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Evaluator, Figure, Finding, Note
from torchhebb.evaluate.figures.panels import Panel, draw_panels
from torchhebb.evaluate.statistics import points_curve
from torchhebb.rules import SoftHebb
from torchhebb.runs import read_config
from torchhebb.runs.baselines import learner
from torchhebb.runs.folder import finished_result
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Measure, Recipe, Result
from torchhebb.train.wilson import wilson

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

SUFFIX = "test_accuracy"
PUBLISHED = ", published"
WORDS = {"random": "random weights", "raw": "raw pixels", "backpropagation": "backpropagation"}


@dataclass(frozen=True)
class Trained:
    """A finished run as a point of the curves: its widths, its learning rule and its result."""

    folder: Path
    recipe: Recipe
    result: Result

    @property
    def widths(self) -> tuple[int, ...]:
        """The neurons of each block."""
        return tuple(block.width for block in self.recipe.architecture.blocks)

    @property
    def learner(self) -> str:
        """The name of its learning rule."""
        rule = self.recipe.architecture.blocks[0].rule
        hebbian = isinstance(rule, SoftHebb) and not rule.anti_hebbian
        return learner(self.recipe.architecture) + (" without anti-Hebbian losers" if hebbian else "")

    @property
    def key(self) -> str:
        return f"{self.recipe.name}_{'-'.join(map(str, self.widths))}"


@dataclass(frozen=True)
class DepthWidth(Evaluator):
    """Test accuracy against the number of blocks and of neurons, for finished runs on the same images.

    Nothing is trained: the accuracies are those of the runs and of their baselines, next to the published values that
    their recipes have.

    Curves, one for each rule or baseline, and one for its published values:

        depth <widths> <who>    against the number of blocks: the runs whose blocks are the first ones of <widths>
        width <depth> <who>     against the total number of neurons: the runs of one depth

    A curve needs at least two runs.  Measures `<recipe>_<widths>_accuracy` and `<recipe>_<widths>_<baseline>_accuracy`
    in %, one value per seed, with the 95 % interval over test images.
    Raises UserError if no other run is given, or if runs differ in their images or agree in recipe and widths.
    Source: SoftHebb-2023, accuracy against depth and width.

    Example:
        >>> DepthWidth(others=("runs/wider", "runs/deeper")).question
        'depth_width'
    """

    question: ClassVar[str] = "depth_width"

    others: tuple[str, ...] = ()
    """Folders of the runs to compare this one with."""

    def run(self, run: Run) -> Iterator[Finding]:
        runs = self._open(run)
        tested = len(run.data.test)
        for one in runs:
            for measure in accuracies(one.result).values():
                name = f"{one.key}_{measure.name.removesuffix(SUFFIX)}accuracy"
                yield Measure(name, "%", measure.values, measure.published, wilson(measure.values, tested))
        depth, width = depth_lines(runs), width_lines(runs)
        for lines in (depth, width):
            yield from lines.values()
        if not depth and not width:
            raise UserError("no two runs of one rule differ only in depth or only in width: give others that do")
        yield Note("runs", {one.key: {"seeds": len(one.result.seeds), "rule": one.learner} for one in runs})
        yield Note("test_images", tested)
        caption = "Test accuracy of finished runs against the number of blocks and of neurons; dotted, as published."
        yield Figure("curves", caption, _figure(depth, width))

    def _open(self, run: Run) -> list[Trained]:
        if not self.others:
            raise UserError("depth_width compares runs: name at least one more with --others RUN")
        runs = [Trained(run.folder, run.recipe, run.result)]
        for folder in map(Path, self.others):
            recipe, _ = read_config(folder)
            result = finished_result(folder)
            if result.data.get("fingerprint") != run.data.fingerprint:
                raise UserError(f"{folder} was trained on {result.data.get('name')}, this run on {run.data.name}")
            runs.append(Trained(folder, recipe, result))
        for number, one in enumerate(runs):
            if twins := [other.folder for other in runs[:number] if other.key == one.key]:
                raise UserError(f"{twins[0]} and {one.folder} are of the same recipe and widths: give one of them")
        return runs


def accuracies(result: Result) -> dict[str, Measure]:
    """The test accuracies of a run and its baselines, by baseline; the run's own under ""."""
    return {m.name.removesuffix(SUFFIX).rstrip("_"): m for m in result.measures if m.name.endswith(SUFFIX)}


def depth_lines(runs: Sequence[Trained]) -> dict[str, Curve]:
    """Curves against the number of blocks: for each deepest run, all runs whose blocks are its first ones."""
    found: dict[str, Curve] = {}
    for rule in dict.fromkeys(one.learner for one in runs):
        of_rule = [one for one in runs if one.learner == rule]
        stacks = [one.widths for one in of_rule]
        for stack in dict.fromkeys(stacks):
            if any(len(other) > len(stack) and other[: len(stack)] == stack for other in stacks):
                continue
            chain = [one for one in of_rule if one.widths == stack[: len(one.widths)]]
            points = [(len(one.widths), one) for one in chain]
            found |= _lines(f"depth {'-'.join(map(str, stack))}", "blocks", rule, points)
    return found


def width_lines(runs: Sequence[Trained]) -> dict[str, Curve]:
    """Curves against the total number of neurons, for the runs of one rule and depth."""
    found: dict[str, Curve] = {}
    for rule, depth in dict.fromkeys((one.learner, len(one.widths)) for one in runs):
        alike = [one for one in runs if (one.learner, len(one.widths)) == (rule, depth)]
        points = [(sum(one.widths), one) for one in alike]
        found |= _lines(f"width {depth}", "neurons of all blocks", rule, points)
    return found


def _lines(name: str, x_label: str, rule: str, points: Sequence[tuple[int, Trained]]) -> dict[str, Curve]:
    """Curves of the runs, their baselines and the published values, where at least two values of x have one."""
    found: dict[str, list[tuple[int, tuple[float, ...]]]] = {}
    for x, one in sorted(points, key=lambda point: point[0]):
        for baseline, measure in accuracies(one.result).items():
            who = WORDS.get(baseline, baseline) if baseline else rule
            found.setdefault(who, []).append((x, measure.values))
            if measure.published is not None:
                found.setdefault(f"{who}{PUBLISHED}", []).append((x, (measure.published,)))
    names = {who: f"{name} {who}" for who, line in found.items() if len({x for x, _ in line}) > 1}
    return {title: points_curve(title, x_label, "test accuracy, %", found[who]) for who, title in names.items()}


def _figure(depth: Mapping[str, Curve], width: Mapping[str, Curve]) -> "Canvas":
    """A panel for depth and a panel for width, if there are curves; published values are dotted."""
    panels = []
    for lines, kind in ((depth, "depth"), (width, "width")):
        if not lines:
            continue
        places = sorted({x for curve in lines.values() for x in curve.x})
        ticks = {x: f"{x:,.0f}" for x in places}
        alone = len({name.split(" ")[1] for name in lines}) == 1
        words = {_words(name, kind, alone=alone): curve for name, curve in lines.items()}
        known = {name: name.replace(PUBLISHED, "") for name in words if PUBLISHED in name}
        scale: Literal["log", "linear"] = "log" if kind == "width" else "linear"
        panels.append(Panel(f"{kind}: test accuracy, %", words, x_scale=scale, ticks=ticks, published=known))
    return draw_panels(panels)


def _words(name: str, kind: str, *, alone: bool) -> str:
    """The label of a curve: rule or baseline, and the number of blocks or widths if there are several.

    >>> _words("width 2 SoftHebb", "width", alone=False), _words("depth 96-384 random weights", "depth", alone=True)
    ('SoftHebb, 2 blocks', 'random weights')
    """
    _, stack, who = name.split(" ", 2)
    if kind == "width":
        stack += " block" if stack == "1" else " blocks"
    return who if alone else f"{who}, {stack}"
