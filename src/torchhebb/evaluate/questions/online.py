"""Learning from one sample at a time: time of an update, accuracy, and forgetting when classes arrive in turn."""

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from torchhebb.bounds import above, at_least
from torchhebb.data import Batches, Images
from torchhebb.data.tasks import join
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Figure, Finding
from torchhebb.evaluate.figures.panels import Panel, draw_panels
from torchhebb.evaluate.methods.continual import average_accuracy, forgetting
from torchhebb.evaluate.methods.continual.record import Row, Rows, as_matrix
from torchhebb.evaluate.methods.online import OnlineBackpropagation, OnlineHebbian, OnlineLearner
from torchhebb.evaluate.methods.watch import at_rest
from torchhebb.evaluate.probe import feature_shape, features_of, read_out
from torchhebb.evaluate.statistics import mean_curve, percent
from torchhebb.evaluate.study import NOT_IN_CELLS, Cell, Quantity, Study, count_test_images, values
from torchhebb.nn.learning import needs_data
from torchhebb.progress import SILENT
from torchhebb.readouts.base import predict_logits
from torchhebb.readouts.labels import WinCounts
from torchhebb.runs.networks import built_for_backpropagation
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Measure, Readout
from torchhebb.train.accuracy import model_accuracy
from torchhebb.train.device import synchronize
from torchhebb.train.recipe import shortened

LearnerName = Literal["own", "backpropagation"]
Order = Literal["batches", "one_by_one", "by_class"]
LEARNERS: tuple[LearnerName, ...] = get_args(LearnerName)
WORDS = {
    "own linear": "without feedback, readout fitted again",
    "own labels": "without feedback, neuron labels",
    "backpropagation linear": "backpropagation, readout fitted again",
    "backpropagation head": "backpropagation, its own head",
}
"""The words for a network and its readout in figures."""


@dataclass(frozen=True)
class Showing:
    """A network, the order of its samples, and the factor of its learning rates."""

    learner: LearnerName
    order: Order
    factor: float


