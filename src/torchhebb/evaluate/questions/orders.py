"""Test accuracy and time of learning when blocks learn jointly, greedily or in a pipeline."""

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, islice
from typing import ClassVar, Literal

from torchhebb.bounds import at_least, distinct
from torchhebb.data import Data, batches_of
from torchhebb.data.images import stratified_split
from torchhebb.evaluate.evaluator import Figure, Finding, Note
from torchhebb.evaluate.figures.intervals import draw_intervals
from torchhebb.evaluate.figures.panels import Panel
from torchhebb.evaluate.study import NOT_IN_CELLS, Cell, Quantity, Study, count_test_images, values
from torchhebb.runs.run import Run
from torchhebb.train import Curve
from torchhebb.train.calibrate import init_from_images
from torchhebb.train.device import autocast, synchronize
from torchhebb.train.features import fingerprint
from torchhebb.train.learn import make_optimizer
from torchhebb.train.pipeline import Microbatch, Pipeline
from torchhebb.train.subset import subset_images
from torchhebb.train.trial import fresh_network, judge, learn_from

OrderName = Literal["joint", "greedy", "pipeline"]
ORDERS: dict[OrderName, str] = {
    "joint": "all at once",
    "greedy": "block after block",
    "pipeline": "pipeline",
}
TIMES = "times"
"""The variant that measures times."""


@dataclass(frozen=True)
class Orders(Study[OrderName | None]):
    """Test accuracy and time of learning when blocks learn jointly, greedily or in a pipeline, from the same seeds.

    joint: all blocks learn in the same pass, each from the outputs of the blocks below before their steps.  greedy: one
    pass per block, from the outputs of the trained blocks below.  pipeline: as joint, with every block one batch behind
    the block below.

    Measures `<order>_test_accuracy` in %, with the 95 % interval over test images, `<order>_seconds` of learning in one
    process, and `block<N>_milliseconds`, the median time in which a block learns from a batch, one value per seed.
    Curves `chain_joint` and `chain_pipeline`: the longest chain of work per batch in ms against the number of blocks.
    It is the sum over blocks, or the slowest block: the time per batch if each block had a device of its own, without
    transfers.  The note `equals_joint` tells for every other order and seed whether the weights are bit-equal to joint.
    Raises UserError for an order that is not known, or settings out of range.

    Example:
        >>> Orders(orders=("joint", "greedy")).question
        'orders'
    """

    question: ClassVar[str] = "orders"
    quantities: ClassVar[dict[str, Quantity]] = {
        "test_accuracy": Quantity("test accuracy, %", "%", count_test_images),
        "seconds": Quantity("seconds of learning", "s"),
        "milliseconds": Quantity("milliseconds a batch", "ms"),
    }

    orders: tuple[OrderName, ...] = field(default=("joint", "greedy", "pipeline"), metadata=distinct() | NOT_IN_CELLS)
    """Orders of learning to compare."""
    images: int | None = field(default=None, metadata=at_least(1))
    """Number of training images for learning and readout, with every class in proportion; None takes all."""
    timed_batches: int = field(default=30, metadata=at_least(1))
    """Number of batches behind the median time of a block, after a warm-up."""

    def variants(self, run: Run) -> dict[str, OrderName | None]:
        return {order: order for order in self.orders} | {TIMES: None}

    def cell(self, run: Run, variant: OrderName | None, seed: int) -> Cell:
        """Accuracy, time and a hash of the weights for an order; for None, the times of all blocks."""
        data = self._data(run)
        if variant is None:
            return {"milliseconds": self._time(run, seed, data)}
        network, task = fresh_network(run.recipe, seed, run.device), f"seed {seed}: {variant}"
        plan = replace(run.recipe.learning, order=variant)
        started = time.perf_counter()
        learn_from(network, data, plan, seed=seed, precision=run.precision, task=task, progress=run.progress)
        synchronize(run.device)
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
        return {"test_accuracy": accuracy, "seconds": seconds, "weights": fingerprint(network)}

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        orders = {name: of_seeds for name, of_seeds in cells.items() if name != TIMES}
        measures = {measure.name: measure for measure in self.measures(run, orders)}
        yield from measures.values()
        times = list(zip(*values(cells[TIMES], "milliseconds"), strict=True))
        for number, of_block in enumerate(times, 1):
            yield self.measure(run, f"block{number}_milliseconds", of_block, "milliseconds")
        curves = chains([statistics.fmean(of_block) for of_block in times])
        yield from curves.values()
        if "joint" in orders:
            joint = values(orders["joint"], "weights")
            weights = {name: values(of_seeds, "weights") for name, of_seeds in orders.items() if name != "joint"}
            same = {name: [a == b for a, b in zip(found, joint, strict=True)] for name, found in weights.items()}
            yield Note("equals_joint", same)
        yield Note("training_images", len(self._data(run).train))
        caption = (
            "Left: test accuracy by the order in which blocks learn, with the 95 % interval over test images. "
            "Right: the longest chain of work per batch, from the measured times of the blocks."
        )
        accuracies = {ORDERS[order]: measures[f"{order}_test_accuracy"] for order in self.orders}
        panel = Panel("longest chain, ms a batch", curves, ticks={x: f"{x:g}" for x in range(1, len(times) + 1)})
        yield Figure("orders", caption, draw_intervals(accuracies, "test accuracy, %", panel))

    def _data(self, run: Run) -> Data:
        """The run's data, limited to the training images that are learned from."""
        train = run.data.train
        if self.images is None or self.images >= len(train):
            return run.data
        return replace(run.data, train=train.select(stratified_split(train.labels, self.images, 0)[1]))

    def _time(self, run: Run, seed: int, data: Data) -> list[float]:
        """The median time in ms in which each block learns from a batch, at the start of the pass."""
        network = fresh_network(run.recipe, seed, run.device).train()
        images, plan = subset_images(data, run.recipe.learning, seed)
        batches = batches_of(
            images, plan.batch_size, seed=seed, augment=plan.augment, labelled=False, device=run.device
        )
        with autocast(run.precision, run.device):
            init_from_images(network, images, plan.samples, seed, run.device)
        pipeline = Pipeline(network, make_optimizer(network, plan), lambda step: 1.0, precision=run.precision)
        times: list[list[float]] = [[] for _ in pipeline.stages]
        warm_up = min(len(batches) - 1, 3)
        for step, batch in enumerate(islice(batches.epoch(0), warm_up + self.timed_batches)):
            x = batch
            for number, own in enumerate(times):
                synchronize(run.device)
                started = time.perf_counter()
                x = pipeline.learn(number, Microbatch(step, x))
                synchronize(run.device)
                if step >= warm_up:
                    own.append(1e3 * (time.perf_counter() - started))
        return [statistics.median(own) for own in times]


def chains(times: Sequence[float]) -> dict[str, Curve]:
    """The longest chain of work per batch by depth, in joint order and in a pipeline, by their names in figures.

    >>> [curve.y for curve in chains([2.0, 5.0, 3.0]).values()]
    [(2.0, 7.0, 10.0), (2.0, 5.0, 5.0)]
    """
    depths = tuple(range(1, len(times) + 1))
    found = {
        "all at once: all blocks": ("chain_joint", accumulate(times)),
        "pipeline: the slowest block": ("chain_pipeline", accumulate(times, max)),
    }
    label = "longest chain, ms a batch"
    return {words: Curve(name, "blocks", label, depths, tuple(y)) for words, (name, y) in found.items()}
