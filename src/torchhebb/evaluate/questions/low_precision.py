"""How many bits must a weight remember? The run's learning again, with its weights on the grid of few bits."""

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Evaluator, Figure, Finding, Note
from torchhebb.evaluate.statistics import wilson
from torchhebb.functional.quantize import Rounding, power_of_two_scale, quantize
from torchhebb.nn import Network
from torchhebb.readouts.adam import fit_linear, predict_logits
from torchhebb.readouts.base import percent_correct
from torchhebb.runs.networks import built, learn_run
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Measure
from torchhebb.train.calibrate import calibrate
from torchhebb.train.diagnostics import plastic_layers, radii
from torchhebb.train.features import stored_features

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

Method = Literal["nearest", "stochastic", "afterwards"]
METHODS: dict[Method, str] = {
    "nearest": "rounded to the nearest after every step",
    "stochastic": "rounded stochastically after every step",
    "afterwards": "rounded to the nearest after learning",
}
FLOAT_BITS = 32
SPLITS: tuple[Literal["train", "test"], ...] = ("train", "test")

Answer = dict[str, float]
"""What one network says: its accuracy in %, and mean radii by layer."""


@dataclass(frozen=True)
class LowPrecision(Evaluator):
    """Test accuracy against the bits of a weight, beside that of the run, whose weights are float32.

    Weights alone are quantised: as they are drawn and after every step, so that nothing finer is remembered; or, to
    tell what learning needs from what features need, once after learning (batch norm is then calibrated anew).
    Inputs, activities, updates, running statistics, biases and the readout stay floating point.  A level is a power
    of two that follows the weights, the smallest at which none is clipped.

    Measures `<method>_<bits>_bits_test_accuracy` in %, with the 95 % interval over test images, and the run's
    `test_accuracy`.  Curves `<method>`, and `<method> <layer> radius`: the mean radius after learning, which stays
    where it began if rounding swallows the updates; at 32 bits they are the run's.
    Raises UserError for bits outside 2 to 24 or an unknown method.
    """

    question: ClassVar[str] = "low_precision"

    bits: tuple[int, ...] = (4, 8, 16)
    """Bits of a weight, its sign among them."""
    methods: tuple[Method, ...] = ("nearest", "stochastic", "afterwards")
    """When and how weights are rounded."""
    scale: Literal["neuron", "layer"] = "neuron"
    """What shares one level: the weights of a neuron, or those of a layer."""

    def run(self, run: Run) -> Iterator[Finding]:
        self._check()
        own = [{"accuracy": a} for a in run.result.measure("test_accuracy").values]
        answers = {FLOAT_BITS: [o | _radii(run.network(seed)) for o, seed in zip(own, run.seeds, strict=True)]}
        yield _measure("test_accuracy", answers[FLOAT_BITS], run)
        curves = []
        for method in self.methods:
            for bits in sorted(set(self.bits)):
                answers[bits] = [self._answer(run, seed, method, bits) for seed in run.seeds]
                yield _measure(f"{method}_{bits}_bits_test_accuracy", answers[bits], run)
            curves.append(_curve(method, "test accuracy, %", answers, "accuracy"))
            yield curves[-1]
            for layer in list(answers[FLOAT_BITS][0])[1:]:
                yield _curve(f"{method} {layer} radius", "mean radius", answers, layer)
        yield Note("test_images", len(run.data.test))
        caption = "Test accuracy against the bits of a weight; on the right the run itself, in floating point."
        yield Figure("bits", caption, _figure(curves))

    def _check(self) -> None:
        if not self.bits or not all(2 <= bits <= 24 for bits in self.bits):
            raise UserError(f"bits must be numbers from 2 to 24, got {self.bits}")
        if not self.methods or not set(self.methods) <= METHODS.keys():
            raise UserError(f"methods must be among {', '.join(METHODS)}, got {self.methods}")
        if self.scale not in ("neuron", "layer"):
            raise UserError(f"scale must be neuron or layer, got {self.scale!r}")

    def _answer(self, run: Run, seed: int, method: Method, bits: int) -> Answer:
        task = f"seed {seed}: {method}, {bits} bits"
        key = {"question": self.question, "method": method, "bits": bits, "scale": self.scale, "seed": seed}
        key["precision"] = run.precision
        return run.once(lambda: _read_out(run, self.network(run, seed, method, bits), seed, task), **key)

    def network(self, run: Run, seed: int, method: Method, bits: int) -> Network:
        """The network of a seed with weights of so many bits, in eval mode, without a readout."""
        if method == "afterwards":
            network = run.network(seed)
            quantize_weights(network, bits, scale=self.scale)
            return calibrate(network, run.data.train, seed=seed, learned=True)
        network = built(run, seed)
        generator = torch.Generator(run.device).manual_seed(seed)
        with kept_quantized(network, bits, scale=self.scale, rounding=method, generator=generator):
            learn_run(network, run, seed, task=f"seed {seed}: {method}, {bits} bits: learning")
        return network


