"""One block's setting at a time: what is changed, what stays, and what is measured of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.evaluate.by_hand import curve, drawn, ridge_by_hand
from tests.tiny import tiny_recipe
from torchhebb.errors import UserError
from torchhebb.evaluate import Cell, PerBlock, Run, evaluate
from torchhebb.evaluate.evaluator import Note
from torchhebb.evaluate.probe import Probe
from torchhebb.evaluate.questions.per_block import Change
from torchhebb.fields import differences
from torchhebb.nn import Architecture, ConvBlock, SPHeReConvBlock
from torchhebb.rules import HardHebb
from torchhebb.train import Curve, Measure, Recipe, Result
from torchhebb.train.calibrate import calibrate
from torchhebb.train.learn import learn_images

SMALL: dict[str, Any] = {"passes": 1, "images": 200, "holdout": 0.3, "probe": Probe(pool=1)}


@pytest.fixture(scope="module")
def answer(run: Run) -> Result:
    return evaluate(PerBlock(factors=(0.1, 20.0), **SMALL), run)


@pytest.mark.parametrize("number", [1, 2])
def test_one_field_of_one_block_is_changed(number: int) -> None:
    recipe = tiny_recipe()
    block = recipe.architecture.blocks[number - 1]
    assert isinstance(block, ConvBlock)
    rate = Change(number, "rate", 3.0).of(recipe)
    assert differences(recipe, rate) == {f"architecture.blocks.{number - 1}.lr": pytest.approx(3 * block.lr)}
    hot = Change(number, "inverse_temperature", 0.5).of(recipe)
    field = f"architecture.blocks.{number - 1}.rule.inverse_temperature"
    assert differences(recipe, hot) == {field: 0.5 * block.rule.inverse_temperature}  # type: ignore[attr-defined]


def test_a_changed_rate_is_learned_by_and_read_out_on_held_out_images(run: Run, tmp_path: Path) -> None:
    block = run.recipe.architecture.blocks[0]
    first = replace(run.recipe.architecture, blocks=(block,))
    alone = replace(run, folder=tmp_path, recipe=replace(run.recipe, architecture=first))
    own = evaluate(PerBlock(factors=(5.0,), settings=("rate",), **SMALL), alone)
    assert isinstance(block, ConvBlock) and block.lr is not None
    for name, lr in (("accuracy", block.lr), ("block1_rate_accuracy_at_5", 5 * block.lr)):
        data = run.data.holdout(0.3, 1)
        images = drawn(data.train, 200)
        network = replace(first, blocks=(replace(block, lr=lr),)).build(1)
        learn_images(network, images, replace(run.recipe.learning, epochs=1), seed=1)
        calibrate(network, images, seed=1, learned=True)
        expected = ridge_by_hand(network, data.train, data.test, seed=1)
        assert own.measure(name).values[1] == pytest.approx(expected, abs=0.3), name
    norms = network.get_parameter("block1.layer.weight").detach().flatten(1).norm(dim=1)
    assert own.measure("block1_rate_radius_at_5").values[1] == pytest.approx(norms.mean().item(), rel=1e-4)


def hand_cell(change: Change | str) -> Cell:
    """A cell that tells what was changed: accuracy 50, but 60 and 55 for two of the changes."""
    accuracy = {"random": 30.0, "block1 rate 0.1": 60.0, "block2 rate 0.1": 55.0}.get(str(change), 50.0)
    return {"accuracy": accuracy, "block1_radius": 2.0, "block2_radius": 4.0}


def test_cells_become_curves_through_the_recipe_at_1_and_the_best_is_noted(run: Run) -> None:
    asked = PerBlock(factors=(0.1, 20.0), settings=("rate",))
    variants = asked.variants(run)
    assert list(variants) == ["random", "recipe", *(f"block{n} rate {f}" for n in (1, 2) for f in ("0.1", "20"))]
    found = list(asked.findings(run, {name: [hand_cell(change)] * 2 for name, change in variants.items()}))
    curves = {f.name: f for f in found if isinstance(f, Curve)}
    assert list(curves) == [f"block{n}_rate_{quantity}" for n in (1, 2) for quantity in ("accuracy", "radius")]
    assert curves["block1_rate_accuracy"].x == (0.1, 1.0, 20.0)
    assert curves["block1_rate_accuracy"].y == (60.0, 50.0, 50.0) and curves["block2_rate_radius"].y == (4.0,) * 3
    measures = {f.name: f.values for f in found if isinstance(f, Measure)}
    assert measures["accuracy"] == (50.0, 50.0) and measures["random_accuracy"] == (30.0, 30.0)
    assert measures["block1_rate_accuracy_at_0.1"] == (60.0, 60.0) and "block1_rate_accuracy_at_1" not in measures
    assert Note("best", {"block": 1, "setting": "rate", "factor": 0.1}) in found


def test_nothing_is_best_where_no_change_is_above_the_recipe(run: Run) -> None:
    asked = PerBlock(factors=(3.0,), settings=("rate",))
    assert Note("best", None) in list(asked.findings(run, {v: [hand_cell(v)] for v in asked.variants(run)}))


def test_a_higher_rate_brings_radii_down_sooner(answer: Result) -> None:
    slow, as_is, fast = curve(answer, "block1_rate_radius").y
    assert slow > as_is > fast
    assert curve(answer, "block1_rate_accuracy").y[1] == pytest.approx(answer.measure("accuracy").mean)


def test_a_stopped_answer_goes_on_after_its_pieces(run: Run, answer: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchhebb.evaluate.held_out.learn_run", None)
    again = evaluate(PerBlock(factors=(0.1, 20.0), **SMALL), run)
    assert again.measures == answer.measures
    with pytest.raises(TypeError):  # another factor is another piece
        evaluate(PerBlock(factors=(0.1, 30.0), **SMALL), run)


def test_hard_competition_has_no_temperature_to_change() -> None:
    recipe = tiny_recipe()
    blocks = tuple(replace(block, rule=HardHebb()) for block in recipe.architecture.blocks)  # type: ignore[call-arg]
    hard = replace(recipe, architecture=replace(recipe.architecture, blocks=blocks))
    assert PerBlock()._places(hard) == [(1, "rate"), (2, "rate")]


def test_the_figure_has_random_features_and_both_blocks(answer: Result, run: Run) -> None:
    text = (run.folder / "per_block-factors.svg").read_text()
    for words in ("factor of the rate", "factor of the inverse temperature", "random features", "block 1", "block 2"):
        assert f"<!-- {words} -->" in text


LOCAL = tiny_recipe(architecture=Architecture((1, 8, 8), (SPHeReConvBlock(8),)))


@pytest.mark.parametrize(
    ("settings", "recipe", "message"),
    [
        ({"factors": ()}, None, r"factors must be numbers that rise from above 0, got \(\)"),
        ({"factors": (0.5, 1.0, 2.0)}, None, "factors must leave out 1, which is the recipe itself"),
        ({"factors": (3.0, 2.0)}, None, "factors must be numbers that rise"),
        ({"settings": ("power",)}, None, "settings must be among rate, inverse_temperature, got 'power'"),  # type: ignore[arg-type]
        ({"settings": ()}, None, "settings must be different from each other, one at least"),
        ({"images": 0}, None, "images must be at least 1, got 0"),
        ({}, LOCAL, "no block of .* has a rate or inverse temperature of its own"),
    ],
)
def test_mistakes_are_named_before_anything_is_trained(
    settings: dict[str, Any], recipe: Recipe | None, message: str, run: Run
) -> None:
    with pytest.raises(UserError, match=message):
        next(PerBlock(**settings).run(replace(run, folder=Path("nowhere"), recipe=recipe or run.recipe)))
