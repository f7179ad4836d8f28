"""Accuracy against the number of neurons, learned and random, with the published networks of patches."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchhebb.evaluate.methods.literature import PATCH_NETWORKS
from torchhebb.evaluate.questions.width import in_words
from torchhebb.recipes.patches import CHANGES, LEARNERS
from torchhebb.train import Measure, Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAME = re.compile(r"(?P<variant>\w+?)_(?P<neurons>\d+)_neurons_(?P<kernel>linear|exponential)_test_accuracy")
_VARIANTS = {
    learner if change == "none" else f"{learner}_{change}": (learner, change)
    for learner in LEARNERS
    for change in CHANGES
}
_COLOURS = {"random": "#505050", "soft": "#0072B2", "hard": "#D55E00", "soft_pool_9": "#009E73"}


@dataclass(frozen=True)
class WidthPoint:
    """The test accuracy at one width."""

    variant: str
    """How the neurons come about, and what is changed, as in the names of measures."""
    kernel: str
    neurons: int
    measure: Measure


def width_points(results: Sequence[Result], data: str = "cifar10") -> list[WidthPoint]:
    """The test accuracies of `evaluate width` on a data set, by width; of several results for one, that of most seeds.

    >>> accuracy = Measure("soft_2048_neurons_linear_test_accuracy", "%", (82.5,))
    >>> result = Result("mine", "width", (accuracy,), (0,), 1.0, "cpu, 1 threads", "", {"name": "cifar10"})
    >>> [(point.variant, point.kernel, point.neurons) for point in width_points([result])]
    [('soft', 'linear', 2048)]
    """
    found: dict[tuple[str, str, int], WidthPoint] = {}
    for result in results:
        if result.question != "width" or result.data["name"] != data:
            continue
        for measure in result.measures:
            match = _NAME.fullmatch(measure.name)
            if match is None or match["variant"] not in _VARIANTS:
                continue
            key = match["variant"], match["kernel"], int(match["neurons"])
            if key not in found or len(measure.values) > len(found[key].measure.values):
                found[key] = WidthPoint(*key, measure)
    return sorted(found.values(), key=lambda point: point.neurons)


def width_figure(points: Sequence[WidthPoint]) -> "Figure":
    """A line for each variant and kernel, with 95 % intervals over the test images; published numbers dashed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.subplots()
    for (name, curve), marker in zip(PATCH_NETWORKS.items(), "s^", strict=True):
        axes.plot(list(curve), list(curve.values()), f"{marker}--", color="#A0A0A0", markersize=4, label=name)
    for variant, kernel in dict.fromkeys((point.variant, point.kernel) for point in points):
        line = [point for point in points if (point.variant, point.kernel) == (variant, kernel)]
        means = [point.measure.mean for point in line]
        intervals = [point.measure.interval or (point.measure.mean,) * 2 for point in line]
        bars = [[mean - low, high - mean] for mean, (low, high) in zip(means, intervals, strict=True)]
        axes.errorbar(
            [point.neurons for point in line],
            means,
            yerr=list(zip(*bars, strict=True)),
            fmt="o-" if kernel == "exponential" else "o:",
            color=_COLOURS.get(variant, "#CC79A7"),
            markersize=5,
            capsize=2,
            label=f"{in_words(*_VARIANTS[variant])}, {kernel} ridge",
        )
    axes.set_xscale("log", base=2)
    axes.set_xlabel("neurons or patches")
    axes.set_ylabel("test accuracy on CIFAR-10, %")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
