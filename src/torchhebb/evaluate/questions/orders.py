"""Does it matter in which order blocks learn? The learning of a run again: all at once, in turn, in a pipeline."""

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch

from torchhebb.data import Data, batches_of
from torchhebb.data.images import stratified_split
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Evaluator, Figure, Finding, Note
from torchhebb.evaluate.statistics import wilson
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Measure
from torchhebb.train.chosen import chosen_images
from torchhebb.train.device import autocast
from torchhebb.train.features import fingerprint
from torchhebb.train.learn import init_from_images, make_optimizer
from torchhebb.train.pipeline import Parcel, Pipeline
from torchhebb.train.trial import fresh_network, judge, learn_from

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

OrderName = Literal["joint", "greedy", "pipeline"]
ORDERS: dict[OrderName, str] = {
    "joint": "all at once",
    "greedy": "block after block",
    "pipeline": "pipeline",
}


@dataclass(frozen=True)
class Orders(Evaluator):
    """Test accuracy of the recipe's network and readout by the order in which its blocks learn, from the same seeds.

    joint: every block in the same pass, each on what those below give before their own step.  greedy: a pass a block,
    on what those below give once they have learned.  pipeline: as joint, every block one batch behind the one below.

    Measures `<order>_test_accuracy` in %, with the 95 % interval over test images, and `<order>_seconds` of learning
    by one process; `block<N>_milliseconds`, a value a seed, the median time in which a block learns from a batch.
    Curves of `chain_joint` and `chain_pipeline`: the longest chain of work per batch, in ms, against the number of
    blocks: all blocks, or the slowest of them; the latter is what a device a block would leave, without the time to
    hand batches over.  The note `equals_joint` says of every other order and seed whether it learned the same bits.
    Raises UserError for an order that is not known, or settings out of range.
    """

    question: ClassVar[str] = "orders"

    orders: tuple[OrderName, ...] = ("joint", "greedy", "pipeline")
    """Which orders to learn by."""
    images: int | None = None
    """Learn and read out from so many training images, every class with its share; None is all."""
    timed_batches: int = 30
    """How many batches a block's time is the median of, after some to warm up."""

    def run(self, run: Run) -> Iterator[Finding]:
        if not self.orders or not set(self.orders) <= ORDERS.keys():
            raise UserError(f"orders must be among {', '.join(ORDERS)}, got {self.orders}")
        for name in ("images", "timed_batches"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"{name} must be at least 1, got {value}")
        data = run.data
        if self.images is not None and self.images < len(data.train):
            data = replace(data, train=data.train.select(stratified_split(data.train.labels, self.images, 0)[1]))
        answers = {order: [self._answer(run, seed, order, data) for seed in run.seeds] for order in self.orders}
        measures = {}
        for order, found in answers.items():
            accuracies = tuple(answer["accuracy"] for answer in found)
            interval = wilson(accuracies, len(run.data.test))
            measures[order] = Measure(f"{order}_test_accuracy", "%", accuracies, None, interval)
            yield measures[order]
            yield Measure(f"{order}_seconds", "s", tuple(answer["seconds"] for answer in found))
        times = [self._times(run, seed, data) for seed in run.seeds]
        for number, values in enumerate(zip(*times, strict=True), 1):
            yield Measure(f"block{number}_milliseconds", "ms", values)
        curves = _chains([statistics.fmean(values) for values in zip(*times, strict=True)])
        yield from curves
        if "joint" in answers:
            same = {
                order: [a["weights"] == b["weights"] for a, b in zip(found, answers["joint"], strict=True)]
                for order, found in answers.items()
                if order != "joint"
            }
            yield Note("equals_joint", same)
        yield Note("training_images", len(data.train))
        yield Figure(
            "orders",
            "Left: test accuracy by the order in which blocks learn, with the 95 % interval over test images. "
            "Right: the longest chain of work per batch, from the measured times of the blocks.",
            _figure(measures, curves),
        )

    def _answer(self, run: Run, seed: int, order: OrderName, data: Data) -> dict[str, Any]:
        key = {"question": self.question, "order": order, "seed": seed, "images": len(data.train)}
        return run.once(lambda: self._learn(run, seed, order, data), precision=run.precision, **key)

    def _learn(self, run: Run, seed: int, order: OrderName, data: Data) -> dict[str, Any]:
        network, task = fresh_network(run.recipe, seed, run.device), f"seed {seed}: {order}"
        plan = replace(run.recipe.learning, order=order)
        started = time.perf_counter()
        learn_from(network, data, plan, seed=seed, precision=run.precision, task=task, progress=run.progress)
        _wait(run.device)
        seconds = time.perf_counter() - started
        accuracy = judge(
            network,
            data,
            run.recipe,
            seed=seed,
            device=run.device,
            precision=run.precision,
            task=f"{task}: readout",
            progress=run.progress,
        )
        return {"accuracy": accuracy, "seconds": seconds, "weights": fingerprint(network)}

    def _times(self, run: Run, seed: int, data: Data) -> list[float]:
        key = {"question": self.question, "times": self.timed_batches, "seed": seed, "images": len(data.train)}
        return run.once(lambda: self._time(run, seed, data), precision=run.precision, **key)

    def _time(self, run: Run, seed: int, data: Data) -> list[float]:
        """The median milliseconds in which each block learns from a batch, from the beginning of the pass."""
        network = fresh_network(run.recipe, seed, run.device).train()
        images, plan = chosen_images(data, run.recipe.learning, seed)
        batches = batches_of(
            images, plan.batch_size, seed=seed, augment=plan.augment, labelled=False, device=run.device
        )
        with autocast(run.precision, run.device):
            init_from_images(network, images, plan.samples, seed, run.device)
        line = Pipeline(network, make_optimizer(network, plan), lambda step: 1.0, precision=run.precision)
        times: list[list[float]] = [[] for _ in line.stages]
        warm_up = min(len(batches) - 1, 3)
        for step, batch in enumerate(islice(batches.epoch(0), warm_up + self.timed_batches)):
            x = batch
            for number, own in enumerate(times):
                _wait(run.device)
                started = time.perf_counter()
                x = line.learn(number, Parcel(step, x))
                _wait(run.device)
                if step >= warm_up:
                    own.append(1e3 * (time.perf_counter() - started))
        return [statistics.median(own) for own in times]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _chains(times: Sequence[float]) -> list[Curve]:
    """The longest chain of work per batch by depth, in joint order and in a pipeline."""
    depths = tuple(range(1, len(times) + 1))
    chains = {"chain_joint": accumulate(times), "chain_pipeline": accumulate(times, max)}
    return [Curve(name, "blocks", "longest chain, ms a batch", depths, tuple(y)) for name, y in chains.items()]


