"""Orders of learning: the same network by each of them, the pipeline's bits those of the joint pass."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.evaluate.by_hand import readout_by_hand
from torchhebb.errors import UserError
from torchhebb.evaluate import Run, evaluate
from torchhebb.evaluate.questions.orders import Orders, chains
from torchhebb.train import Result
from torchhebb.train.learn import learn_images

QUESTION = Orders(images=200, timed_batches=2)


@pytest.fixture(scope="module")
def answer(run: Run) -> Result:
    return evaluate(QUESTION, run)


def test_the_pipeline_learns_what_the_joint_pass_learns_and_greedy_does_not(answer: Result):
    assert answer.notes["equals_joint"] == {"greedy": [False, False], "pipeline": [True, True]}
    joint, pipeline = (answer.measure(f"{order}_test_accuracy") for order in ("joint", "pipeline"))
    assert joint.values == pipeline.values and joint.interval == pipeline.interval
    assert answer.notes["training_images"] == 200


def test_all_images_give_the_accuracy_of_the_run(run: Run):
    one = replace(run, result=replace(run.result, seeds=(0,)))
    found = evaluate(Orders(orders=("joint",), timed_batches=1), one)
    assert found.measure("joint_test_accuracy").values == run.result.measure("test_accuracy").values[:1]
    assert found.notes["training_images"] == len(run.data.train) and found.notes["equals_joint"] == {}


def test_greedy_is_learned_and_read_out_by_the_recipe(run: Run, answer: Result):
    from torchhebb.data.images import stratified_split

    train = run.data.train.select(stratified_split(run.data.train.labels, 200, 0)[1])
    network = run.recipe.architecture.build(1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    learn_images(network, train, replace(run.recipe.learning, order="greedy"), seed=1)
    expected = readout_by_hand(network, train, run.data.test, run.recipe.readout, seed=1)
    assert answer.measure("greedy_test_accuracy").values[1] == pytest.approx(expected, abs=0.3)


def test_times_are_of_blocks_and_chains_of_depths(answer: Result):
    times = [answer.measure(f"block{number}_milliseconds") for number in (1, 2)]
    assert all(value > 0 for measure in times for value in measure.values)
    joint, pipeline = answer.curves
    assert joint.y == pytest.approx((times[0].mean, times[0].mean + times[1].mean))
    assert pipeline.y == pytest.approx((times[0].mean, max(times[0].mean, times[1].mean)))
    assert [curve.y for curve in chains([2.0, 5.0, 3.0]).values()] == [(2.0, 7.0, 10.0), (2.0, 5.0, 5.0)]
    assert all(answer.measure(f"{order}_seconds").mean > 0 for order in ("joint", "greedy", "pipeline"))


def test_pieces_are_kept(run: Run, answer: Result, monkeypatch: pytest.MonkeyPatch):
    def never(*_: object, **__: object) -> None:
        raise AssertionError("learned again")

    monkeypatch.setattr("torchhebb.evaluate.questions.orders.learn_from", never)
    assert evaluate(QUESTION, run).measures == answer.measures


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"orders": ("both",)}, "orders must be among joint, greedy, pipeline, got"),  # type: ignore[arg-type]
        ({"images": 0}, "images must be at least 1, got 0"),
        ({"timed_batches": 0}, "timed_batches must be at least 1, got 0"),
    ],
)
def test_mistakes(settings: dict[str, Any], message: str, run: Run):
    with pytest.raises(UserError, match=message):
        evaluate(Orders(**settings), run)
