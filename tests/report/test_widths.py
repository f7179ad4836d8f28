"""The figure of accuracy against width: which results it takes, and that all of them are drawn."""

import pytest

from torchhebb.evaluate.methods.literature import PATCH_NETWORKS
from torchhebb.report.widths import width_figure, width_points
from torchhebb.train import Measure, Result


def result(*measures: Measure, question: str = "width", data: str = "cifar10") -> Result:
    return Result("r", question, measures, (0,), 1.0, "CPU, 1 threads", "", {"name": data}, versions={}, commit="")


def accuracy(name: str, *values: float) -> Measure:
    return Measure(f"{name}_test_accuracy", "%", values, None, (min(values) - 1, max(values) + 2))


SOFT = accuracy("soft_4096_neurons_exponential", 85.0, 86.0)
RANDOM = [accuracy("random_2048_neurons_exponential", 84.0), accuracy("random_4096_neurons_exponential", 85.0)]


def test_results_of_several_files_are_joined_and_the_most_seeds_win() -> None:
    changed = accuracy("soft_pool_9_4096_neurons_exponential", 99.0)  # another network, with a line of its own
    one = result(*RANDOM, accuracy("soft_4096_neurons_exponential", 80.0), changed)
    held_out = Measure("soft_4096_neurons_exponential_held_out_accuracy", "%", (90.0, 90.0, 90.0))
    others = [result(SOFT, held_out), result(*RANDOM, data="cifar100"), result(*RANDOM, question="accuracy")]
    points = width_points([*others, one])
    assert {(p.variant, p.kernel, p.neurons, p.measure.mean) for p in points} == {
        ("random", "exponential", 2048, 84.0),
        ("random", "exponential", 4096, 85.0),
        ("soft", "exponential", 4096, 85.5),
        ("soft_pool_9", "exponential", 4096, 99.0),
    }
    assert [p.neurons for p in points] == [2048, 4096, 4096, 4096]


def test_a_change_has_a_line_of_its_own() -> None:
    points = width_points([result(SOFT, accuracy("soft_pool_9_2048_neurons_exponential", 86.0))])
    axes = width_figure(points).axes[0]
    lines = {bars.get_label(): bars[0].get_xydata().tolist() for bars in axes.containers}
    plain = "SoftHebb without anti-Hebbian losers"
    assert lines[f"{plain}, exponential ridge"] == [[4096.0, 85.5]]
    assert lines[f"{plain}, pooled in windows of 9 x 9, exponential ridge"] == [[2048.0, 86.0]]


def test_every_point_is_drawn_with_its_interval() -> None:
    axes = width_figure(width_points([result(SOFT, *RANDOM)])).axes[0]
    labels = {text.get_text() for text in axes.get_legend().get_texts()}
    ours = {"random patches, exponential ridge", "SoftHebb without anti-Hebbian losers, exponential ridge"}
    assert labels == ours | set(PATCH_NETWORKS)
    drawn = {bars.get_label(): bars for bars in axes.containers}
    line, caps, (segments,) = drawn["SoftHebb without anti-Hebbian losers, exponential ridge"]
    assert line.get_xydata().tolist() == [[4096.0, 85.5]] and len(caps) == 2
    assert segments.get_segments()[0][:, 1].tolist() == pytest.approx([84.0, 88.0])
