"""Classes of image files by a trained run: what the classifier says of the same pixels."""

from pathlib import Path

import pytest
from PIL import Image

from tests.tiny import few_digits, tiny_recipe
from torchhebb import load
from torchhebb.data import Store
from torchhebb.errors import UserError
from torchhebb.runs import TrainOptions, run_recipe
from torchhebb.runs.predict import predict_files
from torchhebb.train import Learning, Readout

TEST = few_digits().test


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("run")
    recipe = tiny_recipe(learning=Learning(epochs=5), readout=Readout(epochs=3), baselines=())
    store = Store(tmp_path_factory.mktemp("store"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchhebb.runs.training.load_data", lambda *_, **__: few_digits())
        run_recipe(recipe, TrainOptions(precision="float32"), folder=folder, store=store)
    return folder


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """The first test images as PNG files."""
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    for path, pixels in zip(paths, TEST.images, strict=False):
        Image.fromarray(pixels[0].numpy()).save(path)
    return paths


def test_it_says_what_the_classifier_says(run: Path, images: list[Path]):
    logits = load(run).eval().classifier(TEST.images[:6] / 255.0)
    found = predict_files(run, images)
    assert [prediction.path for prediction in found] == images
    assert [prediction.classes for prediction in found] == [(str(k),) for k in logits.argmax(1).tolist()]
    for prediction, probabilities in zip(found, logits.softmax(1), strict=True):
        assert prediction.probabilities[0] == pytest.approx(probabilities.max().item(), rel=1e-4)


def test_the_likeliest_come_first(run: Path, images: list[Path]):
    for prediction in predict_files(run, images, top=10):
        assert len(set(prediction.classes)) == 10
        assert list(prediction.probabilities) == sorted(prediction.probabilities, reverse=True)
        assert sum(prediction.probabilities) == pytest.approx(1.0)


def test_files_of_any_size_and_colour_are_scaled(run: Path, images: list[Path], tmp_path: Path):
    exact = predict_files(run, images[:1])[0]
    picture = Image.open(images[0])
    picture.resize((64, 64), Image.Resampling.NEAREST).convert("RGB").save(tmp_path / "large.png")
    picture.convert("RGBA").save(tmp_path / "alpha.png")
    large, alpha = predict_files(run, [tmp_path / "large.png", tmp_path / "alpha.png"])
    assert alpha.classes == exact.classes and alpha.probabilities == pytest.approx(exact.probabilities, rel=1e-4)
    assert large.classes == exact.classes


@pytest.mark.parametrize("top", [0, -1, 11])
def test_top_out_of_range_is_said(run: Path, images: list[Path], top: int):
    with pytest.raises(UserError, match=rf"top must lie between 1 and .* \(10\), got {top}"):
        predict_files(run, images, top=top)


def test_what_is_no_image_is_said(run: Path, images: list[Path], tmp_path: Path):
    (tmp_path / "text.png").write_text("not an image")
    for path in (tmp_path / "text.png", tmp_path / "missing.png", tmp_path):
        with pytest.raises(UserError, match="cannot read the image") as caught:
            predict_files(run, [images[0], path])
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_run_that_is_none_or_not_finished_is_said(run: Path, images: list[Path], tmp_path: Path):
    with pytest.raises(UserError, match="is not a run folder"):
        predict_files(tmp_path, images)
    with pytest.raises(UserError, match="is not a run folder"):
        predict_files(images[0], images)
    for name in ("config.json", "classes.json", "model.safetensors"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    with pytest.raises(UserError, match=f"is not finished: continue with torchhebb train --resume {tmp_path}"):
        predict_files(tmp_path, images)
    (tmp_path / "classes.json").write_text("[")
    with pytest.raises(UserError, match=r"classes\.json"):
        predict_files(tmp_path, images)
