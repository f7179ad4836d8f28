"""Cross-entropy of a trained, fixed readout while the layers below it learn again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchhebb.bounds import at_least, distinct
from torchhebb.data import Batches
from torchhebb.evaluate.evaluator import Figure, Finding, Note
from torchhebb.evaluate.figures.panels import Panel, draw_panels
from torchhebb.evaluate.methods.watch import at_rest, fit, samples_seen
from torchhebb.evaluate.probe import features_of
from torchhebb.evaluate.statistics import mean_curve
from torchhebb.evaluate.study import NOT_IN_CELLS, Cell, Quantity, Study, values
from torchhebb.nn import Network
from torchhebb.runs.baselines import baseline, baseline_label
from torchhebb.runs.networks import built
from torchhebb.runs.run import Run
from torchhebb.train import Curve
from torchhebb.train.device import autocast
from torchhebb.train.recipe import shortened

LearnerName = Literal["own", "hard", "backpropagation"]
TEST_BATCH = 500
OTHER_ORDER = 1_000_000  # added to the seed of the order of the images


@dataclass(frozen=True)
class CrossEntropy(Study[LearnerName]):
    """Cross-entropy of a trained, fixed readout while the layers below it learn again (post-hoc cross-entropy).

    1. The layers learn, and a readout is trained with labels on their features.
    2. The layers are reset to their random initial weights; the readout stays fixed.
    3. The layers learn again by the same plan, without labels.  Backpropagation instead follows the gradient of this
       readout's loss.

    Curves `test_cross_entropy`, `test_accuracy` and `batch_cross_entropy`, each with the name of the baseline, against
    images seen; the last one is measured on each training batch just before it is learned, averaged between points.
    Measures on test images: `<baseline>_cross_entropy_before`, `_after` and `_fall` in nats, positive where the loss
    fell, and `<baseline>_accuracy_before` and `_after` in %.  The note `falls` tells whether it fell for every seed.
    If the images come in the same order as before, the layers return to the weights that the readout was trained on;
    `reorder` shows how much of the fall remains in another order.
    Raises UserError for settings out of range or baselines that do not learn.
    Source: SoftHebb-2022, post-hoc cross-entropy.

    Example:
        >>> CrossEntropy(points=20).question
        'cross_entropy'
    """

    question: ClassVar[str] = "cross_entropy"
    quantities: ClassVar[dict[str, Quantity]] = {
        "test_cross_entropy": Quantity("test cross-entropy, nats", "nats"),
        "test_accuracy": Quantity("test accuracy, %", "%"),
        "batch_cross_entropy": Quantity("cross-entropy of the next batch, nats", "nats"),
    }

    baselines: tuple[LearnerName, ...] = field(
        default=("own", "hard", "backpropagation"), metadata=distinct() | NOT_IN_CELLS
    )
    """Networks to train."""
    readout_epochs: int = field(default=100, metadata=at_least(1))
    """Epochs of the readout; its other settings are the recipe's."""
    points: int = field(default=60, metadata=at_least(1))
    """Number of points of the curves after the first one, which is before any image."""
    images: int | None = field(default=None, metadata=at_least(1))
    """Number of test images, the first ones; None takes all."""
    reorder: bool = False
    """Whether the images come in another order when the layers learn again."""

    def variants(self, run: Run) -> dict[str, LearnerName]:
        return {name: name for name in self.baselines}

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        falls: dict[str, bool] = {}
        panels: dict[str, dict[str, Curve]] = {}
        for name, traces in cells.items():
            for quantity, row in self.quantities.items():
                x = traces[0]["batch_samples" if quantity == "batch_cross_entropy" else "samples"]
                lines = values(traces, quantity)
                curve = mean_curve(f"{quantity} {name}", "images seen", row.label, x, lines)
                panels.setdefault(quantity, {})[baseline_label(run, self.variants(run)[name])] = curve
                yield curve
            loss, right = values(traces, "test_cross_entropy"), values(traces, "test_accuracy")
            fall = [line[0] - line[-1] for line in loss]
            ends = {"before": 0, "after": -1}
            for when, at in ends.items():
                before = [line[at] for line in loss]
                yield self.measure(run, f"{name}_cross_entropy_{when}", before, "test_cross_entropy")
            yield self.measure(run, f"{name}_cross_entropy_fall", fall, "test_cross_entropy")
            for when, at in ends.items():
                yield self.measure(run, f"{name}_accuracy_{when}", [line[at] for line in right], "test_accuracy")
            falls[name] = min(fall) > 0
        yield Note("falls", falls)
        drawn = [Panel(self.quantities[name].label, panels[name]) for name in ("test_cross_entropy", "test_accuracy")]
        caption = "A fixed readout while the layers below it learn again."
        yield Figure("curves", caption, draw_panels(drawn))

    def cell(self, run: Run, variant: LearnerName, seed: int) -> Cell:
        """Losses and accuracies while the layers learn again, against `samples` and `batch_samples` seen."""
        trained, train, test = baseline(run, seed, variant, readout=False), run.data.train, run.data.test
        readout = self._readout(run, trained, seed, variant)
        network = built(run, seed, trained.architecture)
        model = nn.Sequential(network, readout)
        order = seed + OTHER_ORDER * self.reorder
        plan = run.recipe.supervised if variant == "backpropagation" else run.recipe.learning
        seen = samples_seen(len(train), plan, len(run.recipe.architecture.blocks))
        steps = sorted({round(point * (len(seen) - 1) / self.points) for point in range(self.points + 1)})
        batches = Batches(train.images, plan.batch_size, labels=train.labels, seed=order, device=run.device)
        upcoming = (batch for epoch in range(seen[-1] // len(train)) for batch in batches.epoch(epoch % plan.epochs))
        tests = Batches(
            test.images[: self.images], TEST_BATCH, labels=test.labels[: self.images], shuffle=False, device=run.device
        )
        losses: list[Tensor] = []
        trace: Cell = {"test_cross_entropy": [], "test_accuracy": []}

        def look(step: int) -> None:
            with at_rest(model), autocast(run.precision, run.device):
                if (batch := next(upcoming, None)) is not None:
                    losses.append(F.cross_entropy(model(batch[0]).float(), batch[1]))
                if step in steps:
                    loss, accuracy = _test(model, tests)
                    trace["test_cross_entropy"].append(loss)
                    trace["test_accuracy"].append(accuracy)
            run.progress.advance(1)

        run.progress.start(f"seed {seed}: {variant} learns again", len(seen), "steps")
        fit(model, train, plan, look, seed=order, precision=run.precision)
        run.progress.finish()
        of_batch = torch.stack(losses).cpu()
        windows = list(pairwise(steps))
        return trace | {
            "samples": [seen[step] for step in steps],
            "batch_samples": [(seen[start] + seen[end]) / 2 for start, end in windows],
            "batch_cross_entropy": [of_batch[start:end].mean().item() for start, end in windows],
        }

    def _readout(self, run: Run, trained: Network, seed: int, name: str) -> nn.Module:
        """The readout, trained with labels on the features of the trained layers."""
        (features,) = features_of(trained, run, run.data.train, label=f"seed {seed}: {name}: features")
        plan, task = shortened(run.recipe.readout, self.readout_epochs), f"seed {seed}: {name}: readout"
        labels, classes = run.data.train.labels, len(run.data.classes)
        return plan.fit(features, labels, classes, seed=seed, task=task, progress=run.progress).readout


def _test(model: nn.Module, batches: Batches) -> tuple[float, float]:
    """Mean cross-entropy in nats, and accuracy in %."""
    loss, right, count = 0.0, 0, 0
    for x, labels in batches.epoch(0):
        logits = model(x).float()
        loss += F.cross_entropy(logits, labels, reduction="sum").item()
        right += int((logits.argmax(1) == labels).sum())
        count += len(labels)
    return loss / count, 100 * right / count
