import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import tiny_recipe
from tests.watch import Watch
from torchhebb.data import Images, Store
from torchhebb.errors import UserError
from torchhebb.evaluate import Width, evaluate, open_run
from torchhebb.evaluate.questions import width as module
from torchhebb.nn import Architecture, Pool, Tap, WhitenedBlock
from torchhebb.readouts import WideRidge
from torchhebb.recipes.patches import CHANGES, cifar10_patches
from torchhebb.runs import TrainOptions, run_recipe
from torchhebb.train import Learning
from torchhebb.train.calibrate import calibrate
from torchhebb.train.patch_features import PatchFeatures

SMALL = {"neurons": (16, 32), "group": 8, "images": 300, "held_out": 200, "learned_from": 100}
BLOCK = WhitenedBlock(16, 3, floor=0.5, pool=Pool("avg", 3, 1), split=True, threshold=0.5)
ARCHITECTURE = Architecture((1, 8, 8), (BLOCK,), taps=(Tap(1, 3),), tap_power=0.5, flip_average=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("width")
    recipe = tiny_recipe(
        name="patches",
        architecture=ARCHITECTURE,
        learning=Learning(epochs=0, samples=300),
        readout=WideRidge(),
        baselines=(),
    )
    run_recipe(
        recipe, TrainOptions(device="cpu", precision="float32"), folder=path / "run", store=Store(path / "store")
    )
    return path / "run"


def test_random_and_learned_neurons_at_every_width(folder: Path):
    answer = evaluate(Width(**SMALL, learners=("random", "hard"), test=True), open_run(folder))
    names = {
        f"{learner}_{width}_neurons_{kernel}_{part}_accuracy"
        for learner in ("random", "hard")
        for width in (16, 32)
        for kernel in ("linear", "exponential")
        for part in ("held_out", "test")
    }
    assert {measure.name for measure in answer.measures} == names
    accuracies = {measure.name: measure.mean for measure in answer.measures}
    assert all(75 < accuracy <= 100 for accuracy in accuracies.values()), accuracies
    assert len(answer.curves) == 8 and all(curve.x == (16.0, 32.0) for curve in answer.curves)
    assert not list((folder / "products").glob("*"))


def test_products_and_ridges_count_in_the_progress(folder: Path):
    watch = Watch()
    question = Width(**SMALL, strengths=(0.1, 0.2), scales=(0.1, 0.2), exponential_strengths=(0.03, 0.06, 0.1))
    evaluate(question, replace(open_run(folder), progress=watch))
    work = {task.label: (task.done, task.unit) for task in watch.tasks}
    title = "seed 0: random patches"
    for group in range(4):
        assert work[f"{title}, products with neurons from {8 * group}"] == (3, "tiles")
    for width in (16, 32):
        assert work[f"{title}, {width} neurons linear"] == (2, "ridges")
        assert work[f"{title}, {width} neurons exponential"] == (6, "ridges")
    assert all(task.finished and task.done == task.total for task in watch.tasks)


def test_stopped_at_any_group_it_ends_with_the_same_products(folder: Path, monkeypatch: pytest.MonkeyPatch):
    question, run = Width(**SMALL), open_run(folder)
    whole = module._Products(question, run, "random", 0).at(32)
    (folder / "products").rename(folder / "aside")
    monkeypatch.setattr(module, "_SAVE_SECONDS", 0.0)
    for groups in (1, 3):
        stopped = module._Products(question, run, "random", 0)
        stopped.at(8 * groups)
    again = module._Products(question, run, "random", 0)
    monkeypatch.setattr(
        again, "_features", lambda group, do=again._features: do(group) if group == 3 else pytest.fail()
    )
    assert again.at(32).width == whole.width
    assert all(torch.equal(again.at(32).tiles[place], tile) for place, tile in whole.tiles.items())
    # asked for fewer than were summed, it begins anew
    fewer = module._Products(question, run, "random", 0).at(8)
    assert fewer.width == whole.width // 4


@pytest.mark.parametrize("begun", [torch.float32, torch.bfloat16])
def test_it_goes_on_in_the_rounding_in_which_it_began(
    folder: Path, monkeypatch: pytest.MonkeyPatch, begun: torch.dtype
):
    """On another processor, say, where the other dtype is faster."""
    question, run = Width(**{**SMALL, "held_out": 190}), open_run(folder)
    monkeypatch.setattr(module, "product_dtype", lambda: begun)
    module._Products(question, run, "random", 0).at(8)
    for dtype in (torch.float32, torch.bfloat16):
        monkeypatch.setattr(module, "product_dtype", lambda dtype=dtype: dtype)
        assert module._Products(question, run, "random", 0).dtype == begun
        assert module._Products(question, run, "random", 1).dtype == dtype
    module._Products(question, run, "random", 0).path.unlink()


def test_changes_are_networks_of_their_own(folder: Path):
    changes = ("none", "grid_2", "shrinkage_high", "one_view")
    question = Width(**{**SMALL, "neurons": (16,), "held_out": 190}, changes=changes, strengths=())
    run = open_run(folder)
    answer = evaluate(question, run)
    names = ["random", *(f"random_{change}" for change in changes[1:])]
    assert [measure.name for measure in answer.measures] == [
        f"{name}_16_neurons_exponential_held_out_accuracy" for name in names
    ]
    assert len({measure.values for measure in answer.measures}) == len(changes)
    assert (folder / "width-exponential.svg").exists()
    # a change is the plain question on a run that has it
    grid = replace(run.recipe, architecture=replace(ARCHITECTURE, taps=(Tap(1, 2),)))
    direct = module._Products(question, replace(run, recipe=grid), "random", 0).at(16)
    changed = module._Products(question, run, "random", 0, "grid_2").at(16)
    assert all(torch.equal(changed.tiles[place], tile) for place, tile in direct.tiles.items())
    for path in (folder / "products").glob("*"):
        path.unlink()


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_changes_one_thing(name: str):
    plain = cifar10_patches().architecture
    changed = CHANGES[name].change(plain)
    different = differences(plain, changed)
    assert len(different) == (name != "none")
    if different == ["blocks"]:
        assert len(differences(plain.blocks[0], changed.blocks[0])) == 1
    small = changed.with_blocks(lambda block: block.with_settings(channels=8))
    pixels = torch.randint(256, (20, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    network = calibrate(small.build(0), Images(pixels, torch.zeros(20, dtype=torch.long)), seed=0)
    fast, plain_features = PatchFeatures(network, torch.float32)(pixels[:2] / 255.0), network.eval()(pixels[:2] / 255.0)
    torch.testing.assert_close(fast, plain_features.flatten(1), rtol=1e-3, atol=1e-4)


def differences(one: Any, other: Any) -> list[str]:
    """The fields in which two dataclasses differ."""
    return [f.name for f in dataclasses.fields(one) if getattr(one, f.name) != getattr(other, f.name)]


def test_patches_of_several_sizes(folder: Path):
    products = module._Products(Width(**{**SMALL, "kernel_sizes": (2, 3)}), open_run(folder), "random", 0)
    sizes = [products._network(group).architecture.blocks[0].kernel_size for group in range(3)]  # type: ignore[union-attr]
    assert sizes == [2, 3, 2]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learners": ("random", "nothing")}, "learners must be among random, .*, got nothing"),
        ({"changes": ("none", "patches_4"), "kernel_sizes": (6,)}, "kernel_sizes must be left out with .* patches_4"),
        ({"changes": ("grid_3",)}, "changes must leave out grid_3: patches has that already"),
        ({"changes": ("none", "nothing")}, "changes must be among none, .*, got nothing"),
        ({"neurons": (16, 20)}, "neurons must be multiples of group, 8, got 20"),
        ({"images": 2000}, "has 1348 training images"),
    ],
)
def test_mistakes(folder: Path, settings: dict, message: str):
    with pytest.raises(UserError, match=message):
        evaluate(Width(**{**SMALL, **settings}), open_run(folder))


def test_too_little_memory_is_said_before_anything_is_computed(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "free_bytes", lambda _: 1000)
    with pytest.raises(UserError, match=r"products of 500 images need 0.0 GB of memory"):
        evaluate(Width(**{**SMALL, "images": 301, "held_out": 199}), open_run(folder))


def test_an_answer_that_is_kept_needs_no_memory(folder: Path, monkeypatch: pytest.MonkeyPatch):
    question, run = Width(**{**SMALL, "neurons": (8,)}), open_run(folder)
    first = evaluate(question, run)
    monkeypatch.setattr(module, "free_bytes", lambda _: 1000)
    assert evaluate(question, run).measures == first.measures
    with pytest.raises(UserError, match="need 0.0 GB of memory"):
        evaluate(replace(question, neurons=(8, 16)), run)


def test_the_memory_of_a_change_counts(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "free_bytes", lambda _: 40_000_000)
    question, run = Width(**{**SMALL, "neurons": (1000,), "group": 1000}), open_run(folder)
    question.check(run)
    with pytest.raises(UserError, match=r"products of 500 images need 0.1 GB of memory and 0.0 GB are free"):
        replace(question, changes=("none", "grid_6")).check(run)


def test_other_networks_are_refused(tmp_path: Path):
    two = replace(ARCHITECTURE, blocks=(BLOCK, replace(BLOCK, kernel_size=1, pool=None)))
    recipe = tiny_recipe(architecture=two, learning=Learning(epochs=0), readout=WideRidge(), baselines=())
    run_recipe(recipe, TrainOptions(device="cpu"), folder=tmp_path / "run", store=Store(tmp_path / "store"))
    with pytest.raises(UserError, match="is not one block of whitened patches"):
        evaluate(Width(), open_run(tmp_path / "run"))
