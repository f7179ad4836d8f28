"""What does learning from one sample at a time cost, and what is kept of classes that arrive one after another?"""

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchhebb.data import Batches, Images
from torchhebb.data.tasks import join
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Evaluator, Figure, Finding
from torchhebb.evaluate.methods.continual import average_accuracy, forgetting
from torchhebb.evaluate.methods.watch import at_rest
from torchhebb.evaluate.probe import read_out
from torchhebb.evaluate.statistics import mean_curve, wilson
from torchhebb.nn import Network, NeuronLabels, learn
from torchhebb.readouts.adam import fit_linear, predict_logits
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Measure, Readout
from torchhebb.train.device import autocast
from torchhebb.train.features import extract_features
from torchhebb.train.learn import make_optimizer
from torchhebb.train.recipe import shortened
from torchhebb.train.supervised import backpropagation_model, supervised_accuracy

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

LearnerName = Literal["own", "backpropagation"]
Way = Literal["batches", "one_by_one", "by_class"]
LEARNERS: tuple[LearnerName, ...] = ("own", "backpropagation")
ORDERS: tuple[Way, ...] = ("batches", "one_by_one")  # of samples in random order
WORDS = {
    "own linear": "without feedback, readout fitted again",
    "own labels": "without feedback, neuron labels",
    "backpropagation linear": "backpropagation, readout fitted again",
    "backpropagation head": "backpropagation, its own head",
}
"""What is read from whom, in the words of figures."""

Rows = list[list[float | None]]
"""Accuracy in % after every stage on every class, None for one that has not arrived."""


