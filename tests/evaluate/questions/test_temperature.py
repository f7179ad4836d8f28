"""The sweep: what is trained at a temperature, what is counted of it, and on which images it is judged."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.evaluate.by_hand import accuracies_by_hand, curve, drawn
from torchhebb.data import Images
from torchhebb.errors import UserError
from torchhebb.evaluate import Run, evaluate
from torchhebb.evaluate.questions.temperature import Temperature, at_temperature
from torchhebb.functional import soft_wta
from torchhebb.nn import Architecture, LinearBlock, Network, SPHeReConvBlock
from torchhebb.rules import HardHebb, SoftHebb
from torchhebb.train import Measure, Result
from torchhebb.train.diagnostics import r1_share
from torchhebb.train.learn import learn_images

QUESTION = Temperature(inverse_temperatures=(1.0, 40.0, 1e5), passes=1, holdout=0.2, readout_epochs=4)


@pytest.fixture(scope="module")
def answer(layer: Run) -> Result:
    return evaluate(QUESTION, layer)


def trained(run: Run, inverse_temperature: float, seed: int) -> tuple[Network, Images, Images]:
    """The network at a temperature by hand, and the images that it has and has not seen."""
    data = run.data.holdout(0.2, seed)
    block = run.recipe.architecture.blocks[0]
    factor = inverse_temperature / 60.0
    block = replace(
        block, rule=SoftHebb(inverse_temperature, anti_hebbian=False), output_inverse_temperature=60.0 * factor
    )
    network = replace(run.recipe.architecture, blocks=(block,)).build(seed)
    return learn_images(network, data.train, replace(run.recipe.learning, epochs=1), seed=seed), data.train, data.test


def test_a_point_is_the_recipe_at_that_temperature_judged_on_held_out_images(answer: Result, layer: Run) -> None:
    plan = replace(layer.recipe.readout, epochs=4)
    linear, labels, winners, posterior, r1 = [], [], [], [], []
    for seed in (0, 1):
        network, kept, held = trained(layer, 40.0, seed)
        assert len(held) == answer.notes["held_out_images"] == 270
        found = accuracies_by_hand(network, kept, held, plan, seed=seed)
        linear.append(found["linear"])
        labels.append(found["labels"])
        with torch.no_grad():
            x = kept.images.flatten(1) / 255.0
            u = (x / x.norm(dim=1, keepdim=True)) @ network.block1.layer.weight.T  # type: ignore[union-attr, operator]
        winners.append(100 * len(u.argmax(1).unique()) / 30)
        posterior.append(soft_wta(u, 40.0).amax(1).mean().item())
        r1.append(100 * r1_share(network.block1.layer).item())  # type: ignore[union-attr, arg-type]
    expected = {"linear_accuracy": linear, "labels_accuracy": labels, "block1_winners": winners}
    expected |= {"block1_posterior": posterior, "block1_r1": r1}
    for quantity, values in expected.items():
        line = curve(answer, f"{quantity} hebbian")
        assert line.x == (1.0, 40.0, 1e5) and line.std is not None
        assert line.y[1] == pytest.approx(sum(values) / 2, rel=1e-4)


def test_too_soft_learns_nothing_and_the_hardest_is_the_hard_wta(answer: Result) -> None:
    linear = curve(answer, "linear_accuracy hebbian").y
    assert linear[0] < 30 < 60 < linear[1]
    posterior = curve(answer, "block1_posterior hebbian").y
    assert posterior[0] == pytest.approx(1 / 30, rel=0.2) and posterior[0] < posterior[1] < posterior[2]
    assert posterior[2] > 0.999 and answer.measure("hard_block1_posterior").values == (1.0, 1.0)
    for quantity in ("block1_winners", "block1_r1"):  # rules agree; the outputs that are read do not
        assert answer.measure(f"hard_{quantity}").mean == pytest.approx(
            curve(answer, f"{quantity} hebbian").y[2], abs=8
        )


def test_the_best_is_chosen_by_held_out_accuracy(answer: Result) -> None:
    line = curve(answer, "linear_accuracy hebbian")
    chosen = answer.notes["chosen"]["hebbian"]
    assert line.y[line.x.index(chosen)] == max(line.y)
    assert answer.measure("hebbian_best_linear_accuracy").mean == pytest.approx(max(line.y))
    best = answer.measure("hebbian_best_inverse_temperature").values
    assert len(best) == 2 and set(best) <= set(line.x)
    at_chosen = curve(answer, "block1_r1 hebbian").y[line.x.index(chosen)]
    assert answer.measure("hebbian_best_block1_r1").mean == pytest.approx(at_chosen)
    assert answer.measure("hebbian_best_block1_posterior").unit == ""


def test_the_test_images_are_not_touched(layer: Run, tmp_path: Path) -> None:
    """The same answer, in a folder without pieces, where the test images are blank."""
    run = replace(layer, result=replace(layer.result, seeds=(0,)))
    asked = replace(QUESTION, inverse_temperatures=(50.0,), hard=False)
    blank = Images(torch.zeros_like(run.data.test.images), run.data.test.labels)
    other = replace(run, folder=tmp_path, data=replace(run.data, test=blank))
    first, second = ([f for f in asked.run(where) if isinstance(f, Measure)] for where in (run, other))
    assert first == second and any(measure.name == "hebbian_best_linear_accuracy" for measure in first)


@pytest.fixture
def both(run: Run) -> Iterator[Result]:
    """The two convolutional blocks, their losers unlearning or not."""
    run = replace(run, result=replace(run.result, seeds=(0,)))
    asked = Temperature(inverse_temperatures=(0.5, 2.0), anti_hebbian=(False, True), holdout=0.5, readout_epochs=1)
    yield evaluate(asked, run)


def test_all_layers_of_a_deep_network_learn_at_one_temperature(both: Result, run: Run) -> None:
    names = {line.name for line in both.curves}
    assert {f"block{n}_r1 {losers}" for n in (1, 2) for losers in ("hebbian", "anti_hebbian")} <= names
    assert curve(both, "block2_posterior hebbian").y != curve(both, "block2_posterior anti_hebbian").y
    assert set(both.notes["chosen"]) == {"hebbian", "anti_hebbian"}
    assert len([measure for measure in both.measures if measure.name.startswith("hard_block2")]) == 3
    changed = at_temperature(run.recipe.architecture, 3.0, anti_hebbian=True)
    assert [block.rule for block in changed.blocks] == [SoftHebb(3.0)] * 2  # type: ignore[union-attr]


def test_the_output_follows_the_rule_unless_told_otherwise() -> None:
    soft = LinearBlock(5, SoftHebb(80.0, rectify=True), activation="soft_wta", output_inverse_temperature=40.0)
    hard = replace(soft, rule=HardHebb())

    def change(block: LinearBlock, t: float | None, scale: bool = True) -> LinearBlock:
        return at_temperature(Architecture((1, 8, 8), (block,)), t, scale_output=scale).blocks[0]  # type: ignore[return-value]

    assert change(soft, 20.0).output_inverse_temperature == 10.0
    assert change(soft, 20.0, scale=False).output_inverse_temperature == 40.0
    assert change(soft, 20.0).rule == SoftHebb(20.0, anti_hebbian=False, rectify=True)
    assert change(hard, 20.0).output_inverse_temperature == 40.0
    assert change(soft, None).rule == HardHebb() and change(soft, None).output_inverse_temperature == 40.0


def test_a_block_without_competition_is_refused() -> None:
    with pytest.raises(UserError, match="block1: SPHeReConvBlock does not learn by a rule"):
        at_temperature(Architecture((1, 8, 8), (SPHeReConvBlock(8),)), 1.0)


def test_the_figure_has_a_panel_a_quantity(answer: Result, layer: Run) -> None:
    assert [figure["name"] for figure in answer.notes["figures"]] == ["sweep"]
    text = (layer.folder / "temperature-sweep.svg").read_text()
    for words in ("held-out accuracy, linear readout, %", "block 1: neurons that win, %", "hard WTA", "hebbian losers"):
        assert f"<!-- {words} -->" in text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"inverse_temperatures": ()}, r"inverse_temperatures must be numbers that rise from above 0, got \(\)"),
        ({"inverse_temperatures": (0.0, 1.0)}, "inverse_temperatures must be numbers that rise from above 0"),
        ({"inverse_temperatures": (2.0, 1.0)}, "inverse_temperatures must be numbers that rise from above 0"),
        ({"anti_hebbian": (True, True)}, r"anti_hebbian must be different from each other, got \(True, True\)"),
        ({"passes": 0}, "passes must be at least 1, got 0"),
        ({"readout_epochs": 0}, "readout_epochs must be at least 1, got 0"),
        ({"images": 0}, "images must be at least 1, got 0"),
        ({"readout_images": 0}, "readout_images must be at least 1, got 0"),
        ({"holdout": 1.0}, "holdout must be between 0 and 1, got 1.0"),
    ],
)
def test_mistakes_are_named_before_anything_is_trained(
    settings: dict[str, object], message: str, layer: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchhebb.evaluate.questions.temperature.learn_run", None)
    with pytest.raises(UserError, match=message):
        next(Temperature(**settings).run(layer))  # type: ignore[arg-type]


def test_bounds_leave_a_part_of_the_images(layer: Run) -> None:
    run = replace(layer, result=replace(layer.result, seeds=(0,)))
    asked = replace(QUESTION, inverse_temperatures=(40.0,), hard=False, images=200, readout_images=100)
    found = {finding.name: finding for finding in asked.run(run)}
    data, plan = run.data.holdout(0.2, 0), replace(run.recipe.readout, epochs=4)
    network = at_temperature(run.recipe.architecture, 40.0).build(0)
    images = drawn(data.train, 200)
    learn_images(network, images, replace(run.recipe.learning, epochs=1), seed=0)
    expected = accuracies_by_hand(network, drawn(data.train, 100), data.test, plan)
    assert found["hebbian_best_linear_accuracy"].values == (pytest.approx(expected["linear"]),)  # type: ignore[union-attr]
    with torch.no_grad():
        x = images.images.flatten(1) / 255.0
        u = (x / x.norm(dim=1, keepdim=True)) @ network.block1.layer.weight.T  # type: ignore[union-attr, operator]
    winners = 100 * len(u.argmax(1).unique()) / 30
    assert found["hebbian_best_block1_winners"].values == (pytest.approx(winners),)  # type: ignore[union-attr]
