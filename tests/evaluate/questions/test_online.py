"""One sample at a time: what is timed, what is learned, what is left of the first classes."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from tests.evaluate.by_hand import curve, features_by_hand, labels_by_hand, percent_right
from tests.tiny import equal, state
from torchhebb.data import Batches, Images
from torchhebb.errors import UserError
from torchhebb.evaluate import Run, evaluate
from torchhebb.evaluate.methods.continual.record import as_matrix
from torchhebb.evaluate.methods.online import OnlineBackpropagation, OnlineHebbian, OnlineLearner
from torchhebb.evaluate.questions import online
from torchhebb.evaluate.questions.online import WORDS, Online
from torchhebb.nn import LinearBlock, Network
from torchhebb.train import Result
from torchhebb.train.learn import learn_images
from torchhebb.train.supervised import backpropagation_model, fit_supervised

QUESTION = Online(samples=200, readout_epochs=4, updates=6, warmup=2)


@pytest.fixture(scope="module")
def layer(layer: Run) -> Run:
    """The run of the layer, by a higher rate of backpropagation."""
    return replace(layer, recipe=replace(layer.recipe, supervised=replace(layer.recipe.supervised, lr=0.02)))


@pytest.fixture(scope="module")
def answer(layer: Run) -> Result:
    return evaluate(QUESTION, layer)


def plastic(run: Run, seed: int, factor: float = 1.0) -> OnlineHebbian:
    return OnlineHebbian(run.recipe.architecture.build(seed), run.recipe.learning, "float32", factor)


def gradient(run: Run, seed: int, factor: float = 1.0, *, sgd: bool = False) -> OnlineBackpropagation:
    model = backpropagation_model(run.recipe.architecture, 10, seed)
    return OnlineBackpropagation(model, run.recipe.supervised, "float32", factor, sgd=sgd)


def sorted_images(run: Run, seed: int) -> list[Images]:
    """The samples of the stream, class by class."""
    whole = run.data.holdout(QUESTION.samples, seed).test
    return [whole.select((whole.labels == name).nonzero().flatten()) for name in range(10)]


def streamed(run: Run, seed: int) -> tuple[Network, list[int]]:
    """The layer by hand after the whole stream, and the class that each neuron has won most often on the way."""
    network = run.recipe.architecture.build(seed)
    seen, labels_seen = [], []
    for part in sorted_images(run, seed):
        for x, labels in Batches(part.images, 1, labels=part.labels, seed=seed).epoch(0):
            with torch.no_grad():
                seen.append(network(x))
            labels_seen.append(labels)
            learn_images(
                network, Images((x * 255).round().byte(), labels), replace(run.recipe.learning, batch_size=1, epochs=1)
            )
    return network.eval(), labels_by_hand(torch.cat(seen), torch.cat(labels_seen), 10)


def test_the_updates_are_those_of_the_training_loops(layer: Run) -> None:
    images = layer.data.train.select(torch.arange(40))
    one, plan = plastic(layer, 1), replace(layer.recipe.learning, epochs=1)
    for x, labels in Batches(images.images, 16, labels=images.labels, seed=5).epoch(0):
        one.step(x, labels)
    assert equal(state(one.model), state(learn_images(layer.recipe.architecture.build(1), images, plan, seed=5)))

    other, taught = gradient(layer, 1), replace(layer.recipe.supervised, epochs=1, cosine=False)
    for x, labels in Batches(images.images, 32, labels=images.labels, seed=5).epoch(0):
        other.step(x, labels)
    expected = fit_supervised(backpropagation_model(layer.recipe.architecture, 10, 1), images, taught, seed=5)
    assert equal(state(other.model), state(expected))


def test_a_factor_scales_the_rate(layer: Run) -> None:
    x, labels = layer.data.train.images[:1] / 255.0, layer.data.train.labels[:1]

    def moved(learner: OnlineLearner) -> torch.Tensor:
        layer_weight = learner.network.get_parameter("block1.layer.weight")
        before = layer_weight.detach().clone()
        learner.step(x, labels)
        return (layer_weight.detach() - before).norm()

    assert moved(plastic(layer, 0, 0.5)) == pytest.approx(0.5 * moved(plastic(layer, 0)).item(), rel=1e-3)
    whole = moved(gradient(layer, 0, sgd=True)).item()
    assert moved(gradient(layer, 0, 0.5, sgd=True)) == pytest.approx(0.5 * whole, rel=1e-3)


def test_sgd_steps_along_the_gradient(layer: Run) -> None:
    x, labels = layer.data.train.images[:1] / 255.0, layer.data.train.labels[:1]
    by_hand = backpropagation_model(layer.recipe.architecture, 10, 0)
    F.cross_entropy(by_hand(x), labels).backward()
    learner = gradient(layer, 0, sgd=True)
    learner.step(x, labels)
    for mine, theirs in zip(learner.model.parameters(), by_hand.parameters(), strict=True):
        assert theirs.grad is not None
        torch.testing.assert_close(mine.detach(), theirs.detach() - 0.02 * theirs.grad)


def test_times_are_quantiles_after_the_warm_up(layer: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    durations = {"own": [9.0, 9.0, 1.0, 2.0, 3.0], "backpropagation": [9.0, 9.0, 5.0, 5.0, 5.0]}
    clock = []
    for own, other in zip(*durations.values(), strict=True):
        for milliseconds in (own, other):
            start = next(ticks) * 100.0
            clock += [start, start + milliseconds / 1000]
    monkeypatch.setattr(online.time, "perf_counter", iter(clock * 2).__next__)
    found = {m.name: m for m in replace(QUESTION, updates=3)._latency(layer)}
    assert found["own_update_median"].values == pytest.approx((2.0, 2.0)) and found["own_update_median"].unit == "ms"
    assert found["own_update_95th_percentile"].values == pytest.approx((2.9, 2.9))
    assert found["backpropagation_update_median"].values == pytest.approx((5.0, 5.0))


def test_one_by_one_is_a_pass_in_batches_of_one(answer: Result, layer: Run) -> None:
    images = layer.data.holdout(200, 0).test
    for way, batch_size in (("one_by_one", 1), ("batches", 16)):
        plan = replace(layer.recipe.learning, batch_size=batch_size, epochs=1)
        network = learn_images(layer.recipe.architecture.build(0), images, plan, seed=0)
        with torch.no_grad():
            features, tested = (network(part.images / 255.0) for part in (images, layer.data.test))
        named = labels_by_hand(features, images.labels, 10)
        expected = percent_right([named[winner] for winner in tested.argmax(1).tolist()], layer.data.test.labels)
        measure = answer.measure(f"own_labels_{way}_accuracy")
        assert measure.values[0] == pytest.approx(expected) and measure.interval is not None
    assert answer.measure("own_linear_one_by_one_accuracy").mean > answer.measure("own_linear_batches_accuracy").mean


def test_neuron_labels_are_counted_as_classes_pass_by(answer: Result, layer: Run) -> None:
    values = []
    for seed in (0, 1):
        network, named = streamed(layer, seed)
        winners = features_by_hand(network, layer.data.test).argmax(1)
        answers, labels = torch.tensor([named[winner] for winner in winners.tolist()]), layer.data.test.labels
        each = [percent_right(answers[labels == name], labels[labels == name]) for name in range(10)]
        values.append(sum(each) / 10)
    assert answer.measure("own_labels_by_class_accuracy").values == pytest.approx(tuple(values))


def test_what_is_kept_of_the_first_classes(answer: Result) -> None:
    """Backpropagation's head knows the last class alone; a readout fitted again to the plastic layer knows them all."""
    for name in WORDS:
        line, whole = curve(answer, f"first_classes {name}"), curve(answer, f"classes_so_far {name}")
        assert line.x == tuple(range(2, 11)) and whole.x == tuple(range(1, 11))
        assert whole.y[0] == 100 and line.y[0] == pytest.approx(whole.y[1])
        assert whole.y[-1] == pytest.approx(answer.measure(f"{name.replace(' ', '_')}_by_class_accuracy").mean)
    assert curve(answer, "first_classes backpropagation head").y[-1] < 10
    assert curve(answer, "first_classes own linear").y[-1] > 50
    head, own = (answer.measure(f"{name}_by_class_forgetting") for name in ("backpropagation_head", "own_linear"))
    assert head.mean > 30 > own.mean >= 0 and own.unit == "points"