@dataclass(frozen=True)
class Online(Evaluator):
    """One sample at a time: how long an update takes, what it learns, what stays while classes arrive in turn.

    The network of the recipe and the same blocks by backpropagation begin anew and see a part of the training images
    once, with constant rates, in three ways: `batches` of the recipe's sizes, `one_by_one`, and `by_class`, where the
    samples of the second come sorted, all of the first class, then all of the next.  After every class of that stream

        linear    a readout fitted again to the features of all samples so far: what features still tell
        labels    the class for which each neuron has won most often, as counted when the samples passed by
        head      backpropagation's own last layer

    answer the test images of the classes so far, among these classes.  The more there are, the harder the question:
    a part of every fall is no forgetting, so `one_by_one`, the same samples in random order, stands beside the end.

    Measures:

        <learner>_update_median, _update_95th_percentile             ms, the two learners taking turns; by SGD in
                                                                     backpropagation.  Measured anew at every call
        <learner>_<readout>_batches_accuracy, _one_by_one_accuracy   in %
        <learner>_<readout>_by_class_accuracy                        the mean over classes in the end, in %
        <learner>_<readout>_by_class_forgetting                      the loss since the best stage, mean over classes

    Curves against the classes that have arrived: `classes_so_far <learner> <readout>`, mean accuracy in % on all of
    them, and `first_classes ...`, on the first ones, among all.
    Raises UserError for settings out of range or a network that cannot learn from one sample.
    Source: SoftHebb-2022, learning online; Chaudhry et al. 2018 for forgetting.
    """

    question: ClassVar[str] = "online"

    samples: int = 10_000
    """How many training images, drawn by the seed."""
    rate: float = 1.0
    """Factor of the plastic layers' rates where samples come one by one."""
    backpropagation_rate: float = 1.0
    """Factor of backpropagation's rate there."""
    readout_epochs: int | None = 10
    """Epochs of the linear readouts, which are the recipe's in all else; None is the recipe's as well."""
    first_classes: int = 2
    """How many of the first classes are followed to the end."""
    updates: int = 500
    """How many updates are timed."""
    warmup: int = 50
    """How many updates precede them."""

    def run(self, run: Run) -> Iterator[Finding]:
        self._check(run)
        yield from self._latency(run)
        aims: dict[str, float] = {}
        for way in ORDERS:
            for name in LEARNERS:
                found = [self._once(run, seed, name, way) for seed in run.seeds]
                for readout in found[0]:
                    values = tuple(accuracies[readout] for accuracies in found)
                    interval = wilson(values, len(run.data.test))
                    measure = Measure(f"{name}_{readout}_{way}_accuracy", "%", values, None, interval)
                    aims[f"{name} {readout}"] = measure.mean
                    yield measure
        curves: dict[str, Curve] = {}
        for name in LEARNERS:
            streams = [self._once(run, seed, name, "by_class") for seed in run.seeds]
            for readout in streams[0]:
                matrices = [_matrix(rows[readout]) for rows in streams]
                yield Measure(f"{name}_{readout}_by_class_accuracy", "%", tuple(map(average_accuracy, matrices)))
                yield Measure(f"{name}_{readout}_by_class_forgetting", "points", tuple(map(forgetting, matrices)))
                for quantity, start in (("classes_so_far", 1), ("first_classes", self.first_classes)):
                    curve = _against_stages(f"{quantity} {name} {readout}", matrices, start)
                    curves[curve.name] = curve
                    yield curve
        caption = "Test accuracy while classes arrive in turn; a star is the same samples in random order."
        yield Figure("classes", caption, _figure(curves, aims))

    def _check(self, run: Run) -> None:
        classes = len(run.data.classes)
        for setting, least in (("samples", classes), ("updates", 1), ("warmup", 0), ("readout_epochs", 1)):
            value = getattr(self, setting)
            if value is not None and value < least:
                raise UserError(f"{setting} must be at least {least}, got {value}")
        for setting in ("rate", "backpropagation_rate"):
            if not getattr(self, setting) > 0:
                raise UserError(f"{setting} must be above 0, got {getattr(self, setting)}")
        if not 1 <= self.first_classes <= classes:
            raise UserError(f"first_classes must be from 1 to {classes}, got {self.first_classes}")
        for block in run.recipe.architecture.blocks:
            if not block.learns_from_single_samples:
                raise UserError(
                    f"{run.recipe.name} cannot learn from one sample at a time: "
                    "it has a local loss, or batch norm before a fully connected layer"
                )

    def _latency(self, run: Run) -> Iterator[Measure]:
        medians: dict[LearnerName, list[tuple[float, float]]] = {name: [] for name in LEARNERS}
        for seed in run.seeds:
            times = self._times(run, seed)
            for name in LEARNERS:
                median, late = times[name].quantile(torch.tensor([0.5, 0.95], dtype=torch.float64)).tolist()
                medians[name].append((median, late))
        for name, values in medians.items():
            yield Measure(f"{name}_update_median", "ms", tuple(median for median, _ in values))
            yield Measure(f"{name}_update_95th_percentile", "ms", tuple(late for _, late in values))

    def _times(self, run: Run, seed: int) -> dict[str, Tensor]:
        """The time of every update in ms, after the warm-up; the learners take turns sample by sample."""
        learners: dict[str, Learner] = {"own": Plastic(run, seed), "backpropagation": Gradient(run, seed, sgd=True)}
        images, count = run.data.train, self.warmup + self.updates
        batches = Batches(images.images, 1, labels=images.labels, seed=seed, device=run.device)
        samples = (sample for epoch in itertools.count() for sample in batches.epoch(epoch))
        found: dict[str, list[float]] = {name: [] for name in learners}
        run.progress.start(f"seed {seed}: timing", count, "updates")
        for x, labels in itertools.islice(samples, count):
            for name, learner in learners.items():
                _synchronize(run.device)
                started = time.perf_counter()
                learner.step(x, labels)
                _synchronize(run.device)
                found[name].append(1000 * (time.perf_counter() - started))
            run.progress.advance(1)
        run.progress.finish()
        return {name: torch.tensor(times[self.warmup :], dtype=torch.float64) for name, times in found.items()}

    def _once(self, run: Run, seed: int, name: LearnerName, way: Way) -> Any:
        work = self._stream if way == "by_class" else self._pass
        return run.once(
            lambda: work(run, seed, name, way),
            question=self.question,
            seed=seed,
            learner=name,
            way=way,
            samples=self.samples,
            rate=None if way == "batches" else self.rate if name == "own" else self.backpropagation_rate,
            readout_epochs=self.readout_epochs,
            precision=run.precision,
        )

    def _pass(self, run: Run, seed: int, name: LearnerName, way: Way) -> dict[str, float]:
        """Accuracies in % after one pass over the samples in random order."""
        learner, images = self._learner(run, seed, name, way), self._images(run, seed)
        plan = run.recipe.learning if name == "own" else run.recipe.supervised
        size = plan.batch_size if way == "batches" else 1
        batches = Batches(images.images, size, labels=images.labels, seed=seed, device=run.device)
        run.progress.start(f"seed {seed}: {name} {way.replace('_', ' ')}", len(images), "images")
        for x, labels in batches.epoch(0):
            learner.step(x, labels)
            run.progress.advance(len(x))
        run.progress.finish()
        with at_rest(learner.model):
            found = read_out(
                learner.network, images, run.data.test, len(run.data.classes), self._plan(run), run=run, seed=seed
            )
            if learner.head is not None:
                del found["labels"]
                found["head"] = supervised_accuracy(learner.model, run.data.test)
        return found

    def _stream(self, run: Run, seed: int, name: LearnerName, way: Way) -> dict[str, Rows]:
        """Accuracies in % on the classes so far, after each of them has passed by once."""
        learner, images, test = self._learner(run, seed, name, way), self._images(run, seed), run.data.test
        classes, device, seen = len(run.data.classes), run.device, Images(images.images[:0], images.labels[:0])
        with at_rest(learner.model):
            shape = learner.network(test.images[:1].to(device) / 255.0).shape[1:]
        votes, rows = Votes(shape[0], classes, device), dict[str, Rows]()
        run.progress.start(f"seed {seed}: {name}, classes in turn", len(images), "images")
        for stage in range(classes):
            arriving = images.select((images.labels == stage).nonzero().flatten())
            for x, labels in Batches(arriving.images, 1, labels=arriving.labels, seed=seed, device=device).epoch(0):
                y = learner.step(x, labels)
                if learner.head is None:
                    votes.count(y, labels)
                run.progress.advance(1)
            seen = join([seen, arriving])
            with at_rest(learner.model), autocast(run.precision, device):
                features, tested = (extract_features(learner.network, part, device=device) for part in (seen, test))
            linear = fit_linear(features, seen.labels, classes, self._plan(run), seed=seed)
            logits = {"linear": predict_logits(linear, tested)}
            if learner.head is None:
                logits["labels"] = predict_logits(votes.readout(), tested.unflatten(1, shape))
            else:
                logits["head"] = predict_logits(learner.head, tested)
            for readout, answers in logits.items():
                rows.setdefault(readout, []).append(_row(answers[:, : stage + 1].cpu(), test.labels, classes))
        run.progress.finish()
        return rows

    def _learner(self, run: Run, seed: int, name: LearnerName, way: Way) -> "Learner":
        factor = 1.0 if way == "batches" else self.rate if name == "own" else self.backpropagation_rate
        return Plastic(run, seed, factor) if name == "own" else Gradient(run, seed, factor)

    def _images(self, run: Run, seed: int) -> Images:
        """The samples, of which every class has its share."""
        train = run.data.train
        if self.samples > len(train) - len(run.data.classes):
            return train
        return run.data.holdout(self.samples, seed).test

    def _plan(self, run: Run) -> Readout:
        plan = run.recipe.readout
        if self.readout_epochs is not None:
            return shortened(plan, self.readout_epochs)
        if not isinstance(plan, Readout):
            raise UserError(f"{run.recipe.name} reads out in closed form, not sample by sample")
        return plan


