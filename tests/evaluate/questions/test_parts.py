from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny import tiny_recipe
from torchhebb.data import Store
from torchhebb.errors import UserError
from torchhebb.evaluate import Parts, evaluate, open_run
from torchhebb.nn import Architecture, Pool, Tap, WhitenedBlock
from torchhebb.readouts import WideRidge
from torchhebb.recipes import get_recipe
from torchhebb.recipes.best import PARTS, cifar10_best
from torchhebb.rules import HardHebb, SoftHebb
from torchhebb.runs import TrainOptions, run_recipe
from torchhebb.train import Learning

SMALL = {"neurons": 12, "learned_from": 200, "images": 250, "held_out": 300}
ARCHITECTURE = Architecture(
    (1, 8, 8),
    (
        WhitenedBlock(16, 3, floor=0.5, pool=Pool("avg", 3, 1)),
        WhitenedBlock(14, 2, project=6, components=20, remove_mean=False),
    ),
    taps=(Tap(1, 3), Tap(2, 2)),
    tap_power=0.5,
    flip_average=True,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("parts")
    recipe = tiny_recipe(
        name="whitened",
        architecture=ARCHITECTURE,
        learning=Learning(order="greedy", schedule="linear", samples=300, fraction=0.5),
        readout=WideRidge(),
        baselines=("random",),
    )
    options = TrainOptions(device="cpu", precision="float32")
    run_recipe(recipe, options, folder=path / "run", store=Store(path / "store"))
    return path / "run"


def test_a_whitened_recipe_runs_with_its_control(folder: Path):
    result = open_run(folder).result
    assert result.measure("test_accuracy").mean > 90
    assert result.measure("random_test_accuracy").mean > 85


def test_every_part_is_measured_on_held_out_images(folder: Path, monkeypatch: pytest.MonkeyPatch):
    run = open_run(folder)
    answer = evaluate(Parts(**SMALL), run)
    assert [measure.name for measure in answer.measures] == [f"{name}_held_out_accuracy" for name in PARTS]
    values = {measure.name.removesuffix("_held_out_accuracy"): measure.mean for measure in answer.measures}
    assert all(60 < value <= 100 for value in values.values()), values
    assert values["whole"] != values["random"] and values["first_block"] != values["second_block"]
    assert len({*values.values()}) > 4, "different networks"
    assert (folder / "parts-parts.svg").read_text().count("whole network") == 1
    monkeypatch.setattr(Parts, "cell", lambda *_: pytest.fail("kept pieces are not computed again"))
    assert evaluate(Parts(**SMALL), run).measures == answer.measures


def test_each_part_changes_one_thing():
    whole = cifar10_best().architecture
    changed = {name: part.change(whole) for name, part in PARTS.items()}
    assert changed["whole"] == whole and changed["random"] == whole and not PARTS["random"].learned
    assert [name for name, other in changed.items() if other == whole] == ["whole", "random"]
    assert changed["first_block"] == replace(whole, taps=(Tap(1, 4),))
    assert changed["one_view"] == replace(whole, flip_average=False)
    assert all(block.rule == HardHebb() for block in changed["hard"].blocks)
    for before, after in zip(whole.blocks, changed["anti_hebbian"].blocks, strict=True):
        assert after == replace(before, rule=SoftHebb(before.rule.inverse_temperature))
    assert [block.lateral for block in changed["lateral"].blocks] == [True, False]  # type: ignore[attr-defined]
    none = changed["none"]
    assert not none.flip_average and none.tap_power == 1 and none.taps == changed["coarse"].taps
    assert not any(block.split or block.threshold or block.components for block in none.blocks)  # type: ignore[attr-defined]
    assert {block.shrinkage for block in none.blocks} == {1e4}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"parts": ("whole", "nothing")}, "parts must be among whole, .*, got nothing"),
        ({"neurons": 0}, "neurons must be at least 1, got 0"),
        ({"images": 2000}, "has 1348 training images"),
    ],
)
def test_mistakes(folder: Path, settings: dict, message: str):
    with pytest.raises(UserError, match=message):
        evaluate(Parts(**{**SMALL, **settings}), open_run(folder))


def test_other_networks_are_refused(tmp_path: Path):
    options = TrainOptions(device="cpu", precision="float32")
    recipe = tiny_recipe(baselines=(), readout=replace(get_recipe("softhebb2023-digits").readout, epochs=1))
    run_recipe(recipe, options, folder=tmp_path / "run", store=Store(tmp_path / "store"))
    with pytest.raises(UserError, match="has blocks that do not whiten"):
        evaluate(Parts(), open_run(tmp_path / "run"))
