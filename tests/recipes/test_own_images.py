"""The recipe for own images: what it chooses, and whole runs on images with and without labels."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from torchhebb.cli import main
from torchhebb.data import Store, Survey, find_source, from_arrays, survey
from torchhebb.embedding import embed
from torchhebb.errors import UserError
from torchhebb.evaluate import evaluate, get_evaluator
from torchhebb.nn import WhitenedBlock
from torchhebb.recipes import get_recipe
from torchhebb.recipes.own_images import own_images
from torchhebb.runs import TrainOptions, read_config, run_recipe
from torchhebb.runs.run import open_run
from torchhebb.train import Readout, read_result

PHOTOS = Survey(1000, 3, 0, ("a.jpg", (500, 375)), ("b.jpg", (300, 400)), (500, 375))


def seen(images: int, width: int, height: int, classes: int = 0, channels: int = 3) -> Survey:
    return Survey(images, channels, classes, ("a.png", (width, height)), None, (width, height))


@pytest.mark.parametrize(
    ("survey_", "shape", "depth"),
    [
        (PHOTOS, (3, 64, 64), 2),
        (seen(500, 28, 28, 10, 1), (1, 28, 28), 2),
        (seen(500, 40, 30), (3, 30, 40), 2),
        (seen(500, 8, 8, 10, 1), (1, 8, 8), 1),
        (seen(500, 100, 100), (3, 64, 64), 2),
        (seen(500, 200, 20), (3, 20, 20), 1),
        (seen(2, 3, 3), (3, 3, 3), 1),
    ],
)
def test_size_and_depth_follow_from_the_images(survey_: Survey, shape: tuple[int, int, int], depth: int):
    chosen = own_images("folder:x", survey_, free=8 << 30)
    architecture = chosen.recipe.architecture
    assert architecture.input_shape == shape == chosen.preprocessing.shape and len(architecture.blocks) == depth
    network = architecture.build()
    with torch.no_grad():
        assert network.eval()(torch.rand(2, *shape)).dim() >= 2
    assert len(chosen.reasons) == 3 and all("\n" not in line and len(line) < 120 for line in chosen.reasons)


def neurons(survey_: Survey, free: int = 8 << 30) -> int:
    block = own_images("folder:x", survey_, free=free).recipe.architecture.blocks[0]
    assert isinstance(block, WhitenedBlock)
    return block.channels


def test_more_images_give_more_neurons_and_little_memory_fewer():
    counts = [neurons(seen(count, 64, 64, 10), 32 << 30) for count in (50, 500, 5000, 50_000)]
    assert counts == sorted(set(counts))
    assert neurons(seen(50_000, 64, 64, 10), free=1 << 30) < counts[-1]
    assert neurons(seen(50_000, 64, 64, 10), free=0) == 16


def test_labels_keep_the_places_of_features():
    grids = [own_images("folder:x", seen(500, 32, 32, classes)).recipe.architecture.taps[0].pool for classes in (0, 10)]
    assert grids == [1, 4]


def test_a_large_set_is_learned_from_a_share():
    learning = own_images("folder:x", seen(200_000, 32, 32)).recipe.learning
    assert learning.fraction == 0.1 and learning.epochs == 1


def test_a_stream_is_read_out_batch_by_batch():
    recipe = own_images("hub:a/b", replace(seen(200_000, 32, 32, 10), streamed=True)).recipe
    assert isinstance(recipe.readout, Readout) and recipe.learning.epochs == 1


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    monkeypatch.setenv("TORCHHEBB_STORE", str(tmp_path / "store"))
    return Store(tmp_path / "store")


def folder(root: Path, count: int, *, classes: bool, sizes: tuple[int, ...] = (20, 26)) -> Path:
    random = np.random.default_rng(0)
    for number in range(count):
        size = sizes[number % len(sizes)]
        array = random.integers(0, 60, (size, size + 4, 3), dtype=np.uint8)
        array[:, :: 2 + number % 2] += 150  # stripes of two widths
        name = f"{('wide', 'narrow')[number % 2]}/{number}.png" if classes else f"{number % 3}/deep/{number}.png"
        if not classes and number == 0:
            name = "top.png"
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)
    (root / "notes.pdf").write_text("no image")
    return root


FLAGS = ["--architecture.blocks.0.channels", "8", "--learning.epochs", "2", "--precision", "float32"]


def test_photos_without_labels_from_train_to_report(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    folder(tmp_path / "photos", 40, classes=False)
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--data", "folder:photos", "--out", "run", *FLAGS]) == 0
    said = capsys.readouterr().out
    assert "images of 3 x 23 x 23: 40 photographs" in said and "no labels" in said
    assert "left aside, since their endings are not those of images: .pdf 1" in said
    recipe, options = read_config(Path("run"))
    assert recipe.name == "own-images" and recipe.data == f"folder:{tmp_path / 'photos'}" and options.size == 23
    result = read_result(Path("run/result.json"))
    assert {measure.name for measure in result.measures} == {"turned_block1_layer", "radius_block1_layer"}
    assert all(measure.published is None for measure in result.measures)
    assert not Path("run/readout.safetensors").exists() and Path("run/report.html").exists()
    page = Path("run/report.html").read_text()
    assert "no accuracy was measured" in page and "Learning without labels" in page
    assert "turned block1 layer" in page and "test accuracy" not in page.lower()
    assert main(["report", "run", "run", "--out", "both.html"]) == 0
    capsys.readouterr()
    assert main(["predict", "run", "photos/top.png"]) == 2
    assert "learned without labels and has no classes" in capsys.readouterr().err
    assert main(["train", "--resume", "run"]) == 0


def test_few_photos_are_enough_for_two_blocks(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch):
    """They teach many neurons the same: the second block's projection has fewer components than channels."""
    places = np.linspace(0, 1, 26)
    for number in range(3):
        waves = np.sin((number + 1) * 6 * places[:, None] + 4 * places[None])
        photo = Image.fromarray((127 + 120 * waves).astype(np.uint8)).convert("RGB")
        photo.save(tmp_path / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--data", "folder:.", "--out", "run", "--learning.epochs", "30"]) == 0
    assert len(read_config(Path("run"))[0].architecture.blocks) == 2


def test_questions_that_need_labels_say_so(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "photos", 40, classes=False)
    assert main(["train", "--data", "folder:photos", "--out", "run", *FLAGS]) == 0
    run = open_run(Path("run"), store=store)
    with pytest.raises(UserError, match="accuracy needs labels, and run learned without"):
        evaluate(get_evaluator("accuracy")(), run)
    for question in ("diagnostics", "receptive_fields"):
        evaluate(get_evaluator(question)(), run)


def test_labels_add_a_readout_beside_random_weights(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    folder(tmp_path / "photos", 60, classes=True)
    monkeypatch.chdir(tmp_path)
    assert main(["train", "own-images", "--data", "folder:photos", "--out", "run", *FLAGS]) == 0
    assert "2 classes: features keep a 4x4 grid of places" in capsys.readouterr().out
    result = read_result(Path("run/result.json"))
    assert [measure.name for measure in result.measures] == ["test_accuracy", "random_test_accuracy"]
    assert result.measure("test_accuracy").mean > 80
    assert main(["predict", "run", "photos"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if "wide" in line or "narrow" in line]) >= 60


@pytest.mark.parametrize("labelled", [False, True])
def test_arrays_are_trained_on_and_opened_again(tmp_path: Path, store: Store, labelled: bool):
    images = np.random.default_rng(0).random((60, 1, 12, 12), dtype=np.float32)
    images[::2] *= 0.2
    source = from_arrays(images, [0, 1] * 30 if labelled else None)
    chosen = own_images(source.name, survey(source)).recipe
    run_recipe(chosen, TrainOptions(precision="float32"), folder=tmp_path / "run", source=source, store=store)
    opened = open_run(tmp_path / "run", source=source, store=store)
    assert len(opened.data.train) == (48 if labelled else 60) and opened.data.labelled == labelled
    assert embed(tmp_path / "run", images).shape[0] == 60
    with pytest.raises(UserError, match="was given in memory, by from_arrays: give the same arrays again"):
        open_run(tmp_path / "run", store=store)
    with pytest.raises(UserError, match="holds another experiment"):
        other = from_arrays(images[::-1], [0, 1] * 30 if labelled else None)
        run_recipe(chosen, TrainOptions(precision="float32"), folder=tmp_path / "run", source=other, store=store)


def test_a_run_that_learned_nothing_says_so(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    folder(tmp_path / "photos", 40, classes=False)
    monkeypatch.chdir(tmp_path)
    still = ["--architecture.blocks.0.lr", "1e-9", *FLAGS]
    assert main(["train", "--data", "folder:photos", "--out", "run", *still]) == 0
    warning = "little was learned: the weights of block1.layer turned by 0.0 degrees"
    assert capsys.readouterr().out.count(warning) == 1
    assert json.loads(Path("run/result.json").read_text())["notes"]["warning"].startswith(warning)


def test_a_published_number_is_of_its_own_data_alone(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert get_recipe("softhebb2023-cifar10").published_for("test_accuracy") == 80.31
    folder(tmp_path / "photos", 40, classes=True)
    monkeypatch.chdir(tmp_path)
    flags = ["--size", "16", "--architecture.input-shape", "3", "16", "16", "--readout.epochs", "1", "--seeds", "1"]
    flags += [flag for block in range(3) for flag in (f"--architecture.blocks.{block}.channels", "4")] + ["--baselines"]
    assert main(["train", "softhebb2023-cifar10", "--data", "folder:photos", "--out", "run", *flags]) == 0
    assert read_result(Path("run/result.json")).measure("test_accuracy").published is None
    assert "80.31" not in capsys.readouterr().out and "80.31" not in Path("run/report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["own-images"], "own-images needs images of your own"),
        (["--data", "folder:nowhere"], "no such folder"),
        (["--data", "folder:photos", "--size", "x"], "--size must be a whole number, got 'x'"),
        (["--data", "folder:photos", "--fit", "stretch"], "fit"),
        (["--data", "hub:nobody"], "hub: needs OWNER/NAME"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
):
    folder(tmp_path / "photos", 4, classes=False)
    monkeypatch.chdir(tmp_path)
    assert main(["train", *arguments]) == 2
    err = capsys.readouterr().err
    progress, _, said = err.rpartition("torchhebb: ")
    assert message in said and said.count("\n") == 1 and "Traceback" not in progress and not Path("runs").exists()


def test_a_survey_of_a_folder_chooses_as_the_command_does(tmp_path: Path, store: Store):
    source = find_source(f"folder:{folder(tmp_path / 'photos', 30, classes=True)}")
    chosen = own_images(source.name, survey(source, store=store))
    assert chosen.recipe.data == source.name and chosen.recipe.architecture.taps[0].pool == 4