def test_rows_and_curves_of_known_answers() -> None:
    logits, labels = torch.tensor([[2.0, 1.0], [1.0, 2.0], [1.0, 2.0], [5.0, 0.0]]), torch.tensor([0, 0, 1, 2])
    row = online._row(logits, labels, 3)
    assert row == [50.0, 100.0, None]
    matrix = as_matrix([[100.0, None, None], row, [30.0, 60.0, 90.0]])
    assert matrix.isnan().sum() == 3
    assert online._against_stages("first_classes a", [matrix], 2).y == (75.0, 45.0)
    assert online._against_stages("classes_so_far a", [matrix], 1).y == (100.0, 75.0, 60.0)


def test_pieces_are_kept_but_for_the_times(answer: Result, layer: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(Online, "_latency", lambda *_: calls.append("timed") or iter(()))
    monkeypatch.setattr(Online, "_learner", lambda *_: pytest.fail("trained again"))
    found = list(QUESTION.run(layer))
    assert calls == ["timed"] and len(found) > 10


def test_more_samples_than_there_are_is_all_of_them(layer: Run, tmp_path: Path) -> None:
    assert replace(QUESTION, samples=10**6)._images(layer, 0) is layer.data.train
    drawn = QUESTION._images(layer, 0)
    assert len(drawn) == 200 and len(drawn.labels.unique()) == 10
    assert not torch.equal(drawn.images, QUESTION._images(layer, 1).images)


def test_the_figure_shows_every_readout(answer: Result, layer: Run) -> None:
    assert [figure["name"] for figure in answer.notes["figures"]] == ["classes"]
    text = (layer.folder / "online-classes.svg").read_text()
    for words in (*WORDS.values(), "accuracy on the first 2 classes, %"):
        assert f"<!-- {words} -->" in text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 9}, "samples must be at least 10, got 9"),
        ({"updates": 0}, "updates must be at least 1, got 0"),
        ({"warmup": -1}, "warmup must be at least 0, got -1"),
        ({"readout_epochs": 0}, "readout_epochs must be at least 1, got 0"),
        ({"rate": 0.0}, "rate must be above 0, got 0.0"),
        ({"backpropagation_rate": -1.0}, "backpropagation_rate must be above 0, got -1.0"),
        ({"first_classes": 11}, "first_classes must be from 1 to 10, got 11"),
    ],
)
def test_mistakes_are_named_before_anything_is_timed(settings: dict[str, object], message: str, layer: Run) -> None:
    with pytest.raises(UserError, match=message):
        next(Online(**settings).run(layer))  # type: ignore[arg-type]


def test_batch_norm_of_one_sample_is_refused(layer: Run) -> None:
    architecture = replace(layer.recipe.architecture, blocks=(LinearBlock(5),))
    run = replace(layer, recipe=replace(layer.recipe, architecture=architecture))
    with pytest.raises(UserError, match="cannot learn from one sample at a time"):
        next(QUESTION.run(run))
