"""Few labels: which images are labelled, what is fitted to them, and how often."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluate.by_hand import drawn, features_by_hand, percent_right, ridge_by_hand
from torchhebb.errors import UserError
from torchhebb.evaluate import LabelEfficiency, Run, evaluate
from torchhebb.evaluate.probe import Probe
from torchhebb.evaluate.questions.label_efficiency import labelled
from torchhebb.train import Result, Supervised
from torchhebb.train.calibrate import calibrate
from torchhebb.train.supervised import backpropagation_model, fit_supervised

LABELS = torch.arange(10).repeat_interleave(15)[torch.randperm(150, generator=torch.Generator().manual_seed(9))]
PROBE = Probe(pool=1, holdout=0.3, images=400)
QUESTION = LabelEfficiency(labels=(5, 20, 900), draws=2, probe=PROBE)


@pytest.fixture(scope="module")
def answer(run: Run) -> Result:
    return evaluate(QUESTION, run)


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 12), st.integers(0, 3), st.integers(0, 3))
def test_a_draw_has_as_many_of_each_class_and_fewer_are_part_of_more(count: int, seed: int, number: int) -> None:
    labels = LABELS
    chosen = labelled(labels, count, seed, number)
    assert torch.bincount(labels[chosen]).tolist() == [count] * 10 and len(chosen.unique()) == len(chosen)
    assert set(chosen.tolist()) < set(labelled(labels, count + 1, seed, number).tolist())
    assert chosen.tolist() != labelled(labels, count, seed, number + 1).tolist()
    assert chosen.tolist() != labelled(labels, count, seed + 1, number).tolist()


def test_a_value_is_the_probe_on_the_labelled_images(answer: Result, run: Run) -> None:
    train, tested = drawn(run.data.train, 400), run.data.test
    own, random = run.network(1), calibrate(run.recipe.architecture.build(1), run.data.train, seed=1)
    for name, network in (("own", own), ("random", random)):
        for number in range(2):
            images = train.select(labelled(train.labels, 20, 1, number))
            expected = ridge_by_hand(network, images, tested, seed=1, holdout=0.3)
            found = answer.measure(f"{name}_20_per_class_accuracy")
            assert len(found.values) == 4 and found.values[2 + number] == pytest.approx(expected, abs=0.3)
        everything = ridge_by_hand(network, train, tested, seed=1, holdout=0.3)
        assert answer.measure(f"{name}_all_accuracy").values[1] == pytest.approx(everything, abs=0.3)


def test_the_curve_spreads_over_seeds_and_draws(answer: Result) -> None:
    for line in answer.curves:
        assert line.x == (50.0, 200.0, 400.0) and line.std is not None
        for place, words in enumerate(("5_per_class", "20_per_class", "all")):
            measure = answer.measure(f"{line.name}_{words}_accuracy")
            assert (line.y[place], line.std[place]) == pytest.approx((measure.mean, measure.std))
    assert [line.name for line in answer.curves] == ["own", "random"]
    assert answer.notes["left_out"] == [900] and answer.notes["test_images"] == 449


def test_one_seed_has_error_bars_from_its_draws(run: Run) -> None:
    one = replace(run, result=replace(run.result, seeds=(0,)))
    found = {f.name: f for f in replace(QUESTION, baselines=("random",), labels=(5,)).run(one)}
    line: Any = found["random"]
    assert line.std[0] > 0 and line.std[1] == 0 and len(found["random_all_accuracy"].values) == 1  # type: ignore[union-attr]


def test_backpropagation_learns_from_the_same_images_for_enough_steps(run: Run) -> None:
    recipe = replace(run.recipe, supervised=Supervised(epochs=1, batch_size=16, lr=0.01))
    one = replace(run, recipe=recipe, result=replace(run.result, seeds=(1,)))
    asked = replace(QUESTION, baselines=("backpropagation",), labels=(5,), all_labels=False, draws=1, least_steps=10)
    found = {f.name: f for f in asked.run(one)}
    train = drawn(run.data.train, 400)
    images = train.select(labelled(train.labels, 5, 1, 0))
    plan = replace(recipe.supervised, epochs=3)  # 50 images in batches of 16: 4 steps an epoch
    model = fit_supervised(backpropagation_model(recipe.architecture, 10, 1), images, plan, seed=1)
    expected = percent_right(features_by_hand(model, run.data.test).argmax(1), run.data.test.labels)
    assert found["backpropagation_5_per_class_accuracy"].values == (pytest.approx(expected),)  # type: ignore[union-attr]


def test_features_are_computed_only_where_a_piece_is_missing(
    answer: Result, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LabelEfficiency, "_features", lambda *_: pytest.fail("features were computed again"))
    assert [f for f in QUESTION.run(run) if f in answer.measures] == list(answer.measures)


def test_the_figure_labels_the_numbers_of_images(answer: Result, run: Run) -> None:
    text = (run.folder / "label_efficiency-curves.svg").read_text()
    for words in ("random weights", "SoftHebb", "labelled images", "400"):
        assert f"<!-- {words} -->" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"baselines": ()}, r"baselines must be different from each other, one at least, got \(\)"),
        ({"baselines": ("own", "own")}, "baselines must be different from each other"),
        ({"baselines": ("adversarial",)}, "baselines must be among own, hard, .* got 'adversarial'"),
        ({"labels": (1,)}, r"labels must be at least 2 each, .* got \(1,\)"),
        ({"labels": (900,), "all_labels": False}, "labels must be at most [0-9]+, as many as every class has"),
        ({"draws": 0}, "draws must be at least 1, got 0"),
        ({"least_steps": 0}, "least_steps must be at least 1, got 0"),
    ],
)
def test_mistakes_are_named_before_anything_is_trained(
    changes: dict[str, Any], message: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LabelEfficiency, "_features", None)
    with pytest.raises(UserError, match=message):
        next(replace(QUESTION, **changes).run(run))
