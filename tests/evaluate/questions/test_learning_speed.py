"""Accuracy on the way: the points are the weights of the training itself, under batch norm calibrated for them."""

from dataclasses import replace
from typing import Any

import pytest

from tests.evaluate.by_hand import drawn, ridge_by_hand
from torchhebb.data import Batches
from torchhebb.errors import UserError
from torchhebb.evaluate import LearningSpeed, Run, evaluate
from torchhebb.evaluate.probe import Probe
from torchhebb.evaluate.questions.learning_speed import half_gain
from torchhebb.nn import learn
from torchhebb.train import Result
from torchhebb.train.calibrate import calibrate
from torchhebb.train.learn import make_optimizer

QUESTION = LearningSpeed(shares=(0.1, 0.5, 1.0), passes=2, images=400, probe=Probe(pool=1, images=300))


@pytest.fixture(scope="module")
def answer(run: Run) -> Result:
    return evaluate(QUESTION, run)


def test_a_point_is_the_network_after_that_share(answer: Result, run: Run) -> None:
    images, seed = drawn(run.data.train, 400), 1
    network, twin = (run.recipe.architecture.build(seed) for _ in range(2))
    optimizer, seen = make_optimizer(network, run.recipe.learning), 0
    expected: list[float] = []

    def look() -> None:
        twin.load_state_dict(network.state_dict())
        calibrate(twin, images, seed=seed)
        expected.append(ridge_by_hand(twin, drawn(run.data.train, 300), run.data.test, seed=seed))

    look()
    for epoch in range(2):
        for x in Batches(images.images, 50, seed=seed).epoch(epoch):
            learn(network.train(), x)
            optimizer.step()
            optimizer.zero_grad()
            seen += len(x)
            if seen in (100, 400, 800):
                look()
    assert answer.notes["samples"] == [0, 100, 400, 800]  # whole batches: a tenth of 800 is 80
    assert answer.curves[0].x == (0.0, 12.5, 50.0, 100.0)
    names = ["random", *(f"{share}_percent_of_learning" for share in (10, 50, 100))]
    assert [answer.measure(f"{name}_accuracy").values[seed] for name in names] == pytest.approx(expected, abs=0.3)
    gain = answer.measure("100_percent_of_learning_gain")
    assert gain.unit == "points" and gain.values[seed] == pytest.approx(expected[-1] - expected[0], abs=0.5)


def test_the_curve_is_the_mean_over_seeds(answer: Result) -> None:
    line, last = answer.curves[0], answer.measure("100_percent_of_learning_accuracy")
    assert len(last.values) == 2 and line.y[-1] == pytest.approx(last.mean) and line.std is not None
    assert line.std[-1] == pytest.approx(last.std)
    assert line.y[0] == pytest.approx(answer.measure("random_accuracy").mean)
    assert answer.notes["test_images"] == 449


def test_half_of_the_gain_is_read_off_the_line(answer: Result) -> None:
    assert half_gain([0, 10, 20], [50.0, 50.0, 70.0]) == 15 and half_gain([0, 10], [50.0, 50.0]) is None
    names = {measure.name for measure in answer.measures}
    gains = answer.measure("100_percent_of_learning_gain").values
    assert ("half_gain_images" in names) == (min(gains) > 0)


def test_the_figure_names_random_features(answer: Result, run: Run) -> None:
    text = (run.folder / "learning_speed-curve.svg").read_text()
    for words in ("random features", "SoftHebb", "share of the unsupervised phase, %"):
        assert f"<!-- {words} -->" in text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shares": ()}, "shares must be numbers that rise from above 0 up to 1"),
        ({"shares": (0.0, 1.0)}, "shares must be numbers that rise from above 0 up to 1"),
        ({"shares": (0.5, 0.1)}, "shares must be numbers that rise from above 0 up to 1"),
        ({"shares": (0.5, 1.5)}, r"got \(0.5, 1.5\)"),
        ({"passes": 0}, "passes must be at least 1, got 0"),
        ({"images": 0}, "images must be at least 1, got 0"),
    ],
)
def test_mistakes_are_named_before_anything_is_trained(settings: dict[str, Any], message: str, run: Run) -> None:
    with pytest.raises(UserError, match=message):
        next(replace(QUESTION, **settings).run(run))
