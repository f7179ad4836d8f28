"""What stands beside a run: the same size, the same care, trained once; and the judge."""

from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest

from tests.evaluate.conftest import CPU
from tests.tiny import equal, state
from torchhebb.data import Store
from torchhebb.errors import UserError
from torchhebb.evaluate import Embeddings, Filters, ReceptiveFields, Run, Similarity, evaluate, open_run
from torchhebb.recipes import get_recipe
from torchhebb.rules import HardHebb, RankedHebb
from torchhebb.runs import run_recipe
from torchhebb.runs.baselines import COMPARED, baseline, baseline_architecture
from torchhebb.runs.reference_classifier import judge
from torchhebb.train import Learning, Readout, Supervised
from torchhebb.train.accuracy import model_accuracy
from torchhebb.train.supervised import backpropagation_model


@pytest.fixture(scope="module")
def layer(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "baselines"
    plans: dict[str, Any] = {
        "learning": Learning(batch_size=20, epochs=2),
        "readout": Readout(epochs=5, batch_size=50, dropout=0.0, lr=1e-2),
        "supervised": Supervised(epochs=2, batch_size=20, lr=3e-3),
    }
    recipe = replace(get_recipe("softhebb2022-digits"), seeds=1, baselines=("backpropagation",), **plans)
    run_recipe(recipe, CPU, folder=folder, store=store)
    return open_run(folder, store=store)


@pytest.mark.parametrize("name", [name for name in COMPARED if name not in ("adversarial", "backpropagation_long")])
def test_a_contender_has_the_size_of_the_run_and_answers(layer: Run, name: Any) -> None:
    network = baseline(layer, 0, name)
    assert network.block1.layer.weight.shape == (100, 64) and not network.training
    assert not any(parameter.requires_grad for parameter in network.classifier.parameters())
    x = (layer.data.test.images[:50] / 255.0).requires_grad_()
    logits = network.classifier(x)
    logits.sum().backward()
    assert logits.shape == (50, 10) and x.grad.abs().sum() > 0
    accuracy = model_accuracy(network.classifier, layer.data.test)
    assert accuracy > (40 if name == "random" else 75), name


def test_the_rules_are_those_that_they_are_named_for(layer: Run) -> None:
    assert baseline(layer, 0, "own").architecture == layer.recipe.architecture
    assert baseline(layer, 0, "hard").architecture.blocks[0].rule == HardHebb()
    assert baseline(layer, 0, "ranked").architecture.blocks[0].rule == RankedHebb(delta=0.1)
    assert baseline(layer, 0, "backpropagation").architecture.blocks[0].activation == "relu"
    untrained = layer.recipe.architecture.build(0)
    assert equal(state(baseline(layer, 0, "random")), state(untrained))


def test_backpropagation_is_the_baseline_of_the_run(layer: Run) -> None:
    accuracy = model_accuracy(baseline(layer, 0, "backpropagation").classifier, layer.data.test)
    assert accuracy == pytest.approx(layer.result.measure("backpropagation_test_accuracy").mean)


def test_settings_at_their_defaults_are_no_part_of_the_key(layer: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what was kept before a setting existed is still found."""
    hashed: list[bytes] = []

    def digest(data: bytes, **settings: Any) -> Any:
        hashed.append(data)
        return blake2b(data, **settings)

    monkeypatch.setattr("torchhebb.runs.baselines.blake2b", digest)
    baseline(layer, 0, "random")
    assert layer.recipe.supervised.halve_at == () and b"supervised" in hashed[0] and b"halve_at" not in hashed[0]


def test_it_is_trained_once(layer: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first = baseline(layer, 0, "hard")
    monkeypatch.setattr("torchhebb.runs.baselines.learn_run", None)
    again = baseline(layer, 0, "hard")
    assert equal(state(first), state(again)) and equal(state(first.readout), state(again.readout))


@pytest.mark.parametrize("name", ["hard", "random"])
def test_a_readout_is_trained_when_it_is_asked_for(
    layer: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: Any
) -> None:
    fresh = replace(layer, folder=tmp_path)
    with monkeypatch.context() as without:
        without.setattr("torchhebb.runs.baselines.fit_readout", None)
        bare = baseline(fresh, 0, name, readout=False)
        assert bare.readout is None and not bare.training
    monkeypatch.setattr("torchhebb.runs.baselines.learn_run", None)  # what has learned, does not learn again
    whole = baseline(fresh, 0, name)
    assert equal(state(whole), state(bare))
    assert equal(state(whole.readout), state(baseline(layer, 0, name).readout))
    assert baseline(fresh, 0, name, readout=False).readout is not None  # what is there is not taken away


@pytest.mark.parametrize("name", ["own", "hard", "ranked", "random", "backpropagation"])
def test_the_architecture_is_known_without_training(layer: Run, name: Any) -> None:
    assert baseline_architecture(layer, name) == baseline(layer, 0, name).architecture


@pytest.mark.parametrize(
    "question",
    [
        Filters(baselines=("own", "hard")),
        Similarity(baselines=("own", "hard"), images_per_class=2),
        Embeddings(baselines=("own", "hard"), images=200),
        ReceptiveFields(baseline="hard", steps=1, neurons=2),
    ],
    ids=lambda question: question.question,
)
def test_a_question_about_weights_and_maps_trains_no_readout(
    layer: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, question: Any
) -> None:
    monkeypatch.setattr("torchhebb.runs.baselines.fit_readout", None)
    assert evaluate(question, replace(layer, folder=tmp_path)).measures


def test_adversarial_training_pays_where_it_is_attacked(layer: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchhebb.train.perturb import pgd

    for name, value in {"LONG_EPOCHS": 4, "ADVERSARIAL_EPOCHS": 4, "ADVERSARIAL_BATCH": 20}.items():
        monkeypatch.setattr(f"torchhebb.runs.baselines.{name}", value)
    x, labels = layer.data.test.images[:200] / 255.0, layer.data.test.labels[:200]
    survived = {}
    for name in ("backpropagation_long", "adversarial"):
        model = baseline(layer, 0, name).classifier  # type: ignore[arg-type]
        moved = pgd(model, x, labels, eps=0.15, norm="inf", steps=10)
        survived[name] = (model(moved).argmax(1) == labels).double().mean().item()
    assert survived["adversarial"] > survived["backpropagation_long"] + 0.1, survived


def test_an_unknown_name_is_named(layer: Run) -> None:
    with pytest.raises(UserError, match="backpropagation"):
        baseline(layer, 0, "backprop")  # type: ignore[arg-type]


def test_the_judge_reads_clean_images_and_is_kept(layer: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchhebb.runs.reference_classifier.PLAN", Supervised(epochs=8, batch_size=32, lr=2e-3))
    eye = judge(layer)
    assert model_accuracy(eye, layer.data.test) > 90
    monkeypatch.setattr("torchhebb.runs.reference_classifier.fit_supervised", None)
    assert equal(state(eye), state(judge(layer)))


def test_backpropagation_starts_from_the_initial_weights_of_the_plan(layer: Run) -> None:
    plan = Supervised(epochs=0, init="pytorch")
    run = replace(layer, recipe=replace(layer.recipe, supervised=plan), loaded={})
    expected = backpropagation_model(run.recipe.architecture, 10, 0, "pytorch")[0]
    made = baseline(run, 0, "backpropagation", readout=False)
    assert equal({name: value for name, value in state(made).items() if name in state(expected)}, state(expected))
    he = replace(run, recipe=replace(run.recipe, supervised=replace(plan, init="he")))
    assert not equal(state(baseline(he, 0, "backpropagation", readout=False)), state(made))
