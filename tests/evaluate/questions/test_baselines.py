"""A run compared with networks of its size: what is kept is not trained again; numbers are the networks' own."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny import tiny_recipe
from torchhebb.data import Store
from torchhebb.errors import UserError
from torchhebb.evaluate import Run, evaluate, open_run
from torchhebb.evaluate.questions.baselines import Baselines
from torchhebb.runs import TrainOptions, run_recipe
from torchhebb.runs.baselines import baseline
from torchhebb.train import Supervised
from torchhebb.train.accuracy import model_accuracy
from torchhebb.train.recipe import PublishedBeside

CPU = TrainOptions(device="cpu")


@pytest.fixture
def trained(tmp_path: Path) -> Run:
    """Two seeds that were trained without any baseline."""
    recipe = replace(
        tiny_recipe(baselines=()),
        seeds=2,
        supervised=Supervised(epochs=2, batch_size=32, lr=0.01),
        published=98.0,
        published_beside=PublishedBeside(random=90.0, backpropagation=99.0),
    )
    run_recipe(recipe, CPU, folder=tmp_path / "run", store=Store(tmp_path / "store"))
    return open_run(tmp_path / "run", store=Store(tmp_path / "store"))


def test_every_accuracy_is_that_of_the_network_and_its_published_number_beside_it(trained: Run) -> None:
    result = evaluate(Baselines(baselines=("own", "random", "backpropagation")), trained)
    assert {m.name: m.published for m in result.measures} == {
        "test_accuracy": 98.0,
        "random_test_accuracy": 90.0,
        "backpropagation_test_accuracy": 99.0,
    }
    assert result.measure("test_accuracy").values == trained.result.measure("test_accuracy").values
    for name in ("random", "backpropagation"):
        values = result.measure(f"{name}_test_accuracy").values
        expected = [model_accuracy(baseline(trained, s, name).classifier, trained.data.test) for s in (0, 1)]
        assert values == pytest.approx(expected, abs=0.5) and len(set(values)) == 2
        assert result.measure(f"{name}_test_accuracy").interval is not None
    assert result.notes["training"]["command"] == trained.result.command


def test_a_baseline_that_is_kept_is_not_trained_again(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Baselines(baselines=("backpropagation",))
    first = evaluate(asked, trained)

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("torchhebb.runs.baselines.fit_supervised", fail)
    assert evaluate(asked, open_run(trained.folder, store=trained.store)).measures == first.measures


def test_it_gives_what_training_with_the_baseline_gives(trained: Run, tmp_path: Path) -> None:
    recipe = replace(trained.recipe, baselines=("random", "backpropagation"))
    together = run_recipe(recipe, CPU, folder=tmp_path / "together", store=trained.store)
    apart = evaluate(Baselines(), trained)
    for name in ("test_accuracy", "random_test_accuracy", "backpropagation_test_accuracy"):
        assert apart.measure(name) == together.measure(name)


def test_blocks_without_a_form_for_it_are_refused_before_anything_is_trained(trained: Run) -> None:
    from torchhebb.recipes.best import first_block

    architecture = replace(trained.recipe.architecture, blocks=(first_block(8),))
    whitened = replace(trained, recipe=replace(trained.recipe, architecture=architecture))
    with pytest.raises(UserError, match="baselines must leave out backpropagation"):
        evaluate(Baselines(), whitened)
