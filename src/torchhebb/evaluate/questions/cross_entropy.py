"""Does learning without labels lower the cross-entropy of a readout that was trained before?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchhebb.data import Batches
from torchhebb.errors import UserError, unknown_name
from torchhebb.evaluate.evaluator import Evaluator, Figure, Finding, Note
from torchhebb.evaluate.methods.watch import at_rest, fit, samples_seen
from torchhebb.evaluate.statistics import mean_curve
from torchhebb.nn import LinearReadout, Network
from torchhebb.readouts.adam import fit_linear
from torchhebb.runs.baselines import ContenderName, contender, contender_label
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Measure
from torchhebb.train.device import autocast
from torchhebb.train.features import extract_features
from torchhebb.train.recipe import shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

LEARNERS: tuple[ContenderName, ...] = ("own", "hard", "backpropagation")
TEST_BATCH = 500
OTHER_ORDER = 1_000_000  # added to a seed, for images in another order

Trace = dict[str, list[float]]


@dataclass(frozen=True)
class CrossEntropy(Evaluator):
    """The post-hoc curve: cross-entropy of a finished readout while the layers below it learn once more.

    1. The layers learn, and a readout is trained with labels on what they have become.
    2. The layers get back the random weights that they began with; the readout stays as it is.
    3. They learn again by the same plan: without labels, but for backpropagation, which follows the gradient of this
       readout's loss.

    Curves `test_cross_entropy`, `test_accuracy` and `batch_cross_entropy`, each followed by the contender, against
    images seen; the last is taken on every training batch just before it is learned, averaged between points.
    Measures on test images: `<contender>_cross_entropy_before`, `_after` and `_fall` in nats, positive where it fell,
    and `<contender>_accuracy_before` and `_after` in %.  Whether it fell with every seed is noted.
    With the images in the same order as before, the layers end where the readout was trained; `reorder` tells what is
    left of the fall in another order.
    Raises UserError for settings out of range or contenders that do not learn.
    Source: SoftHebb-2022, post-hoc cross-entropy.
    """

    question: ClassVar[str] = "cross_entropy"

    contenders: tuple[ContenderName, ...] = LEARNERS
    """Who learns."""
    readout_epochs: int = 100
    """Epochs of the readout, which is the recipe's in all else."""
    points: int = 60
    """How often to look after the first time, which is before any image."""
    images: int | None = None
    """How many test images, the first of them; None is all."""
    reorder: bool = False
    """Whether the images come in another order the second time."""

    def run(self, run: Run) -> Iterator[Finding]:
        self._check()
        falls: dict[str, bool] = {}
        drawn: dict[str, dict[str, Curve]] = {}
        for name in self.contenders:
            traces = [self._trace(run, seed, name) for seed in run.seeds]
            for quantity, label, x in (
                ("test_cross_entropy", "test cross-entropy, nats", "samples"),
                ("test_accuracy", "test accuracy, %", "samples"),
                ("batch_cross_entropy", "cross-entropy of the next batch, nats", "batch_samples"),
            ):
                lines = [trace[quantity] for trace in traces]
                curve = mean_curve(f"{quantity} {name}", "images seen", label, traces[0][x], lines)
                drawn.setdefault(quantity, {})[contender_label(run, name)] = curve
                yield curve
            loss, right = ([trace[f"test_{name}"] for trace in traces] for name in ("cross_entropy", "accuracy"))
            fall = tuple(line[0] - line[-1] for line in loss)
            yield Measure(f"{name}_cross_entropy_before", "nats", tuple(line[0] for line in loss))
            yield Measure(f"{name}_cross_entropy_after", "nats", tuple(line[-1] for line in loss))
            yield Measure(f"{name}_cross_entropy_fall", "nats", fall)
            yield Measure(f"{name}_accuracy_before", "%", tuple(line[0] for line in right))
            yield Measure(f"{name}_accuracy_after", "%", tuple(line[-1] for line in right))
            falls[name] = min(fall) > 0
        yield Note("falls", falls)
        of_test = [curves for quantity, curves in drawn.items() if quantity.startswith("test")]
        yield Figure("curves", "A finished readout while the layers below it learn once more.", _figure(of_test))

    def _check(self) -> None:
        for name in self.contenders:
            if name not in LEARNERS:
                raise unknown_name("contender that learns", name, LEARNERS)
        for setting in ("readout_epochs", "points", "images"):
            value = getattr(self, setting)
            if value is not None and value < 1:
                raise UserError(f"{setting} must be at least 1, got {value}")

    def _trace(self, run: Run, seed: int, name: ContenderName) -> Trace:
        settings = {s: getattr(self, s) for s in ("readout_epochs", "points", "images", "reorder")}
        return run.once(
            lambda: self._learn_again(run, seed, name),
            question=self.question,
            seed=seed,
            contender=name,
            precision=run.precision,
            **settings,
        )

    def _learn_again(self, run: Run, seed: int, name: ContenderName) -> Trace:
        trained, train, test = contender(run, seed, name), run.data.train, run.data.test
        assert trained.architecture is not None
        readout = self._readout(run, trained, seed, name)
        network = trained.architecture.build(seed).to(run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        model = nn.Sequential(network, readout)
        order = seed + OTHER_ORDER * self.reorder
        plan = run.recipe.supervised if name == "backpropagation" else run.recipe.learning
        seen = samples_seen(len(train), plan, len(trained.architecture.blocks))
        steps = sorted({round(point * (len(seen) - 1) / self.points) for point in range(self.points + 1)})
        batches = Batches(train.images, plan.batch_size, labels=train.labels, seed=order, device=run.device)
        upcoming = (batch for epoch in range(seen[-1] // len(train)) for batch in batches.epoch(epoch % plan.epochs))
        tests = Batches(
            test.images[: self.images], TEST_BATCH, labels=test.labels[: self.images], shuffle=False, device=run.device
        )
        losses: list[Tensor] = []
        trace: Trace = {"test_cross_entropy": [], "test_accuracy": []}

        def look(step: int) -> None:
            with at_rest(model), autocast(run.precision, run.device):
                if (batch := next(upcoming, None)) is not None:
                    losses.append(F.cross_entropy(model(batch[0]).float(), batch[1]))
                if step in steps:
                    loss, accuracy = _test(model, tests)
                    trace["test_cross_entropy"].append(loss)
                    trace["test_accuracy"].append(accuracy)
            run.progress.advance(1)

        run.progress.start(f"seed {seed}: {name} learns again", len(seen), "steps")
        look(0)
        fit(model, train, plan, look, seed=order, precision=run.precision)
        run.progress.finish()
        of_batch = torch.stack(losses).cpu()
        windows = list(pairwise(steps))
        return trace | {
            "samples": [seen[step] for step in steps],
            "batch_samples": [(seen[start] + seen[end]) / 2 for start, end in windows],
            "batch_cross_entropy": [of_batch[start:end].mean().item() for start, end in windows],
        }

    def _readout(self, run: Run, trained: Network, seed: int, name: str) -> LinearReadout:
        """What is trained on the finished layers, with labels."""
        with autocast(run.precision, run.device):
            features = extract_features(
                trained,
                run.data.train,
                device=run.device,
                label=f"seed {seed}: {name}: features",
                progress=run.progress,
            )
        return fit_linear(
            features,
            run.data.train.labels,
            len(run.data.classes),
            shortened(run.recipe.readout, self.readout_epochs),
            seed=seed,
            task=f"seed {seed}: {name}: readout",
            progress=run.progress,
        )


def _figure(panels: Sequence[Mapping[str, Curve]]) -> "Canvas":
    """A panel a quantity, a line a contender, its spread over seeds as a band."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(4.2 * len(panels), 3.2), layout="constrained")
    for axes, curves in zip(canvas.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for label, curve in curves.items():
            axes.plot(curve.x, curve.y, label=label)
            if curve.std is not None:
                bounds = [[y + sign * std for y, std in zip(curve.y, curve.std, strict=True)] for sign in (-1, 1)]
                axes.fill_between(curve.x, *bounds, alpha=0.2)
            axes.set(xlabel=curve.x_label, ylabel=curve.y_label)
        axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return canvas


def _test(model: nn.Module, batches: Batches) -> tuple[float, float]:
    """Mean cross-entropy in nats, and accuracy in %."""
    loss, right, count = 0.0, 0, 0
    for x, labels in batches.epoch(0):
        logits = model(x).float()
        loss += F.cross_entropy(logits, labels, reduction="sum").item()
        right += int((logits.argmax(1) == labels).sum())
        count += len(labels)
    return loss / count, 100 * right / count
