"""Sweeps of one setting: what is trained at a value, what is measured of it, and on which images."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.evaluate.by_hand import curve
from tests.tiny import tiny_recipe
from torchhebb.data import Images
from torchhebb.errors import UserError
from torchhebb.evaluate import BatchSize, Cell, InitialRadius, LearningRate, Note, Run, evaluate
from torchhebb.evaluate.probe import Probe
from torchhebb.evaluate.sweep import Sweep, mean_cosine
from torchhebb.nn import Architecture, SPHeReConvBlock
from torchhebb.train import Curve, Measure, Result
from torchhebb.train.diagnostics import plastic_layers

PROBE = Probe(pool=1)
SMALL: dict[str, Any] = {"passes": 1, "images": 200, "holdout": 0.3, "probe": PROBE}


@pytest.fixture(scope="module")
def answer(run: Run) -> Result:
    return evaluate(InitialRadius(values=(0.5, 3.0), **SMALL), run)


def hand_cell(accuracy: float, r1: float, radius: float) -> Cell:
    return {"accuracy": accuracy, "block1_r1": r1, "block1_radius": radius}


HAND: dict[str, list[Cell]] = {
    "random": [{"accuracy": 40.0}, {"accuracy": 42.0}],
    "0.5": [hand_cell(50.0, 0.0, 0.5), hand_cell(60.0, 10.0, 0.7)],
    "3.0": [hand_cell(70.0, 20.0, 1.0), hand_cell(80.0, 40.0, 1.2)],
}


def test_cells_become_curves_measures_and_the_best_value(run: Run) -> None:
    found = list(InitialRadius(values=(0.5, 3.0)).findings(run, HAND))
    measures = {f.name: (f.unit, f.values) for f in found if isinstance(f, Measure)}
    assert measures == {
        "accuracy_at_0.5": ("%", (50.0, 60.0)),
        "accuracy_at_3": ("%", (70.0, 80.0)),
        "block1_r1_at_0.5": ("%", (0.0, 10.0)),
        "block1_r1_at_3": ("%", (20.0, 40.0)),
        "block1_radius_at_0.5": ("", (0.5, 0.7)),
        "block1_radius_at_3": ("", (1.0, 1.2)),
        "random_accuracy": ("%", (40.0, 42.0)),
    }
    accuracy, r1, _ = (f for f in found if isinstance(f, Curve))
    assert (accuracy.name, accuracy.x_label, accuracy.x) == ("accuracy", "initial radius", (0.5, 3.0))
    assert accuracy.y == (55.0, 75.0) and accuracy.std == pytest.approx((50**0.5, 50**0.5))
    assert r1.y == (5.0, 30.0) and r1.y_label == "block 1: neurons at radius 1, %"
    notes = {f.name: f.value for f in found if isinstance(f, Note)}
    assert notes == {"best": 3.0, "held_out_images": len(run.data.holdout(0.1).test)}


def test_at_a_rate_of_almost_nothing_the_weights_stay_as_drawn(run: Run) -> None:
    asked = LearningRate(values=(1e-12,), **SMALL)
    cell, random = asked.cell(run, 1e-12, 1), asked.cell(run, None, 1)
    drawn = plastic_layers(run.recipe.architecture.build(1))
    for block in ("block1", "block2"):
        norms = drawn[f"{block}.layer"].weight.detach().flatten(1).norm(dim=1)
        assert cell[f"{block}_radius"] == pytest.approx(norms.mean().item())
        assert cell[f"{block}_r1"] == pytest.approx(100 * ((norms - 1).abs() <= 1e-2).float().mean().item())
        assert cell[f"{block}_cosine"] == pytest.approx(1.0)
    assert cell["accuracy"] == random["accuracy"]


def test_learning_moves_the_radii_to_1_and_turns_the_neurons(answer: Result) -> None:
    radius, cosine = curve(answer, "block1_radius"), curve(answer, "block1_cosine")
    assert radius.y[0] == pytest.approx(0.5, rel=0.5) and 1.0 < radius.y[1] < 3.0
    assert cosine.y[0] < cosine.y[1] < 1, "neurons of a smaller radius turn more"
    assert 10 < answer.measure("random_accuracy").mean < 100 and min(curve(answer, "accuracy").y) > 10


def test_cosines_are_means_over_neurons() -> None:
    first, last = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, 5.0], [0.0, 1.0]])
    assert mean_cosine(first, last) == pytest.approx(0.5)


def test_each_sweep_changes_its_own_setting_alone() -> None:
    recipe = tiny_recipe()
    assert BatchSize().at(recipe, 20.0) == replace(recipe, learning=replace(recipe.learning, batch_size=20))
    blocks = LearningRate().at(recipe, 3.0).architecture.blocks
    assert [block.lr for block in blocks] == pytest.approx([0.24, 0.015])  # type: ignore[union-attr]
    assert LearningRate().at(recipe, 1.0) == recipe
    radius = InitialRadius().at(recipe, 7.0)
    assert [block.init_radius for block in radius.architecture.blocks] == [7.0, 7.0]  # type: ignore[union-attr]
    assert InitialRadius().at(radius, 3.0) == recipe


def test_the_initial_radius_scales_the_same_draw() -> None:
    few, many = (InitialRadius().at(tiny_recipe(), value).architecture.build(0) for value in (0.5, 2.0))
    for name, layer in plastic_layers(few).items():
        torch.testing.assert_close(4 * layer.weight, plastic_layers(many)[name].weight)


def test_the_test_images_are_not_touched(run: Run, tmp_path: Path) -> None:
    run = replace(run, result=replace(run.result, seeds=(0,)))
    asked = BatchSize(values=(50, 100), **SMALL)
    blank = Images(torch.zeros_like(run.data.test.images), run.data.test.labels)
    other = replace(run, folder=tmp_path, data=replace(run.data, test=blank))
    first, second = ([f for f in asked.run(where) if isinstance(f, Measure)] for where in (run, other))
    assert first == second and {"accuracy_at_50", "random_accuracy"} <= {measure.name for measure in first}


def test_a_stopped_sweep_goes_on_after_its_pieces(run: Run, answer: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchhebb.evaluate.held_out.learn_run", None)
    again = list(InitialRadius(values=(0.5, 3.0), **SMALL).run(run))
    assert [finding for finding in again if isinstance(finding, Measure)] == list(answer.measures)
    with pytest.raises(TypeError):  # another bound is another piece
        list(InitialRadius(values=(0.5, 3.0), **{**SMALL, "images": 201}).run(run))


def test_the_figure_has_a_panel_a_quantity(answer: Result, run: Run) -> None:
    text = (run.folder / "initial_radius-sweep.svg").read_text()
    for words in ("held-out accuracy, %", "neurons at radius 1, %", "cosine with the first weights", "random features"):
        assert f"<!-- {words} -->" in text


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (InitialRadius, {"values": ()}, r"values must be numbers that rise from above 0, got \(\)"),
        (InitialRadius, {"values": (0.0, 1.0)}, "values must be numbers that rise from above 0"),
        (LearningRate, {"values": (2.0, 1.0)}, "values must be numbers that rise from above 0"),
        (BatchSize, {"values": (2.5,)}, "values must be whole numbers of images, got 2.5"),
        (InitialRadius, {"passes": 0}, "passes must be at least 1, got 0"),
        (InitialRadius, {"images": 0}, "images must be at least 1, got 0"),
        (InitialRadius, {"holdout": 1.0}, "holdout must be between 0 and 1, got 1.0"),
    ],
)
def test_mistakes_are_named_before_anything_is_trained(
    kind: type[Sweep], settings: dict[str, Any], message: str, run: Run
) -> None:
    with pytest.raises(UserError, match=message):
        next(kind(**settings).run(replace(run, folder=Path("nowhere"))))


@pytest.mark.parametrize("asked", [InitialRadius(), LearningRate()])
def test_blocks_of_local_losses_have_nothing_to_sweep(asked: Sweep) -> None:
    recipe = tiny_recipe(architecture=Architecture((1, 8, 8), (SPHeReConvBlock(8),)))
    with pytest.raises(UserError, match="block1: SPHeReConvBlock has no setting"):
        asked.at(recipe, 1.0)
