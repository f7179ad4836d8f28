"""Sweeps of one setting: what is trained at a value, what is measured of it, and on which images."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import tiny_recipe
from torchhebb.data import Images
from torchhebb.errors import UserError
from torchhebb.evaluate import BatchSize, InitialRadius, LearningRate, Run, evaluate
from torchhebb.evaluate.probe import Probe
from torchhebb.evaluate.sweep import Sweep
from torchhebb.nn import Architecture, SPHeReConvBlock
from torchhebb.train import Curve, Measure, Result
from torchhebb.train.calibrate import calibrate
from torchhebb.train.diagnostics import plastic_layers, radii
from torchhebb.train.learn import learn_images

PROBE = Probe(pool=1)
SMALL: dict[str, Any] = {"passes": 1, "images": 200, "holdout": 0.3, "probe": PROBE}


@pytest.fixture(scope="module")
def answer(run: Run) -> Result:
    return evaluate(InitialRadius(values=(0.5, 3.0), **SMALL), run)


def curve(result: Result, name: str) -> Curve:
    return next(curve for curve in result.curves if curve.name == name)


def test_a_point_is_the_recipe_at_that_value_judged_on_held_out_images(answer: Result, run: Run) -> None:
    found: dict[str, list[float]] = {"accuracy": [], "block1_radius": [], "block1_cosine": [], "block2_r1": []}
    for seed in (0, 1):
        data = run.data.holdout(0.3, seed)
        order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))[:200].sort().values
        images = data.train.select(order)
        blocks = tuple(replace(b, init_radius=0.5) for b in run.recipe.architecture.blocks)  # type: ignore[call-arg]
        network = replace(run.recipe.architecture, blocks=blocks).build(seed)
        first = network.block1.layer.weight.clone().flatten(1)  # type: ignore[union-attr, operator]
        learn_images(network, images, replace(run.recipe.learning, epochs=1), seed=seed)
        calibrate(network, images, seed=seed)
        found["accuracy"].append(PROBE.score(network, data.train, data.test, run, seed))
        layers = plastic_layers(network)
        last = layers["block1.layer"].weight.flatten(1)
        found["block1_radius"].append(last.norm(dim=1).mean().item())
        found["block1_cosine"].append(((first * last).sum(1) / first.norm(dim=1) / last.norm(dim=1)).mean().item())
        found["block2_r1"].append(100 * ((radii(layers["block2.layer"]) - 1).abs() <= 0.01).float().mean().item())
    for quantity, values in found.items():
        line = curve(answer, quantity)
        assert line.x == (0.5, 3.0) and line.x_label == "initial radius" and line.std is not None
        assert line.y[0] == pytest.approx(sum(values) / 2, rel=1e-5)
        assert answer.measure(f"{quantity}_at_0.5").values == pytest.approx(tuple(values), rel=1e-5)
    assert curve(answer, "block1_radius").y[0] != pytest.approx(curve(answer, "block1_radius").y[1], rel=0.1)
    assert answer.notes["held_out_images"] == len(run.data.holdout(0.3).test)


def test_random_features_stand_beside_the_sweep_and_the_best_is_noted(answer: Result, run: Run) -> None:
    data = run.data.holdout(0.3, 1)
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))[:200].sort().values
    network = calibrate(run.recipe.architecture.build(1), data.train.select(order), seed=1)
    expected = PROBE.score(network, data.train, data.test, run, 1)
    assert answer.measure("random_accuracy").values[1] == pytest.approx(expected)
    accuracy = curve(answer, "accuracy")
    assert accuracy.y[accuracy.x.index(answer.notes["best"])] == max(accuracy.y)


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
        (InitialRadius, {"holdout": 1.0}, "the held-out part must be a fraction in"),
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
