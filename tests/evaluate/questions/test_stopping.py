"""The stopping rule: when it stops, and that a stop is the training itself, cut off there."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluate.by_hand import drawn, ridge_by_hand
from tests.tiny import tiny_recipe
from torchhebb.data import Batches, Images
from torchhebb.errors import UserError
from torchhebb.evaluate import Run, Stopping, evaluate
from torchhebb.evaluate.probe import Probe
from torchhebb.evaluate.questions.stopping import mean_distances, settled
from torchhebb.nn import Architecture, SPHeReConvBlock, learn
from torchhebb.runs.networks import built
from torchhebb.train import Learning, Recipe, Result
from torchhebb.train.calibrate import calibrate
from torchhebb.train.learn import make_optimizer

TOLERANCES = (0.9, 0.3, 0.1, 1e-6)
NAMES = ("90_percent", "30_percent", "10_percent", "0.0001_percent", "whole")
SETTINGS: dict[str, Any] = {"passes": 3, "images": 400, "holdout": 0.3, "probe": Probe(pool=1)}
ASKED = Stopping(tolerances=TOLERANCES, looks=6, **SETTINGS)


@pytest.fixture(scope="module")
def fast(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Rates at which radii come down within the few steps of a test."""
    blocks = tuple(replace(block, lr=1.5) for block in run.recipe.architecture.blocks)  # type: ignore[call-arg]
    recipe = replace(run.recipe, architecture=replace(run.recipe.architecture, blocks=blocks))
    return replace(run, folder=tmp_path_factory.mktemp("fast"), recipe=recipe)


@pytest.fixture(scope="module")
def answer(fast: Run) -> Result:
    return evaluate(ASKED, fast)


def test_a_stop_is_the_training_cut_off_where_no_radius_comes_nearer(answer: Result, fast: Run) -> None:
    for seed in (0, 1):
        data = fast.data.holdout(0.3, seed)
        images = drawn(data.train, 400)
        network, twin = built(fast, seed), built(fast, seed)
        optimizer = make_optimizer(network, fast.recipe.learning)
        seen, before, stops = 0, mean_distances(network), {}

        def accuracy(seed: int = seed, network=network, twin=twin, images=images, data=data) -> float:  # type: ignore[no-untyped-def]
            twin.load_state_dict(network.state_dict())
            calibrate(twin, images, seed=seed)
            return ridge_by_hand(twin, data.train, data.test, seed=seed)

        for epoch in range(3):
            for x in Batches(images.images, 50, seed=seed).epoch(epoch):
                learn(network.train(), x)
                optimizer.step()
                optimizer.zero_grad()
                seen += len(x)
                if seen % 200 == 0:  # 6 looks at 1,200 images
                    now = mean_distances(network)
                    for name, tolerance in zip(NAMES, TOLERANCES, strict=False):
                        if name not in stops and all(now[b] >= (1 - tolerance) * before[b] for b in now):
                            stops[name] = (seen, accuracy())
                    before = now
        for name in NAMES:
            images_seen, expected = stops.get(name) or (1200, accuracy())
            assert answer.measure(f"{name}_images").values[seed] == images_seen
            assert answer.measure(f"{name}_accuracy").values[seed] == pytest.approx(expected, abs=0.3)


def test_tolerances_part_and_the_last_sees_all(answer: Result) -> None:
    images = [answer.measure(f"{name}_images").mean for name in NAMES]
    assert images == sorted(images) and images[0] == 200 and images[-1] == 1200 and len({*images}) > 2
    whole = answer.measure("whole_accuracy").values
    for name in NAMES[:-1]:
        lost = answer.measure(f"{name}_lost").values
        stopped = answer.measure(f"{name}_accuracy").values
        assert lost == pytest.approx([w - s for w, s in zip(whole, stopped, strict=True)])


distances = st.lists(st.floats(0, 100), min_size=1, max_size=6)


@given(st.dictionaries(st.text(min_size=1, max_size=3), distances, min_size=1, max_size=3), st.floats(0.001, 0.999))
def test_a_larger_tolerance_stops_wherever_a_smaller_one_does(found: dict[str, list[float]], tolerance: float) -> None:
    if settled(found, tolerance / 2):
        assert settled(found, tolerance)


@given(distances, st.floats(0.001, 0.999))
def test_a_layer_that_stays_does_not_hold_up_another_and_one_that_moves_does(d: list[float], tolerance: float) -> None:
    still, moving = [1.0] * len(d), [2.0 * 100 ** (len(d) - k) for k in range(len(d))]
    assert settled({"a": d, "b": still}, tolerance) == settled({"a": d}, tolerance)
    assert not settled({"a": d, "b": moving}, 0.5)


def test_distances_are_means_over_neurons() -> None:
    network = tiny_recipe().architecture.build(0)
    weight = network.block1.layer.weight  # type: ignore[union-attr, operator]
    norms = [row.double().pow(2).sum().sqrt().item() for row in weight.detach().flatten(1)]
    assert mean_distances(network)["block1"] == pytest.approx(sum(abs(n - 1) for n in norms) / len(norms))
    assert set(mean_distances(network)) == {"block1", "block2"}


def test_the_test_images_are_not_touched(fast: Run, answer: Result, tmp_path: Path) -> None:
    blank = Images(torch.zeros_like(fast.data.test.images), fast.data.test.labels)
    other = replace(fast, folder=tmp_path, data=replace(fast.data, test=blank))
    assert evaluate(ASKED, other).measures == answer.measures


def test_a_stopped_answer_goes_on_after_its_seeds(fast: Run, answer: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchhebb.evaluate.questions.stopping.fit", None)
    assert evaluate(ASKED, fast).measures == answer.measures


def test_the_figure_shows_both_blocks(answer: Result, fast: Run) -> None:
    text = (fast.folder / "stopping-stops.svg").read_text()
    for words in ("mean distance of the radii from 1", "held-out accuracy, %", "block 2", "random features"):
        assert f"<!-- {words} -->" in text


GREEDY = tiny_recipe(learning=Learning(batch_size=50, order="greedy"))
LOCAL = tiny_recipe(architecture=Architecture((1, 8, 8), (SPHeReConvBlock(8),)))


@pytest.mark.parametrize(
    ("settings", "recipe", "message"),
    [
        ({"tolerances": ()}, None, r"tolerances must be numbers that fall from below 1 to above 0, got \(\)"),
        ({"tolerances": (0.1, 0.2)}, None, "tolerances must be numbers that fall"),
        ({"tolerances": (1.0, 0.2)}, None, "tolerances must be numbers that fall"),
        ({"tolerances": (0.1, 0.0)}, None, "tolerances must be numbers that fall"),
        ({"looks": 1}, None, "looks must be at least 2, got 1"),
        ({"holdout": 1.0}, None, "holdout must be between 0 and 1, got 1.0"),
        ({}, GREEDY, "learning.order must be joint or pipeline, got greedy"),
        ({}, LOCAL, "no layer whose neurons have a radius"),
    ],
)
def test_mistakes_are_named_before_anything_is_trained(
    settings: dict[str, Any], recipe: Recipe | None, message: str, run: Run
) -> None:
    with pytest.raises(UserError, match=message):
        next(Stopping(**settings).run(replace(run, folder=Path("nowhere"), recipe=recipe or run.recipe)))
