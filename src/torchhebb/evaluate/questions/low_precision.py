"""Test accuracy against the number of bits of a weight, with weights rounded during or after learning."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import torch

from torchhebb.bounds import bound, distinct
from torchhebb.evaluate.evaluator import Figure, Finding, Note
from torchhebb.evaluate.figures.panels import Panel, draw_panels
from torchhebb.evaluate.methods.quantized import kept_quantized, quantize_weights
from torchhebb.evaluate.methods.radii import mean_radii
from torchhebb.evaluate.study import NOT_IN_CELLS, Cell, Quantity, Study, count_test_images, curve_over, values
from torchhebb.nn import Network
from torchhebb.readouts.base import readout_accuracy
from torchhebb.runs.networks import built, frozen_features, learn_run
from torchhebb.runs.run import Run
from torchhebb.train.calibrate import calibrate

RoundingTime = Literal["nearest", "stochastic", "afterwards"]
METHODS: dict[RoundingTime, str] = {
    "nearest": "rounded to the nearest after every step",
    "stochastic": "rounded stochastically after every step",
    "afterwards": "rounded to the nearest after learning",
}
FLOAT_BITS = 32.0
SPLITS: tuple[Literal["train", "test"], ...] = ("train", "test")

_BITS = bound("numbers from 2 to 24", lambda values: len(values) > 0 and all(2 <= bits <= 24 for bits in values))


@dataclass(frozen=True)
class LowPrecision(Study[tuple[RoundingTime, int] | None]):
    """Test accuracy against the number of bits of a weight, compared with the run's float32 weights.

    Only weights are quantised.  They are rounded when they are drawn and after every step, so that no finer value is
    stored; or once after learning, which separates the precision that learning needs from that of the features (batch
    norm is then calibrated again).  Inputs, activities, updates, running statistics, biases and the readout stay in
    floating point.  The step of the grid is the smallest power of two at which no weight is clipped.

    Measures `<method>_<bits>_bits_test_accuracy` in %, with the 95 % interval over test images, and the run's
    `test_accuracy`.  Curves `<method>`, and `<method> <layer> radius`: the mean radius after learning, which does not
    change if updates are smaller than half a step.  The values at 32 bits are those of the run.
    Raises UserError for bits outside 2 to 24 or an unknown method.

    Example:
        >>> LowPrecision(bits=(4, 8), methods=("stochastic",)).question
        'low_precision'
    """

    question: ClassVar[str] = "low_precision"
    quantities: ClassVar[dict[str, Quantity]] = {
        "test_accuracy": Quantity("test accuracy, %", "%", count_test_images),
        "radius": Quantity("mean radius"),
    }

    bits: tuple[int, ...] = field(default=(4, 8, 16), metadata=_BITS | NOT_IN_CELLS)
    """Numbers of bits of a weight, with its sign."""
    methods: tuple[RoundingTime, ...] = field(
        default=("nearest", "stochastic", "afterwards"), metadata=distinct() | NOT_IN_CELLS
    )
    """When and how to round the weights."""
    scale: Literal["neuron", "layer"] = "neuron"
    """Which weights share one step of the grid: those of a neuron, or those of a layer."""

    def variants(self, run: Run) -> dict[str, tuple[RoundingTime, int] | None]:
        grid = [(method, bits) for method in self.methods for bits in sorted({*self.bits})]
        return {"": None} | {_name(*pair): pair for pair in grid}

    def cell(self, run: Run, variant: tuple[RoundingTime, int] | None, seed: int) -> Cell:
        """Test accuracy in % and the mean radius of every layer; for None, those of the run itself."""
        if variant is None:
            accuracy = run.result.measure("test_accuracy").values[list(run.seeds).index(seed)]
            return {"test_accuracy": accuracy} | mean_radii(run.network(seed))
        (method, bits), task = variant, f"seed {seed}: {variant[0]}, {variant[1]} bits"
        network = self.network(run, seed, method, bits)
        return {"test_accuracy": _accuracy(run, network, seed, task)} | mean_radii(network)

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        for prefix, of_seeds in cells.items():
            name = f"{prefix}_test_accuracy".strip("_")
            measure = self.measure(run, name, values(of_seeds, "test_accuracy"), "test_accuracy")
            yield replace(measure, published=run.recipe.published_for(name))
        bits, curves = sorted({*self.bits}), {}
        x = [*map(float, bits), FLOAT_BITS]
        for method in self.methods:
            row = [*(cells[_name(method, number)] for number in bits), cells[""]]
            for quantity in cells[""][0]:
                accuracy = quantity == "test_accuracy"
                name = method if accuracy else f"{method} {quantity.replace('_', ' ')}"
                label = self.quantities["test_accuracy" if accuracy else "radius"].label
                curve = curve_over(name, "bits of a weight", label, x, row, quantity)
                yield curve
                if accuracy:
                    curves[METHODS[method]] = curve
        yield Note("test_images", count_test_images(run))
        caption = "Test accuracy against the number of bits of a weight; rightmost, the run itself in floating point."
        ticks = {number: f"{number:g}" for number in x} | {FLOAT_BITS: "float32"}
        panel = Panel(self.quantities["test_accuracy"].label, curves, x_scale="log", ticks=ticks)
        yield Figure("bits", caption, draw_panels([panel]))

    def network(self, run: Run, seed: int, method: RoundingTime, bits: int) -> Network:
        """The network of a seed with quantised weights, in eval mode, without a readout."""
        if method == "afterwards":
            network = run.network(seed)
            quantize_weights(network, bits, scale=self.scale)
            return calibrate(network, run.data.train, seed=seed, learned=True)
        network = built(run, seed)
        generator = torch.Generator(run.device).manual_seed(seed)
        with kept_quantized(network, bits, scale=self.scale, rounding=method, generator=generator):
            learn_run(network, run, seed, task=f"seed {seed}: {method}, {bits} bits: learning")
        return network


def _accuracy(run: Run, network: Network, seed: int, task: str) -> float:
    """Test accuracy in % of the recipe's readout on a network's features."""
    train, test = (frozen_features(network, run, split, f"{task}: {split} features") for split in SPLITS)
    labels, classes, plan = run.data.train.labels, len(run.data.classes), run.recipe.readout
    readout = plan.fit(train, labels, classes, seed=seed, task=f"{task}: readout", progress=run.progress).readout
    return readout_accuracy(readout, test, run.data.test.labels)


def _name(method: RoundingTime, bits: int) -> str:
    return f"{method}_{bits}_bits"