class Learner(ABC):
    """Learns batch after batch as they come, at a constant rate; `model` is everything that learning changes."""

    model: nn.Module
    network: Network
    head: nn.Module | None

    @abstractmethod
    def step(self, x: Tensor, labels: Tensor) -> Tensor:
        """Learn from x (B, C, H, W) and labels (B,); returns what the model made of x before that."""


class Plastic(Learner):
    """The layers without feedback, which read no label."""

    def __init__(self, run: Run, seed: int, factor: float = 1.0) -> None:
        self.model = self.network = run.recipe.architecture.build(seed).to(run.device)
        self.head, self.run = None, run
        self.optimizer = make_optimizer(self.network, run.recipe.learning)
        for group in self.optimizer.param_groups:
            group["lr"] *= factor

    def step(self, x: Tensor, labels: Tensor) -> Tensor:
        with autocast(self.run.precision, self.run.device):
            y = learn(self.network, x)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return y


class Gradient(Learner):
    """The same blocks and a linear layer, end to end with labels: AdamW, or plain SGD where updates are timed."""

    def __init__(self, run: Run, seed: int, factor: float = 1.0, *, sgd: bool = False) -> None:
        plan, self.run = run.recipe.supervised, run
        self.model = backpropagation_model(run.recipe.architecture, len(run.data.classes), seed).to(run.device)
        network, self.head = self.model[0], self.model[-1]
        assert isinstance(network, Network)
        self.network = network
        parameters, lr = [p for p in self.model.parameters() if p.requires_grad], plan.lr * factor
        self.optimizer: torch.optim.Optimizer = (
            torch.optim.SGD(parameters, lr)
            if sgd
            else torch.optim.AdamW(parameters, lr, weight_decay=plan.weight_decay)
        )

    def step(self, x: Tensor, labels: Tensor) -> Tensor:
        with autocast(self.run.precision, self.run.device):
            logits = self.model(x)
        F.cross_entropy(logits.float(), labels).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return logits.detach()