@torch.no_grad()
def quantize_weights(
    network: Network,
    bits: int,
    *,
    scale: Literal["neuron", "layer"] = "neuron",
    rounding: Rounding = "nearest",
    generator: torch.Generator | None = None,
) -> None:
    """Put every weight of a network on the grid of its neuron or layer, in place; biases stay as they are."""
    for weight in network.parameters():
        if weight.dim() > 1:
            level = power_of_two_scale(weight, bits, per=scale)
            weight.copy_(quantize(weight, bits, scale=level, rounding=rounding, generator=generator))


@contextmanager
def kept_quantized(network: Network, bits: int, **how: Any) -> Iterator[None]:
    """Quantise the weights now, and after every step that an optimizer takes on them while the context lasts.

    Args: how, the other arguments of `quantize_weights`.
    """
    own = {id(weight) for weight in network.parameters()}

    def round_again(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if any(id(weight) in own for group in optimizer.param_groups for weight in group["params"]):
            quantize_weights(network, bits, **how)

    quantize_weights(network, bits, **how)
    handle = register_optimizer_step_post_hook(round_again)
    try:
        yield
    finally:
        handle.remove()


def _read_out(run: Run, network: Network, seed: int, task: str) -> Answer:
    """Test accuracy of the recipe's readout on the network's features, and the mean radius of every plastic layer."""
    train, test = (
        stored_features(
            network,
            run.data,
            split,
            device=run.device,
            precision=run.precision,
            store=run.store,
            label=f"{task}: {split} features",
            progress=run.progress,
        )
        for split in SPLITS
    )
    labels, classes, plan = run.data.train.labels, len(run.data.classes), run.recipe.readout
    readout = fit_linear(train, labels, classes, plan, seed=seed, task=f"{task}: readout", progress=run.progress)
    right = percent_correct(predict_logits(readout, test).cpu(), run.data.test.labels)
    return {"accuracy": right, **_radii(network)}


def _radii(network: Network) -> Answer:
    return {name.removesuffix(".layer"): radii(layer).mean().item() for name, layer in plastic_layers(network).items()}


def _measure(name: str, answers: list[Answer], run: Run) -> Measure:
    values = tuple(answer["accuracy"] for answer in answers)
    return Measure(name, "%", values, run.recipe.published_for(name), wilson(values, len(run.data.test)))


def _curve(name: str, label: str, answers: dict[int, list[Answer]], quantity: str) -> Curve:
    bits = sorted(answers)
    values = [[answer[quantity] for answer in answers[number]] for number in bits]
    std = tuple(map(statistics.stdev, values)) if len(values[0]) > 1 else None
    return Curve(name, "bits of a weight", label, tuple(map(float, bits)), tuple(map(statistics.fmean, values)), std)


def _figure(curves: list[Curve]) -> "Canvas":
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(4.8, 3.2), layout="constrained")
    axes = canvas.subplots()
    for curve in curves:
        axes.errorbar(curve.x, curve.y, curve.std, marker="o", capsize=3, label=METHODS[curve.name])  # type: ignore[index]
    axes.set_xscale("log", base=2)
    axes.set_xticks(curves[0].x, [f"{bits:g}" for bits in curves[0].x[:-1]] + ["float32"])
    axes.minorticks_off()
    axes.set_xlabel(curves[0].x_label)
    axes.set_ylabel(curves[0].y_label)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8)
    return canvas
