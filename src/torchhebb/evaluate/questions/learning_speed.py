"""How fast do features become good? Accuracy against the share of the unsupervised phase that was seen."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import nn

from torchhebb.config import to_json
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Evaluator, Figure, Finding, Note
from torchhebb.evaluate.figures.panels import Panel, draw_panels
from torchhebb.evaluate.methods.probe import Probe, at_least_one
from torchhebb.evaluate.methods.resize import draw
from torchhebb.evaluate.methods.watch import fit, samples_seen, spread
from torchhebb.evaluate.questions.accuracy import wilson
from torchhebb.evaluate.questions.convergence import first_reached
from torchhebb.progress import SILENT
from torchhebb.runs.baselines import contender_label
from torchhebb.runs.networks import built
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Measure
from torchhebb.train.learn import calibrate

Trace = dict[str, list[float]]
"""`share` of the samples seen in %, `samples`, and the `accuracy` in % after them."""


@dataclass(frozen=True)
class LearningSpeed(Evaluator):
    """Test accuracy against the share of the unsupervised phase that the layers have seen.

    The layers are trained once more as in the recipe.  After each share the weights are copied, batch norm is
    calibrated for them on the images learned from, and the probe is fitted to the features: points differ in the
    weights alone.  Share 0 are the weights as drawn: random features.  Nothing is chosen on the test images.

    Curve `accuracy`: test accuracy in % against the share in %, rounded up to whole batches.  Measures:

        random_accuracy                         at share 0, in %
        <share>_percent_of_learning_accuracy    after that share, in %
        <share>_percent_of_learning_gain        the same above random features, in points
        half_gain_images                        samples until half of the gain of the whole phase is reached, read off
                                                the broken line through the points; left out where a seed gains nothing

    Raises UserError for settings out of range.
    Source: SoftHebb-2023, accuracy against the part of the training set that was seen.
    """

    question: ClassVar[str] = "learning_speed"

    shares: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0)
    """Shares of the unsupervised phase after which to look, beside before the first image; in rising order up to 1."""
    passes: int | None = None
    """Passes over the images, of which all shares are taken; None is as many as the recipe says."""
    images: int | None = None
    """How many training images are learned from, drawn once; None is all of them."""
    probe: Probe = field(default_factory=Probe)
    """The readout, fitted to training images."""

    def run(self, run: Run) -> Iterator[Finding]:
        self._check()
        traces = [self._trace(run, seed) for seed in run.seeds]
        x, lines = traces[0]["share"], [trace["accuracy"] for trace in traces]
        curve = spread("accuracy", "share of the unsupervised phase, %", "test accuracy, %", x, lines)
        yield curve
        tested = len(run.data.test)
        start = tuple(line[0] for line in lines)
        yield Measure("random_accuracy", "%", start, None, wilson(start, tested))
        for number, share in enumerate(self.shares, 1):
            after = tuple(line[number] for line in lines)
            name = f"{100 * share:g}_percent_of_learning"
            yield Measure(f"{name}_accuracy", "%", after, None, wilson(after, tested))
            gains = tuple(late - early for late, early in zip(after, start, strict=True))
            yield Measure(f"{name}_gain", "points", gains)
        halves = [half_gain(trace["samples"], trace["accuracy"]) for trace in traces]
        reached = tuple(samples for samples in halves if samples is not None)
        if len(reached) == len(halves):
            yield Measure("half_gain_images", "images", reached)
        yield Note("samples", traces[0]["samples"])
        yield Note("test_images", tested)
        caption = (
            "Test accuracy against the share of the unsupervised phase seen; on the left and dashed, random features."
        )
        yield Figure("curve", caption, draw_panels([_panel(curve, contender_label(run, "own"))], columns=1))

    def _check(self) -> None:
        shares = self.shares
        rising = all(low < high for low, high in zip(shares, shares[1:], strict=False))
        if not shares or not rising or shares[0] <= 0 or shares[-1] > 1:
            raise UserError(f"shares must be numbers that rise from above 0 up to 1, got {shares}")
        at_least_one(passes=self.passes, images=self.images)
        self.probe.check()

    def _trace(self, run: Run, seed: int) -> Trace:
        return run.once(
            lambda: self._follow(run, seed),
            question=self.question,
            seed=seed,
            precision=run.precision,
            settings=to_json(self),
        )

    def _follow(self, run: Run, seed: int) -> Trace:
        """Train from the beginning, and read out on the way."""
        data, images, quiet = run.data, draw(run.data.train, self.images), replace(run, progress=SILENT)
        plan = run.recipe.learning if self.passes is None else replace(run.recipe.learning, epochs=self.passes)
        seen = samples_seen(len(images), plan, len(run.recipe.architecture.blocks))
        # A pipeline has steps after its last sample, so the whole phase is its last step.
        steps = [0, *(bisect_left(seen, share * seen[-1]) if share < 1 else len(seen) - 1 for share in self.shares)]
        network, twin = built(run, seed), built(run, seed)
        found: dict[int, float] = {}

        def look(step: int) -> None:
            if step not in steps:
                return
            twin.load_state_dict(network.state_dict())
            calibrate(twin, images, seed=seed, learned=step > 0)
            found[step] = self.probe.score(twin, data.train, data.test, quiet, seed)
            run.progress.advance(1)

        run.progress.start(f"seed {seed}: learning, read out on the way", len({*steps}), "points")
        look(0)
        fit(nn.Sequential(network), images, plan, look, seed=seed, precision=run.precision)
        run.progress.finish()
        return {
            "share": [100 * seen[step] / seen[-1] for step in steps],
            "samples": [seen[step] for step in steps],
            "accuracy": [found[step] for step in steps],
        }


def half_gain(samples: Sequence[float], accuracy: Sequence[float]) -> float | None:
    """Samples until half of the gain of the whole phase is reached; None where nothing was gained.

    >>> half_gain([0, 100, 200], [60.0, 80.0, 90.0]), half_gain([0, 100], [60.0, 50.0])
    (75.0, None)
    """
    gained = accuracy[-1] > accuracy[0]
    return first_reached(samples, accuracy, (accuracy[0] + accuracy[-1]) / 2) if gained else None


def _panel(curve: Curve, words: str) -> Panel:
    """The curve on a logarithmic axis on which 0 has a place, and its first point as a level line."""
    ticks = {0.0: "0"} | {x: f"{x:.3g}" for x in curve.x[1:]}
    return Panel("test accuracy, %", {words: curve}, {"random features": curve.y[0]}, "symlog", ticks)
