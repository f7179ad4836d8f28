"""How many images does a network need to see? Accuracy while it learns, in one pass and in several."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from torchhebb.data import Images
from torchhebb.errors import UserError, unknown_name
from torchhebb.evaluate.evaluator import Evaluator, Figure, Finding, Note
from torchhebb.evaluate.methods.watch import at_rest, fit, samples_seen
from torchhebb.evaluate.statistics import mean_curve, wilson
from torchhebb.nn import Network
from torchhebb.readouts import Labels, WideRidge
from torchhebb.readouts.adam import fit_linear, predict_logits
from torchhebb.readouts.base import percent_correct
from torchhebb.runs.baselines import ContenderName, contender, contender_label
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Measure, Readout
from torchhebb.train.device import autocast
from torchhebb.train.features import extract_features
from torchhebb.train.recipe import shortened
from torchhebb.train.supervised import backpropagation_model, supervised_accuracy

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

FOLLOWED: tuple[ContenderName, ...] = ("own", "hard", "random", "backpropagation")
READOUTS = {"linear": "linear readout", "labels": "neuron labels", "head": "its own head"}

Trace = dict[str, list[float]]
"""`samples` seen, and the accuracy in % by every readout after each of them."""


@dataclass(frozen=True)
class Convergence(Evaluator):
    """Test accuracy against training images seen, in one pass and in several.

    At every point the network is left as it is and read out by `linear`, trained anew on its features of the training
    images; without backpropagation also by `labels`, a class for each neuron; with it by `head`, its own last layer.
    Counted are the images that the network has learned from: a readout reads all labels at every point, whereas
    backpropagation reads a label with its image.

    Curves `<passes>_pass <contender> <readout>`: accuracy in % against images seen; random weights are a level line.
    Measures:

        <contender>_<readout>_<passes>_pass_accuracy            in the end, in %; of random weights without passes
        <contender>_<readout>_<passes>_pass_images_to_<level>   until the accuracy is first `level` %
        ..._images_to_<share>_percent_of_rise                   until that share of the way from untrained to trained

    where images are read off the broken line through the points, for the linear readout and the head.  A measure that
    some seed never reaches is left out, and noted under `not_reached` with these seeds.
    Raises UserError for settings out of range or contenders that cannot be followed.
    Source: SoftHebb-2022, accuracy against iterations.
    """

    question: ClassVar[str] = "convergence"

    contenders: tuple[ContenderName, ...] = FOLLOWED
    """Who learns."""
    passes: tuple[int, ...] = (1, 3)
    """How often the training images are shown; each is a training of its own, with the schedule of the recipe."""
    samples: tuple[int, ...] = (100, 300, 1000, 3000, 10_000, 30_000, 60_000, 120_000)
    """After how many images to look, rounded up to whole batches, beside before the first and after the last."""
    levels: tuple[float, ...] = (80.0, 90.0, 93.0)
    """Accuracies in %."""
    share: float = 90.0
    """Share of the rise in %."""
    readout_epochs: int = 5
    """Epochs of the linear readouts, which are the recipe's in all else."""
    readout_images: int | None = None
    """How many training images readouts are fitted to, the first of them; None is all."""

    def run(self, run: Run) -> Iterator[Finding]:
        self._check()
        measures: list[Measure] = []
        missed: dict[str, list[int]] = {}
        panels: dict[int, dict[str, Curve]] = {passes: {} for passes in self.passes}
        for passes in self.passes:
            for name in self.contenders:
                traces = [self._trace(run, seed, name, passes) for seed in run.seeds]
                for readout in [readout for readout in READOUTS if readout in traces[0]]:
                    x, lines = traces[0]["samples"], [trace[readout] for trace in traces]
                    title = f"{passes}_pass {name} {readout}"
                    panels[passes][title] = mean_curve(title, "images seen", "test accuracy, %", x, lines)
                    yield panels[passes][title]
                    if name != "random":
                        key = f"{name}_{readout}_{passes}_pass"
                        measures += [_accuracy(key, lines, run), *self._speed(key, readout, x, lines, run, missed)]
                    elif passes == self.passes[0]:
                        measures.append(_accuracy(f"{name}_{readout}", lines, run))
        yield from measures
        yield Note("not_reached", missed)
        yield Figure(
            "curves",
            "Test accuracy against training images seen.",
            _figure(panels, {name: contender_label(run, name) for name in self.contenders}),
        )

    def _check(self) -> None:
        for name in self.contenders:
            if name not in FOLLOWED:
                raise unknown_name("contender to follow", name, FOLLOWED)
        for setting in ("passes", "samples", "levels"):
            values = getattr(self, setting)
            if any(value < 1 for value in values) or (setting == "passes" and not values):
                raise UserError(f"{setting} must be at least 1 each, got {values}")
        for setting in ("readout_epochs", "readout_images"):
            value = getattr(self, setting)
            if value is not None and value < 1:
                raise UserError(f"{setting} must be at least 1, got {value}")
        if not 0 < self.share <= 100:
            raise UserError(f"share must be above 0 and at most 100, got {self.share}")

    def _speed(
        self,
        key: str,
        readout: str,
        x: Sequence[float],
        lines: Sequence[Sequence[float]],
        run: Run,
        missed: dict[str, list[int]],
    ) -> Iterator[Measure]:
        """Images to each level; a measure that is missed by a seed goes to `missed` instead."""
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

    def _trace(self, run: Run, seed: int, name: ContenderName, passes: int) -> Trace:
        key = {
            "question": self.question,
            "contender": name,
            "seed": seed,
            "readout": [self.readout_epochs, self.readout_images],
            "precision": run.precision,
        }
        if name == "random":  # it does not learn, so one look serves all passes
            level = run.once(lambda: self._read_out(run, seed, contender(run, seed, name)), **key)
            lines = {readout: [accuracy, accuracy] for readout, accuracy in level.items()}
            return {"samples": [0, passes * len(run.data.train)], **lines}
        return run.once(
            lambda: self._follow(run, seed, name, passes), passes=passes, samples=sorted(self.samples), **key
        )

    def _follow(self, run: Run, seed: int, name: ContenderName, passes: int) -> Trace:
        """Train from the beginning, and read out on the way."""
        images, gradient = run.data.train, name == "backpropagation"
        plan = replace(run.recipe.supervised if gradient else run.recipe.learning, epochs=passes)
        if gradient:
            model = backpropagation_model(run.recipe.architecture, len(run.data.classes), seed)
        else:
            architecture = contender(run, seed, name).architecture
            assert architecture is not None
            model = nn.Sequential(architecture.build(seed))
        model.to(run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        network = model[0]
        assert isinstance(network, Network)
        seen = samples_seen(len(images), plan, len(run.recipe.architecture.blocks))
        last = len(seen) - 1
        steps = {0, last} | {step for count in self.samples if (step := bisect_left(seen, count)) < last}
        trace: Trace = {"samples": []}

        def look(step: int) -> None:
            if step not in steps:
                return
            with at_rest(model):
                found = self._read_out(run, seed, network)
                if gradient:
                    del found["labels"]
                    found["head"] = supervised_accuracy(model, run.data.test)
            for readout, value in {"samples": seen[step], **found}.items():
                trace.setdefault(readout, []).append(value)
            run.progress.advance(1)

        run.progress.start(f"seed {seed}: {contender_label(run, name)}, {passes} passes", len(steps), "points")
        look(0)
        fit(model, images, plan, look, seed=seed, precision=run.precision)
        run.progress.finish()
        return trace

    def _read_out(self, run: Run, seed: int, network: Network) -> dict[str, float]:
        data, count = run.data, self.readout_images
        train = Images(data.train.images[:count], data.train.labels[:count])
        plan = shortened(run.recipe.readout, self.readout_epochs)
        return read_out(network, train, data.test, len(data.classes), plan, run=run, seed=seed)


def read_out(
    network: Network, train: Images, test: Images, classes: int, plan: Readout | WideRidge, *, run: Run, seed: int
) -> dict[str, float]:
    """Accuracies in % on `test` of what is fitted to the features of `train`: `linear` by the plan, and `labels`."""
    with torch.no_grad(), autocast(run.precision, run.device):
        shape = network.eval()(test.images[:1].to(run.device) / 255.0).shape[1:]
        features, tested = (extract_features(network, images, device=run.device) for images in (train, test))
    linear = fit_linear(features, train.labels, classes, plan, seed=seed)
    labels = Labels().fit(features.unflatten(1, shape), train.labels, classes).readout
    return {
        "linear": percent_correct(predict_logits(linear, tested).cpu(), test.labels),
        "labels": percent_correct(predict_logits(labels, tested.unflatten(1, shape)).cpu(), test.labels),
    }


def _accuracy(key: str, lines: Sequence[Sequence[float]], run: Run) -> Measure:
    final = tuple(line[-1] for line in lines)
    return Measure(f"{key}_accuracy", "%", final, None, wilson(final, len(run.data.test)))


def first_reached(x: Sequence[float], y: Sequence[float], level: float) -> float | None:
    """Where the broken line through the points is first at a level or above it; None if it never is.

    >>> first_reached([0, 100, 200], [50.0, 70.0, 90.0], 80.0), first_reached([0, 100], [50.0, 70.0], 80.0)
    (150.0, None)
    """
    if y[0] >= level:
        return float(x[0])
    for i in range(1, len(x)):
        if y[i] >= level:
            return x[i - 1] + (x[i] - x[i - 1]) * (level - y[i - 1]) / (y[i] - y[i - 1])
    return None


def _figure(panels: Mapping[int, Mapping[str, Curve]], words: Mapping[str, str]) -> "Canvas":
    """A panel a number of passes, a colour a contender, a style a readout; images on a logarithmic axis."""
    from matplotlib.figure import Figure as Canvas

    styles = dict(zip(READOUTS, ("-", ":", "--"), strict=True))
    canvas = Canvas(figsize=(4.6 * len(panels), 3.8), layout="constrained")
    for axes, (passes, curves) in zip(
        canvas.subplots(1, len(panels), squeeze=False, sharey=True)[0], panels.items(), strict=True
    ):
        for curve in curves.values():
            _, name, readout = curve.name.split()
            colour, label = f"C{FOLLOWED.index(name)}", f"{words[name]}, {READOUTS[readout]}"
            if name == "random":
                axes.axhline(curve.y[0], color=colour, linestyle=styles[readout], linewidth=1, label=label)
            else:
                std = None if curve.std is None else curve.std[1:]
                axes.errorbar(
                    curve.x[1:], curve.y[1:], std, color=colour, linestyle=styles[readout], capsize=2, label=label
                )
        axes.set(xscale="log", xlabel="images seen", title=f"{passes} pass{'es' if passes > 1 else ''}")
        axes.grid(alpha=0.25)
    canvas.axes[0].set_ylabel("test accuracy, %")
    handles, labels = canvas.axes[0].get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside lower left", ncols=2, frameon=False, fontsize=8)
    return canvas
