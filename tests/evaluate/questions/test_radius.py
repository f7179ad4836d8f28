"""Radii during learning: the points of the curves, the two kinds of rates, and the accuracy at the end."""

from dataclasses import replace
from typing import Any

import pytest

from tests.evaluate.by_hand import curve, drawn, ridge_by_hand
from tests.tiny import tiny_recipe
from torchhebb.data import Batches
from torchhebb.errors import UserError
from torchhebb.evaluate import Radius, Run, evaluate
from torchhebb.evaluate.probe import Probe
from torchhebb.evaluate.questions.radius import decaying
from torchhebb.nn import Architecture, SPHeReConvBlock, learn
from torchhebb.train import Recipe, Result
from torchhebb.train.calibrate import calibrate
from torchhebb.train.diagnostics import plastic_layers, r1_share, radii
from torchhebb.train.learn import make_optimizer

QUESTION = Radius(factors=(2.0,), points=3, passes=2, images=400, probe=Probe(pool=1))


@pytest.fixture(scope="module")
def answer(run: Run) -> Result:
    return evaluate(QUESTION, run)


def test_decaying_rates_are_scalar_and_fall_to_zero() -> None:
    recipe = decaying(tiny_recipe(), 2.0)
    assert [(block.lr, block.lr_power) for block in recipe.architecture.blocks] == [(0.16, 0.0), (0.01, 0.0)]  # type: ignore[union-attr]
    assert [recipe.learning.lr_factor(share) for share in (0.0, 0.5, 1.0)] == [1.0, 0.5, 0.0]


@pytest.mark.parametrize("rates", ["adaptive", "decaying_2"])
def test_a_point_is_the_layers_after_so_many_samples(rates: str, answer: Result, run: Run) -> None:
    recipe: Recipe = run.recipe if rates == "adaptive" else decaying(run.recipe, 2.0)
    images, seed = drawn(run.data.train, 400), 1
    network = recipe.architecture.build(seed)
    optimizer = make_optimizer(network, recipe.learning)
    base = [group["lr"] for group in optimizer.param_groups]
    found: dict[str, list[float]] = {}

    def look() -> None:
        for name, layer in plastic_layers(network).items():
            found.setdefault(f"{name[:6]}_r1", []).append(100 * r1_share(layer).item())
            found.setdefault(f"{name[:6]}_radius", []).append(radii(layer).mean().item())

    look()
    step = 0
    for epoch in range(2):
        for x in Batches(images.images, 50, seed=seed).epoch(epoch):
            for group, rate in zip(optimizer.param_groups, base, strict=True):
                group["lr"] = rate * recipe.learning.lr_factor(step / 16)
            learn(network.train(), x)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            if step in (2, 7, 16):  # the squares of a third and two thirds of the way, and its end
                look()
    for quantity, values in found.items():
        line = curve(answer, f"{quantity} {rates}")
        assert line.x == (0.0, 100.0, 350.0, 800.0) and line.std is not None
        assert answer.measure(f"{rates}_{quantity}").values[seed] == pytest.approx(values[-1], rel=1e-4)
        if quantity == "block1_radius":  # both seeds begin close to the initial radius
            assert line.y[0] == pytest.approx(3.0, rel=0.3) and line.y[-1] != pytest.approx(line.y[0], rel=1e-3)
    calibrate(network, images, seed=seed)
    expected = ridge_by_hand(network, run.data.train, run.data.test, seed=seed)
    assert answer.measure(f"{rates}_accuracy").values[seed] == pytest.approx(expected, abs=0.3)


def test_every_point_of_a_curve_is_the_mean_over_seeds(answer: Result) -> None:
    for rates in ("adaptive", "decaying_2"):
        for quantity in ("block1_r1", "block2_radius"):
            measure = answer.measure(f"{rates}_{quantity}")
            assert curve(answer, f"{quantity} {rates}").y[-1] == pytest.approx(measure.mean)
    assert answer.measure("adaptive_block1_r1").unit == "%" and answer.measure("adaptive_block1_radius").unit == ""


def test_the_figure_has_a_row_a_quantity(answer: Result, run: Run) -> None:
    text = (run.folder / "radius-curves.svg").read_text()
    titles = [f"block {n}: {words}" for words in ("neurons at radius 1, %", "mean radius") for n in (1, 2)]
    places = [text.index(f"<!-- {title} -->") for title in titles]
    assert places == sorted(places)
    assert "<!-- decaying from 2x -->" in text and "<!-- norm-adaptive -->" in text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"factors": (0.0,)}, r"factors must be above 0, each once, got \(0.0,\)"),
        ({"factors": (2.0, 2.0)}, "factors must be above 0, each once"),
        ({"points": 0}, "points must be at least 1, got 0"),
        ({"passes": 0}, "passes must be at least 1, got 0"),
        ({"images": 0}, "images must be at least 1, got 0"),
    ],
)
def test_mistakes_are_named_before_anything_is_trained(settings: dict[str, Any], message: str, run: Run) -> None:
    with pytest.raises(UserError, match=message):
        next(replace(QUESTION, **settings).run(run))


def test_blocks_of_local_losses_have_no_radius() -> None:
    with pytest.raises(UserError, match="block1: SPHeReConvBlock has no setting lr"):
        decaying(tiny_recipe(architecture=Architecture((1, 8, 8), (SPHeReConvBlock(8),))), 1.0)
