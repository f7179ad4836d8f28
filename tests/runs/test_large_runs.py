"""Whole runs on small sets in the layout of STL-10 and ImageNet, from the command line."""

from pathlib import Path
from typing import Any

import pytest

from tests.data import made
from torchhebb import load
from torchhebb.cli import main
from torchhebb.data import Augment, load_data
from torchhebb.nn import Architecture, ConvBlock, Pool
from torchhebb.rules import SoftHebb
from torchhebb.train import Learning, Readout, Recipe, read_result

BLOCK = ConvBlock(4, 3, SoftHebb(1.0), pool=Pool("max", 2, 2), init_radius=3.0)
FLIP = Augment(crop_padding=1, flip=True)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command line that knows one more recipe, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCHHEBB_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("TORCHHEBB_DATA", str(tmp_path))

    def run(recipe: Recipe, *arguments: str) -> int:
        import torchhebb.recipes as recipes

        known = dict(recipes.recipe_functions())
        monkeypatch.setattr("torchhebb.recipes.recipe_functions", lambda: {**known, recipe.name: lambda: recipe})
        return main(list(arguments))

    return run


def test_a_set_like_stl10(command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The blocks learn from the unlabelled images alone, the readout from views of the labelled ones."""
    import torchhebb.runs.training as module

    made.stl10(tmp_path)
    learned_from = []
    learn = module.learn_images

    def watching(network: Any, images: Any, plan: Any, **rest: Any) -> Any:
        learned_from.append((len(images), images.labels.unique().tolist()))
        return learn(network, images, plan, **rest)

    monkeypatch.setattr(module, "learn_images", watching)
    recipe = Recipe(
        "made-stl10",
        "stl10",
        Architecture((3, 8, 8), (BLOCK,)),
        learning=Learning(batch_size=8, images="unlabelled"),
        readout=Readout(epochs=30, batch_size=8, lr=0.02, augment=FLIP),
        baselines=("random", "raw"),
    )
    assert command(recipe, "train", "made-stl10", "--out", "run", "--precision", "float32") == 0
    assert learned_from == [(30, [-1])]
    result = read_result(tmp_path / "run" / "result.json")
    assert {measure.name for measure in result.measures} == {
        *("test_accuracy", "random_test_accuracy", "raw_test_accuracy")
    }
    # The two classes differ in the brightness of their stripes.
    assert result.measure("test_accuracy").values[0] > 80


def test_a_set_like_imagenet_is_streamed(command: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    made.imagenet(tmp_path)
    made.imagenetv2(tmp_path)
    recipe = Recipe(
        "made-imagenet",
        "imagenet",
        Architecture((3, 16, 16), (BLOCK,), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        learning=Learning(batch_size=6, fraction=0.5, augment=Augment(flip=True, crop_area=0.3)),
        baselines=(),
        readout=Readout(epochs=2, batch_size=6, lr=0.02, augment=Augment(flip=True, crop_area=0.3)),
    )
    train = ("train", "made-imagenet", "--out", "run", "--size", "16", "--precision", "float32")
    assert command(recipe, *train) == 0
    result = read_result(tmp_path / "run" / "result.json")
    test = load_data("imagenet", size=16).test
    right = load(tmp_path / "run").eval().classifier(test.images / 255.0).argmax(1) == test.labels
    assert result.measure("test_accuracy").values[0] == pytest.approx(100 * right.double().mean().item())
    answer = ("evaluate", "accuracy", "run", "--readouts", "trained", "--test-data", "imagenetv2")
    assert command(recipe, *answer) == 0
    found = read_result(tmp_path / "run" / "accuracy.json")
    assert found.measure("test_accuracy").values == result.measure("test_accuracy").values
    assert found.measure("imagenetv2_test_accuracy").published is None
    capsys.readouterr()
    assert command(recipe, "evaluate", "accuracy", "run") == 2
    assert "is streamed, and this needs all of its 120 images at once" in capsys.readouterr().err
    assert (
        command(
            recipe, "train", "made-imagenet", "--size", "16", "--learning.order", "greedy", "--learning.epochs", "2"
        )
        == 2
    )
