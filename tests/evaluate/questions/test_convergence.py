"""Accuracy on the way: the points are those of the training itself, and images are counted on the curve."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.evaluate.by_hand import accuracies_by_hand, curve, features_by_hand, percent_right
from torchhebb.data import Batches, Images
from torchhebb.errors import UserError
from torchhebb.evaluate import Run, evaluate
from torchhebb.evaluate.questions.convergence import Convergence
from torchhebb.evaluate.statistics import first_reached
from torchhebb.nn import learn
from torchhebb.runs.baselines import baseline
from torchhebb.train import Learning, Result
from torchhebb.train.learn import learn_images, make_optimizer
from torchhebb.train.supervised import backpropagation_model, fit_supervised

QUESTION = Convergence(passes=(1, 2), samples=(100, 300, 1348, 5000), levels=(50.0, 99.9), readout_epochs=3)
IMAGES = 1348


@pytest.fixture(scope="module")
def answer(layer: Run) -> Result:
    return evaluate(QUESTION, layer)


def ask(question: Convergence, run: Run) -> dict[str, Any]:
    """What is found, by name, without writing it where the whole answer is."""
    return {finding.name: finding for finding in question.run(run)}


def read(run: Run, network: torch.nn.Module, images: Images | None = None, seed: int = 0) -> dict[str, float]:
    """Both accuracies by hand."""
    plan = replace(run.recipe.readout, epochs=QUESTION.readout_epochs)
    return accuracies_by_hand(network, images or run.data.train, run.data.test, plan, seed=seed)


def test_a_point_is_the_network_after_so_many_images(layer: Run) -> None:
    run = replace(layer, result=replace(layer.result, seeds=(0,)))
    result = ask(replace(QUESTION, baselines=("own",), passes=(2,)), run)
    line = result["2_pass own linear"]
    assert line.x == (0, 112, 304, IMAGES, 2 * IMAGES)  # whole batches of 16, nothing beyond the end
    network = run.recipe.architecture.build(0)
    optimizer = make_optimizer(network, run.recipe.learning)
    expected, seen = {0: read(run, network)}, 0
    for epoch in range(2):
        for x in Batches(run.data.train.images, 16, seed=0).epoch(epoch):
            learn(network.train(), x)
            optimizer.step()
            optimizer.zero_grad()
            seen += len(x)
            if seen in line.x:
                expected[seen] = read(run, network)
    for readout in ("linear", "labels"):
        by_hand = [expected[count][readout] for count in line.x]  # type: ignore[index]
        assert result[f"2_pass own {readout}"].y == pytest.approx(by_hand)
    assert line.y[-1] > line.y[0] + 20


def test_every_number_of_passes_is_a_training_of_its_own(answer: Result, layer: Run) -> None:
    one, two = (curve(answer, f"{passes}_pass own linear") for passes in (1, 2))
    assert one.x == (0, 112, 304, IMAGES) and two.x[-1] == 2 * IMAGES
    assert one.y == pytest.approx(two.y[:4])  # at constant rates the first pass is the same
    network = learn_images(layer.recipe.architecture.build(0), layer.data.train, Learning(batch_size=16))
    assert answer.measure("own_linear_1_pass_accuracy").values[0] == pytest.approx(read(layer, network)["linear"])


def test_backpropagation_answers_by_its_own_head(answer: Result, layer: Run) -> None:
    plan = replace(layer.recipe.supervised, epochs=2)
    model = fit_supervised(backpropagation_model(layer.recipe.architecture, 10, 1), layer.data.train, plan, seed=1)
    expected = percent_right(features_by_hand(model, layer.data.test).argmax(1), layer.data.test.labels)
    found = answer.measure("backpropagation_head_2_pass_accuracy")
    assert found.values[1] == pytest.approx(expected) and found.interval is not None
    assert curve(answer, "2_pass backpropagation head").y[-1] == pytest.approx(found.mean)
    names = {line.name for line in answer.curves}
    assert "1_pass backpropagation labels" not in names and "1_pass own head" not in names


def test_random_weights_are_a_level_line(answer: Result, layer: Run) -> None:
    line = curve(answer, "2_pass random linear")
    assert line.x == (0, 2 * IMAGES) and line.y[0] == line.y[1]
    assert answer.measure("random_linear_accuracy").values[0] == pytest.approx(
        read(layer, baseline(layer, 0, "random"))["linear"]
    )
    assert line.y[0] == pytest.approx(curve(answer, "1_pass own linear").y[0])  # where learning starts


def test_images_to_a_level_are_read_off_the_curve(answer: Result, layer: Run) -> None:
    run = replace(layer, result=replace(layer.result, seeds=(0,)))
    result = ask(replace(QUESTION, baselines=("own",), passes=(1,)), run)
    line = result["1_pass own linear"]
    found = result["own_linear_1_pass_images_to_50"]
    assert found.values == (first_reached(line.x, line.y, 50.0),) and found.unit == "images"
    rise = line.y[0] + 0.9 * (line.y[-1] - line.y[0])
    at_rise = result["own_linear_1_pass_images_to_90_percent_of_rise"].values[0]
    assert at_rise == first_reached(line.x, line.y, rise) and 0 < at_rise <= IMAGES
    assert result["not_reached"].value == {"own_linear_1_pass_images_to_99.9": [0]}
    assert answer.notes["not_reached"]["hard_linear_2_pass_images_to_99.9"] == [0, 1]
    with pytest.raises(KeyError):
        answer.measure("own_linear_1_pass_images_to_99.9")


def test_first_reached_on_known_lines() -> None:
    assert first_reached([0, 10, 20], [0.0, 50.0, 100.0], 75.0) == 15
    assert first_reached([0, 10, 20], [60.0, 20.0, 100.0], 50.0) == 0
    assert first_reached([0, 10, 20], [0.0, 60.0, 10.0], 60.0) == 10
    assert first_reached([0, 10], [0.0, 60.0], 60.1) is None


def test_an_accuracy_that_fell_has_no_rise(layer: Run) -> None:
    missed: dict[str, list[int]] = {}
    lines = [[40.0, 60.0, 90.0], [70.0, 80.0, 60.0]]
    found = list(QUESTION._speed("key", "linear", [0, 10, 20], lines, layer, missed))
    assert [(measure.name, measure.values) for measure in found] == [("key_images_to_50", (5.0, 0.0))]
    assert missed == {"key_images_to_99.9": [0, 1], "key_images_to_90_percent_of_rise": [1]}


def test_readouts_may_see_a_part_of_the_training_images(layer: Run) -> None:
    network = layer.network(0)
    few = layer.data.train.select(torch.arange(40))
    expected = read(layer, network, few)
    run = replace(layer, result=replace(layer.result, seeds=(0,)))
    result = ask(replace(QUESTION, baselines=("own",), passes=(2,), samples=(1,), readout_images=40), run)
    assert result["own_linear_2_pass_accuracy"].values == pytest.approx((expected["linear"],))
    assert result["own_labels_2_pass_accuracy"].values == pytest.approx((expected["labels"],))
    assert expected["labels"] < read(layer, network)["labels"]


def test_the_figure_has_a_panel_a_number_of_passes(answer: Result, layer: Run) -> None:
    assert [figure["name"] for figure in answer.notes["figures"]] == ["curves"]
    text = (layer.folder / "convergence-curves.svg").read_text()
    for words in ("1 pass", "2 passes", "backpropagation, its own head", "hard WTA, neuron labels"):
        assert f"<!-- {words} -->" in text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"baselines": ("own", "ranked")}, "baselines must be among own, .*, got 'ranked'"),
        ({"passes": ()}, r"passes must be at least 1 each, got \(\)"),
        ({"passes": (1, 0)}, r"passes must be at least 1 each, got \(1, 0\)"),
        ({"samples": (0, 5)}, r"samples must be at least 1 each, got \(0, 5\)"),
        ({"readout_epochs": 0}, "readout_epochs must be at least 1, got 0"),
        ({"readout_images": 0}, "readout_images must be at least 1, got 0"),
        ({"share": 0.0}, "share must be above 0 and at most 100, got 0.0"),
    ],
)
def test_mistakes_are_named_before_anything_is_trained(
    settings: dict[str, object], message: str, layer: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchhebb.evaluate.questions.convergence.fit", None)
    with pytest.raises(UserError, match=message):
        next(Convergence(**settings).run(layer))  # type: ignore[arg-type]
