"""Test accuracy against the fraction of the unsupervised phase that is completed."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import nn

from torchhebb.bounds import at_least, rising
from torchhebb.evaluate.evaluator import Figure, Finding, Note
from torchhebb.evaluate.figures.panels import Panel, draw_panels
from torchhebb.evaluate.methods.subsample import subsample
from torchhebb.evaluate.methods.watch import fit, samples_seen
from torchhebb.evaluate.probe import Probe
from torchhebb.evaluate.statistics import first_reached, mean_curve
from torchhebb.evaluate.study import Cell, Quantity, Study, count_test_images, values
from torchhebb.progress import SILENT
from torchhebb.runs.baselines import baseline_label
from torchhebb.runs.networks import built
from torchhebb.runs.run import Run
from torchhebb.train import Curve
from torchhebb.train.calibrate import calibrate
from torchhebb.train.recipe import shortened


@dataclass(frozen=True)
class LearningSpeed(Study[None]):
    """Test accuracy against the fraction of the unsupervised phase that is completed.

    The layers are trained again as in the recipe.  After each share the weights are copied, their batch norm is
    calibrated on the images learned from, and the probe is fitted to the features, so that points differ only in the
    weights.  At share 0 the weights are as drawn: random features.  No setting is chosen on the test images.

    Curve `accuracy`: test accuracy in % against the share in %, rounded up to whole batches.  Measures:

        random_accuracy                         at share 0, in %
        <share>_percent_of_learning_accuracy    after that share, in %
        <share>_percent_of_learning_gain        the same above random features, in points
        half_gain_images                        samples until half of the gain of the whole phase, interpolated
                                                linearly between points; left out if a seed has no gain

    Raises UserError for settings out of range.
    Source: SoftHebb-2023, accuracy against the part of the training set that was seen.

    Example:
        >>> LearningSpeed(shares=(0.1, 1.0)).question
        'learning_speed'
    """

    question: ClassVar[str] = "learning_speed"
    quantities: ClassVar[dict[str, Quantity]] = {
        "accuracy": Quantity("test accuracy, %", "%", count_test_images),
        "gain": Quantity("accuracy above random features, points", "points"),
        "images": Quantity("samples seen", "images"),
    }

    shares: tuple[float, ...] = field(default=(0.01, 0.03, 0.1, 0.3, 1.0), metadata=rising(above=0, up_to=1))
    """Shares of the unsupervised phase after which to measure the accuracy, in increasing order up to 1."""
    passes: int | None = field(default=None, metadata=at_least(1))
    """Passes over the images that make up the whole phase; None takes the recipe's."""
    images: int | None = field(default=None, metadata=at_least(1))
    """Number of training images that are learned from, drawn once; None takes all."""
    probe: Probe = field(default_factory=Probe)
    """Settings of the readout, which is fitted to training images."""

    def variants(self, run: Run) -> dict[str, None]:
        return {"recipe": None}

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        traces = cells["recipe"]
        x, lines = traces[0]["share"], values(traces, "accuracy")
        curve = mean_curve(
            "accuracy", "share of the unsupervised phase, %", self.quantities["accuracy"].label, x, lines
        )
        yield curve
        start = [line[0] for line in lines]
        yield self.measure(run, "random_accuracy", start, "accuracy")
        for number, share in enumerate(self.shares, 1):
            after = [line[number] for line in lines]
            name = f"{100 * share:g}_percent_of_learning"
            yield self.measure(run, f"{name}_accuracy", after, "accuracy")
            gains = [late - early for late, early in zip(after, start, strict=True)]
            yield self.measure(run, f"{name}_gain", gains, "gain")
        halves = [half_gain(trace["samples"], trace["accuracy"]) for trace in traces]
        reached = [samples for samples in halves if samples is not None]
        if len(reached) == len(halves):
            yield self.measure(run, "half_gain_images", reached, "images")
        yield Note("samples", traces[0]["samples"])
        yield Note("test_images", count_test_images(run))
        caption = (
            "Test accuracy against the completed share of the unsupervised phase; leftmost and dashed, random features."
        )
        yield Figure("curve", caption, draw_panels([_panel(curve, baseline_label(run, "own"))], columns=1))

    def cell(self, run: Run, variant: None, seed: int) -> Cell:
        """`share` of the phase in %, `samples` seen, and the `accuracy` in % after them."""
        data, images, quiet = run.data, subsample(run.data.train, self.images), replace(run, progress=SILENT)
        plan = shortened(run.recipe.learning, self.passes)
        seen = samples_seen(len(images), plan, len(run.recipe.architecture.blocks))
        # A pipeline steps on after its last sample, so the whole phase ends with its last step.
        steps = [0, *(bisect_left(seen, share * seen[-1]) if share < 1 else len(seen) - 1 for share in self.shares)]
        network, twin = built(run, seed), built(run, seed)
        found: dict[int, float] = {}

        def look(step: int) -> None:
            twin.load_state_dict(network.state_dict())
            calibrate(twin, images, seed=seed, learned=step > 0)
            found[step] = self.probe.score(twin, data.train, data.test, quiet, seed)
            run.progress.advance(1)

        run.progress.start(f"seed {seed}: learning, read out on the way", len({*steps}), "points")
        fit(nn.Sequential(network), images, plan, look, at=steps, seed=seed, precision=run.precision)
        run.progress.finish()
        return {
            "share": [100 * seen[step] / seen[-1] for step in steps],
            "samples": [seen[step] for step in steps],
            "accuracy": [found[step] for step in steps],
        }


def half_gain(samples: Sequence[float], accuracy: Sequence[float]) -> float | None:
    """Samples until half of the gain of the whole phase is reached; None if there is no gain.

    >>> half_gain([0, 100, 200], [60.0, 80.0, 90.0]), half_gain([0, 100], [60.0, 50.0])
    (75.0, None)
    """
    gained = accuracy[-1] > accuracy[0]
    return first_reached(samples, accuracy, (accuracy[0] + accuracy[-1]) / 2) if gained else None


def _panel(curve: Curve, words: str) -> Panel:
    """The curve on a symmetric logarithmic axis, which shows 0, and its first point as a level line."""
    ticks = {0.0: "0"} | {x: f"{x:.3g}" for x in curve.x[1:]}
    return Panel("test accuracy, %", {words: curve}, {"random features": curve.y[0]}, "symlog", ticks)
