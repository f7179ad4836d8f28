"""Test accuracy against the number of training images seen, in one pass and in several."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from torch import nn

from torchhebb.bounds import at_least, bound, distinct, each_at_least
from torchhebb.data import Images
from torchhebb.evaluate.evaluator import Figure, Finding, Note
from torchhebb.evaluate.figures.panels import Panel, draw_panels
from torchhebb.evaluate.methods.watch import at_rest, fit, samples_seen
from torchhebb.evaluate.probe import read_out
from torchhebb.evaluate.statistics import first_reached, mean_curve
from torchhebb.evaluate.study import NOT_IN_CELLS, Cell, Quantity, Study, count_test_images, values
from torchhebb.nn import Network
from torchhebb.runs.baselines import baseline, baseline_architecture, baseline_label
from torchhebb.runs.networks import built_for_backpropagation, placed
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Measure
from torchhebb.train.accuracy import model_accuracy
from torchhebb.train.recipe import shortened

Followed = Literal["own", "hard", "random", "backpropagation"]
FOLLOWED: tuple[Followed, ...] = ("own", "hard", "random", "backpropagation")
READOUTS = {"linear": "linear readout", "labels": "neuron labels", "head": "its own head"}

_PERCENT = bound("above 0 and at most 100", lambda value: 0 < value <= 100)


@dataclass(frozen=True)
class Convergence(Study[tuple[Followed, int | None]]):
    """Test accuracy against the number of training images seen, in one pass and in several.

    At every point the network is tested with several readouts: `linear`, fitted to its features of the training images;
    without backpropagation also `labels`, a class for each neuron; with backpropagation also `head`, its last layer.
    The x axis counts the images that the network has learned from.  A fitted readout uses all labels at every point,
    whereas backpropagation uses the label of each image that it has seen.

    Curves `<passes>_pass <baseline> <readout>`: accuracy in % against images seen; random weights are a constant line.
    Measures:

        <baseline>_<readout>_<passes>_pass_accuracy            at the end, in %; for random weights without passes
        <baseline>_<readout>_<passes>_pass_images_to_<level>   images until the accuracy first reaches `level` %
        ..._images_to_<share>_percent_of_rise                   images until that share of the whole rise

    The numbers of images are interpolated linearly between the points, for the linear readout and the head.  A level
    that some seed never reaches has no measure; the note `not_reached` lists these seeds.
    Raises UserError for settings out of range or baselines that cannot be followed.
    Source: SoftHebb-2022, accuracy against iterations.

    Example:
        >>> Convergence(passes=(1,), baselines=("own", "hard")).question
        'convergence'
    """

    question: ClassVar[str] = "convergence"
    quantities: ClassVar[dict[str, Quantity]] = {"accuracy": Quantity("test accuracy, %", "%", count_test_images)}

    baselines: tuple[Followed, ...] = field(default=FOLLOWED, metadata=distinct() | NOT_IN_CELLS)
    """Networks to train."""
    passes: tuple[int, ...] = field(default=(1, 3), metadata=each_at_least(1) | NOT_IN_CELLS)
    """Numbers of passes over the training images; each is a separate training with the recipe's schedule."""
    samples: tuple[int, ...] = field(
        default=(100, 300, 1000, 3000, 10_000, 30_000, 60_000, 120_000), metadata=each_at_least(1, empty=True)
    )
    """Numbers of images after which to test, rounded up to whole batches, besides the start and the end."""
    levels: tuple[float, ...] = field(default=(80.0, 90.0, 93.0), metadata=each_at_least(1, empty=True) | NOT_IN_CELLS)
    """Accuracies in % for which the number of images is measured."""
    share: float = field(default=90.0, metadata=_PERCENT | NOT_IN_CELLS)
    """Share in % of the whole rise for which the number of images is measured."""
    readout_epochs: int = field(default=5, metadata=at_least(1))
    """Epochs of the linear readouts; their other settings are the recipe's."""
    readout_images: int | None = field(default=None, metadata=at_least(1))
    """Number of training images that readouts are fitted to, the first ones; None takes all."""

    def variants(self, run: Run) -> dict[str, tuple[Followed, int | None]]:
        pairs = [(name, passes) for passes in self.passes for name in self.baselines]
        # Random weights do not learn, so one cell serves all numbers of passes.
        return {_key(passes, name): (name, None if name == "random" else passes) for name, passes in pairs}

    def cell(self, run: Run, variant: tuple[Followed, int | None], seed: int) -> Cell:
        """`samples` seen and the accuracies in % of every readout after them; for random weights only `levels`."""
        name, passes = variant
        if passes is None:
            return {"levels": self._read_out(run, seed, baseline(run, seed, name, readout=False))}
        return self._follow(run, seed, name, passes)

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        measures: list[Measure] = []
        missed: dict[str, list[int]] = {}
        panels: list[Panel] = []
        label = self.quantities["accuracy"].label
        for passes in self.passes:
            curves: dict[str, Curve] = {}
            levels: dict[str, float] = {}
            for name in self.baselines:
                x, readouts = self._lines(run, passes, name, cells[_key(passes, name)])
                for readout, lines in readouts.items():
                    words, key = f"{baseline_label(run, name)}, {READOUTS[readout]}", f"{name}_{readout}"
                    curve = mean_curve(f"{_key(passes, name)} {readout}", "images seen", label, x, lines)
                    yield curve
                    final = [line[-1] for line in lines]
                    if name != "random":
                        key, curves[words] = f"{key}_{passes}_pass", without_first(curve)
                        measures.append(self.measure(run, f"{key}_accuracy", final, "accuracy"))
                        measures += self._speed(key, readout, x, lines, run, missed)
                    else:
                        levels[words] = curve.y[0]
                        if passes == self.passes[0]:
                            measures.append(self.measure(run, f"{key}_accuracy", final, "accuracy"))
            panels.append(Panel(f"{passes} pass{'es' if passes > 1 else ''}", curves, levels, "log"))
        yield from measures
        yield Note("not_reached", missed)
        yield Figure("curves", "Test accuracy against training images seen.", draw_panels(panels))

    def _lines(
        self, run: Run, passes: int, name: Followed, cells: Sequence[Cell]
    ) -> tuple[list[float], dict[str, Sequence[list[float]]]]:
        """Images seen, and the accuracies of each readout after them, one line per seed."""
        if name == "random":
            x: list[float] = [0, passes * len(run.data.train)]
            cells = [{key: [level, level] for key, level in cell["levels"].items()} for cell in cells]
        else:
            x = cells[0]["samples"]
        return x, {readout: values(cells, readout) for readout in READOUTS if readout in cells[0]}

    def _speed(
        self,
        key: str,
        readout: str,
        x: Sequence[float],
        lines: Sequence[Sequence[float]],
        run: Run,
        missed: dict[str, list[int]],
    ) -> Iterator[Measure]:
        """Images to each level; levels that a seed does not reach are added to `missed` instead."""
        if readout == "labels":
            return
        goals = {f"{level:g}": [level] * len(lines) for level in self.levels}
        rises = [line[0] + self.share / 100 * (line[-1] - line[0]) for line in lines]
        goals[f"{self.share:g}_percent_of_rise"] = rises
        for goal, levels in goals.items():
            needed = [first_reached(x, line, level) for line, level in zip(lines, levels, strict=True)]
            if goal.endswith("rise"):
                needed = [n if line[-1] > line[0] else None for n, line in zip(needed, lines, strict=True)]
            reached = tuple(images for images in needed if images is not None)
            if len(reached) == len(needed):
                yield Measure(f"{key}_images_to_{goal}", "images", reached)
            else:
                late = [seed for seed, images in zip(run.seeds, needed, strict=True) if images is None]
                missed[f"{key}_images_to_{goal}"] = late

    def _follow(self, run: Run, seed: int, name: Followed, passes: int) -> Cell:
        """Train from the beginning, and test the network at every point."""
        images, gradient = run.data.train, name == "backpropagation"
        plan = shortened(run.recipe.supervised, passes) if gradient else shortened(run.recipe.learning, passes)
        if gradient:
            model = built_for_backpropagation(run, seed)
        else:
            model = nn.Sequential(baseline_architecture(run, name).build(seed))
        network = placed(model, run.device)[0]
        assert isinstance(network, Network)
        seen = samples_seen(len(images), plan, len(run.recipe.architecture.blocks))
        last = len(seen) - 1
        steps = {0, last} | {step for count in self.samples if (step := bisect_left(seen, count)) < last}
        trace: Cell = {"samples": []}

        def look(step: int) -> None:
            with at_rest(model):
                found = self._read_out(run, seed, network)
                if gradient:
                    del found["labels"]
                    found["head"] = model_accuracy(model, run.data.test)
            for readout, value in {"samples": seen[step], **found}.items():
                trace.setdefault(readout, []).append(value)
            run.progress.advance(1)

        run.progress.start(f"seed {seed}: {baseline_label(run, name)}, {passes} passes", len(steps), "points")
        fit(model, images, plan, look, at=steps, seed=seed, precision=run.precision)
        run.progress.finish()
        return trace

    def _read_out(self, run: Run, seed: int, network: Network) -> dict[str, float]:
        data, count = run.data, self.readout_images
        train = Images(data.train.images[:count], data.train.labels[:count])
        plan = shortened(run.recipe.readout, self.readout_epochs)
        return read_out(network, train, data.test, len(data.classes), plan, run=run, seed=seed)


def without_first(curve: Curve) -> Curve:
    """The curve without its first point, since a logarithmic axis cannot show 0."""
    return replace(curve, x=curve.x[1:], y=curve.y[1:], std=curve.std and curve.std[1:])


def _key(passes: int, name: str) -> str:
    return f"{passes}_pass {name}"