class Votes:
    """For which class each neuron wins, counted while samples pass by; none of them is looked at again.

    A neuron stands for the class for which it has won most often; after a tie, and where it never won, for the class
    with its largest summed activity.
    """

    def __init__(self, neurons: int, classes: int, device: torch.device) -> None:
        self.wins = torch.zeros(classes, neurons, dtype=torch.float64, device=device)
        self.activity = torch.zeros_like(self.wins)

    def count(self, y: Tensor, labels: Tensor) -> None:
        """Take y (B, neurons, positions...), averaged over positions, and labels (B,) into account."""
        y = (y.flatten(2).mean(2) if y.dim() > 2 else y).double()
        self.activity.index_add_(0, labels, y)
        self.wins.index_put_((labels, y.argmax(1)), torch.ones_like(y[:, 0]), accumulate=True)

    def readout(self) -> NeuronLabels:
        """The labels as they stand."""
        classes, neurons = self.wins.shape
        readout = NeuronLabels(neurons, classes).to(self.wins.device)
        readout.labels.copy_(self.activity.masked_fill(self.wins < self.wins.amax(0), -torch.inf).argmax(0))
        return readout.eval()


def _row(logits: Tensor, labels: Tensor, classes: int) -> list[float | None]:
    """Accuracy in % on every class that the logits know, None for the others."""
    right, known = logits.argmax(1) == labels, logits.shape[1]
    accuracies = [100 * right[labels == name].double().mean().item() for name in range(known)]
    return [*accuracies, *[None] * (classes - known)]


def _matrix(rows: Rows) -> Tensor:
    """(stages, classes) in %, NaN for a class that has not arrived."""
    return torch.tensor([[torch.nan if value is None else value for value in row] for row in rows])


def _against_stages(name: str, matrices: Sequence[Tensor], start: int) -> Curve:
    """The mean over classes so far after every stage, or over the first `start` of them from their stage on."""
    stages = range(start, len(matrices[0]) + 1)
    first = name.startswith("first")
    lines = [[matrix[s - 1, : start if first else s].mean().item() for s in stages] for matrix in matrices]
    label = f"accuracy on the first {start} classes, %" if first else "accuracy on the classes so far, %"
    return mean_curve(name, "classes that have arrived", label, list(stages), lines)


def _figure(curves: Mapping[str, Curve], aims: Mapping[str, float]) -> "Canvas":
    """A panel for the classes so far and one for the first; a dot for the same samples in random order."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(9.2, 3.8), layout="constrained")
    for axes, quantity in zip(canvas.subplots(1, 2), ("classes_so_far", "first_classes"), strict=True):
        for number, (name, words) in enumerate(WORDS.items()):
            curve = curves[f"{quantity} {name}"]
            axes.errorbar(curve.x, curve.y, curve.std, color=f"C{number}", marker="o", markersize=3, label=words)
            if quantity == "classes_so_far":
                axes.plot(curve.x[-1], aims[name], marker="*", color=f"C{number}", markersize=10, linestyle="")
        axes.set(xlabel=curve.x_label, ylabel=curve.y_label, ylim=(-2, 102))
        axes.grid(alpha=0.25)
    handles, labels = canvas.axes[0].get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside upper left", ncols=2, frameon=False, fontsize=9)
    return canvas


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