@dataclass(frozen=True)
class Online(Study[Showing]):
    """Learning from one sample at a time: time of an update, accuracy, and forgetting when classes arrive in turn.

    The network of the recipe, and the same blocks by backpropagation, are trained from the start on a part of the
    training images, in one pass with constant rates.  The samples come in three orders: in `batches` of the recipe's
    sizes, `one_by_one`, and `by_class`, where single samples are sorted by class.  After each class of that stream,
    these readouts are tested on the test images of the classes so far, among these classes:

        linear    a readout fitted again to the features of all samples so far
        labels    the class for which each neuron has won most often, counted while the samples arrive
        head      the last layer of backpropagation

    Accuracy falls with more classes even without forgetting.  Compare it with `one_by_one`, which uses the same samples
    in random order.  Measures:

        <learner>_update_median, _update_95th_percentile             time of an update in ms, the networks in turns;
                                                                     backpropagation uses SGD.  Timed at every call
        <learner>_<readout>_batches_accuracy, _one_by_one_accuracy   in %
        <learner>_<readout>_by_class_accuracy                        mean over classes after the last one, in %
        <learner>_<readout>_by_class_forgetting                      loss since the best stage, mean over classes

    Curves against the number of classes that have arrived: `classes_so_far <learner> <readout>`, mean accuracy in % on
    all of them, and `first_classes ...`, mean accuracy on the first ones, among all that have arrived.
    Raises UserError for settings out of range or a network that cannot learn from one sample.
    Source: SoftHebb-2022, learning online; Chaudhry et al. 2018 for forgetting.

    Example:
        >>> Online(samples=1000).question
        'online'
    """

    question: ClassVar[str] = "online"
    quantities: ClassVar[dict[str, Quantity]] = {
        "accuracy": Quantity("test accuracy, %", "%", count_test_images),
        "by_class_accuracy": Quantity("mean accuracy over classes, %", "%"),
        "by_class_forgetting": Quantity("loss since the best stage", "points"),
        "update": Quantity("time of an update, ms", "ms"),
    }

    samples: int = field(default=10_000, metadata=at_least(1))
    """Number of training images, drawn by the seed."""
    rate: float = field(default=1.0, metadata=above(0) | NOT_IN_CELLS)
    """Factor of the plastic layers' learning rates for single samples."""
    backpropagation_rate: float = field(default=1.0, metadata=above(0) | NOT_IN_CELLS)
    """Factor of backpropagation's learning rate for single samples."""
    readout_epochs: int | None = field(default=10, metadata=at_least(1))
    """Epochs of the linear readouts; their other settings are the recipe's.  None takes the recipe's."""
    first_classes: int = field(default=2, metadata=at_least(1) | NOT_IN_CELLS)
    """Number of the first classes whose accuracy is measured up to the end."""
    updates: int = field(default=500, metadata=at_least(1) | NOT_IN_CELLS)
    """Number of updates that are timed."""
    warmup: int = field(default=50, metadata=at_least(0) | NOT_IN_CELLS)
    """Number of updates before the timed ones."""

    def check(self, run: Run) -> None:
        classes = len(run.data.classes)
        if self.samples < classes:
            raise UserError(f"samples must be at least {classes}, got {self.samples}")
        if not 1 <= self.first_classes <= classes:
            raise UserError(f"first_classes must be from 1 to {classes}, got {self.first_classes}")
        for block in run.recipe.architecture.blocks:
            if not block.learns_from_single_samples:
                raise UserError(
                    f"{run.recipe.name} cannot learn from one sample at a time: "
                    "it has a local loss, or batch norm before a fully connected layer"
                )
        with torch.device("meta"):
            modules = run.recipe.architecture.build().train().modules()
        if any(needs_data(module) for module in modules):
            raise UserError(
                f"{run.recipe.name} takes whitening or first weights from its images: it cannot begin with one"
            )

    def variants(self, run: Run) -> dict[str, Showing]:
        rates: dict[LearnerName, float] = {"own": self.rate, "backpropagation": self.backpropagation_rate}
        orders: tuple[Order, ...] = get_args(Order)
        return {
            f"{order} {name}": Showing(name, order, 1.0 if order == "batches" else rates[name])
            for order in orders
            for name in LEARNERS
        }

    def cell(self, run: Run, variant: Showing, seed: int) -> Cell:
        """The accuracy in % of each readout after one pass; `Rows` of accuracies if classes arrive in turn."""
        learner, images = self._learner(run, seed, variant), self._images(run, seed)
        if variant.order == "by_class":
            return self._stream(run, seed, learner, images)
        plan = run.recipe.learning if variant.learner == "own" else run.recipe.supervised
        size = plan.batch_size if variant.order == "batches" else 1
        batches = Batches(images.images, size, labels=images.labels, seed=seed, device=run.device)
        task = f"seed {seed}: {variant.learner} {variant.order.replace('_', ' ')}"
        run.progress.start(task, len(images), "images")
        for x, labels in batches.epoch(0):
            learner.step(x, labels)
            run.progress.advance(len(x))
        run.progress.finish()
        with at_rest(learner.model):
            test, classes = run.data.test, len(run.data.classes)
            found = read_out(learner.network, images, test, classes, self._plan(run), run=run, seed=seed)
            if learner.head is not None:
                del found["labels"]
                found["head"] = model_accuracy(learner.model, test)
        return found

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        yield from self._latency(run)
        panels, shuffled = dict[str, dict[str, Curve]](), dict[str, tuple[float, float]]()
        for variant, of_seeds in zip(self.variants(run).values(), cells.values(), strict=True):
            for readout in of_seeds[0]:
                who, numbers = f"{variant.learner} {readout}", values(of_seeds, readout)
                name = f"{variant.learner}_{readout}_{variant.order}"
                if variant.order != "by_class":
                    measure = self.measure(run, f"{name}_accuracy", numbers, "accuracy")
                    shuffled[WORDS[who]] = len(run.data.classes), measure.mean  # `one_by_one` comes after `batches`
                    yield measure
                    continue
                matrices = [as_matrix(rows).float() for rows in numbers]
                kept, lost = (list(map(of, matrices)) for of in (average_accuracy, forgetting))
                yield self.measure(run, f"{name}_accuracy", kept, "by_class_accuracy")
                yield self.measure(run, f"{name}_forgetting", lost, "by_class_forgetting")
                for quantity, start in (("classes_so_far", 1), ("first_classes", self.first_classes)):
                    curve = _against_stages(f"{quantity} {who}", matrices, start)
                    panels.setdefault(curve.y_label, {})[WORDS[who]] = curve
                    yield curve
        (so_far, followed), (first, at_first) = panels.items()
        caption = "Test accuracy while classes arrive in turn; a star is the same samples in random order."
        drawn = [Panel(so_far, followed, stars=shuffled), Panel(first, at_first)]
        yield Figure("classes", caption, draw_panels(drawn, share_y=True))

    def _latency(self, run: Run) -> Iterator[Measure]:
        times = [self._times(run, seed) for seed in run.seeds]
        for name in LEARNERS:
            for words, share in (("median", 0.5), ("95th_percentile", 0.95)):
                found = [of_seed[name].quantile(share).item() for of_seed in times]
                yield self.measure(run, f"{name}_update_{words}", found, "update")

    def _times(self, run: Run, seed: int) -> dict[str, Tensor]:
        """The time of every update in ms after the warm-up; the networks take turns at every sample."""
        learners = {name: self._learner(run, seed, Showing(name, "one_by_one", 1.0), sgd=True) for name in LEARNERS}
        images, count = run.data.train, self.warmup + self.updates
        batches = Batches(images.images, 1, labels=images.labels, seed=seed, device=run.device)
        samples = (sample for epoch in itertools.count() for sample in batches.epoch(epoch))
        found: dict[str, list[float]] = {name: [] for name in learners}
        run.progress.start(f"seed {seed}: timing", count, "updates")
        for x, labels in itertools.islice(samples, count):
            for name, learner in learners.items():
                synchronize(run.device)
                started = time.perf_counter()
                learner.step(x, labels)
                synchronize(run.device)
                found[name].append(1000 * (time.perf_counter() - started))
            run.progress.advance(1)
        run.progress.finish()
        return {name: torch.tensor(times[self.warmup :], dtype=torch.float64) for name, times in found.items()}

    def _stream(self, run: Run, seed: int, learner: OnlineLearner, images: Images) -> dict[str, Rows]:
        """Accuracies in % on the classes so far, after each class of the stream."""
        test = run.data.test
        classes, device, seen = len(run.data.classes), run.device, Images(images.images[:0], images.labels[:0])
        quiet = replace(run, progress=SILENT)
        with at_rest(learner.model):
            shape = feature_shape(learner.network, test, run)
        counts, rows = WinCounts(shape[0], classes, device), dict[str, Rows]()
        run.progress.start(f"seed {seed}: classes in turn", len(images), "images")
        for stage in range(classes):
            arriving = images.select((images.labels == stage).nonzero().flatten())
            for x, labels in Batches(arriving.images, 1, labels=arriving.labels, seed=seed, device=device).epoch(0):
                y = learner.step(x, labels)
                if learner.head is None:
                    counts.add(y, labels)
                run.progress.advance(1)
            seen = join([seen, arriving])
            with at_rest(learner.model):
                features, tested = features_of(learner.network, quiet, seen, test)
            linear = self._plan(run).fit(features, seen.labels, classes, seed=seed).readout
            logits = {"linear": predict_logits(linear, tested)}
            if learner.head is None:
                logits["labels"] = predict_logits(counts.readout(), tested.unflatten(1, shape))
            else:
                logits["head"] = predict_logits(learner.head, tested)
            for readout, answers in logits.items():
                rows.setdefault(readout, []).append(_row(answers[:, : stage + 1].cpu(), test.labels, classes))
        run.progress.finish()
        return rows

    def _learner(self, run: Run, seed: int, showing: Showing, *, sgd: bool = False) -> OnlineLearner:
        architecture, recipe = run.recipe.architecture, run.recipe
        if showing.learner == "own":
            return OnlineHebbian(
                architecture.build(seed).to(run.device), recipe.learning, run.precision, showing.factor
            )
        model = built_for_backpropagation(run, seed)
        return OnlineBackpropagation(model, recipe.supervised, run.precision, showing.factor, sgd=sgd)

    def _images(self, run: Run, seed: int) -> Images:
        """The samples, with every class in proportion."""
        train = run.data.train
        if self.samples > len(train) - len(run.data.classes):
            return train
        return run.data.holdout(self.samples, seed).test

    def _plan(self, run: Run) -> Readout:
        plan = run.recipe.readout
        if not isinstance(plan, Readout):
            raise UserError(f"{run.recipe.name} has a readout in closed form, which does not learn sample by sample")
        return shortened(plan, self.readout_epochs)


def _row(logits: Tensor, labels: Tensor, classes: int) -> Row:
    """Accuracy in % on every class that has logits, None for the others."""
    right, known = logits.argmax(1) == labels, logits.shape[1]
    accuracies = [percent(right[labels == name]) for name in range(known)]
    return [*accuracies, *[None] * (classes - known)]


def _against_stages(name: str, matrices: Sequence[Tensor], start: int) -> Curve:
    """The mean over the classes so far after every stage, or over the first `start` classes from that stage on."""
    stages = range(start, len(matrices[0]) + 1)
    first = name.startswith("first")
    lines = [[matrix[s - 1, : start if first else s].mean().item() for s in stages] for matrix in matrices]
    label = f"accuracy on the first {start} classes, %" if first else "accuracy on the classes so far, %"
    return mean_curve(name, "classes that have arrived", label, list(stages), lines)