def _figure(measures: dict[OrderName, Measure], curves: Sequence[Curve]) -> "Canvas":
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(7.6, 3.2), layout="constrained")
    left, right = canvas.subplots(1, 2)
    for place, measure in enumerate(measures.values()):
        low, high = measure.interval or (measure.mean, measure.mean)
        error = [[max(0.0, measure.mean - low)], [max(0.0, high - measure.mean)]]
        left.errorbar([place], [measure.mean], error, fmt="o", color=f"C{place}", capsize=4)
        left.scatter([place + 0.12] * len(measure.values), measure.values, s=12, color=f"C{place}", alpha=0.6)
        left.annotate(f"{measure.mean:.2f}", (place, measure.mean), (-8, 0), textcoords="offset points", ha="right")
    left.set_xticks(
        range(len(measures)), [ORDERS[order].replace("block after ", "block after\n") for order in measures]
    )
    left.set_xlim(-0.6, len(measures) - 0.5)
    left.set_ylabel("test accuracy, %")
    for curve, words in zip(curves, ("all at once: all blocks", "pipeline: the slowest block"), strict=True):
        right.plot(curve.x, curve.y, marker="o", label=words)
    right.set(xlabel=curves[0].x_label, ylabel=curves[0].y_label, xticks=curves[0].x, ylim=(0, None))
    right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.grid(alpha=0.25)
    return canvas
