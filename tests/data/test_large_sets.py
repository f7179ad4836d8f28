"""STL-10, ImageNette, ImageNet and ImageNetV2 from small files in their layout."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data import made
from torchhebb.data import Store, Stream, load_data, load_test
from torchhebb.data.decode import read_pixels
from torchhebb.data.preprocessing import Preprocessing
from torchhebb.errors import UserError


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_stl10_has_an_unlabelled_part(tmp_path: Path, store: Store):
    data = load_data("stl10", data_dir=made.stl10(tmp_path), store=store)
    assert (len(data.train), len(data.test)) == (40, 20) and data.classes == ("class 0", "class 1")
    assert data.unlabelled is not None and len(data.unlabelled) == 30
    assert data.unlabelled.labels.unique().tolist() == [-1]
    assert sorted(data.unlabelled.images[:, 1, 0, 0].tolist()) == list(range(30))
    assert data.train.labels.tolist() == [0, 1] * 20


def test_labels_of_an_unlabelled_part_are_not_read(tmp_path: Path, store: Store):
    made.stl10(tmp_path)
    images = [made.colour(1, 1)]
    made.write(tmp_path / "stl10" / "data" / "unlabeled-00000-of-00002-a1b2.parquet", images, [1], 2)
    data = load_data("stl10", data_dir=tmp_path, store=store)
    assert data.unlabelled is not None and data.unlabelled.labels.unique().tolist() == [-1]


def test_a_copy_without_the_unlabelled_part_has_none(tmp_path: Path, store: Store):
    made.stl10(tmp_path)
    with_it = load_data("stl10", data_dir=tmp_path, store=store)
    for file in (tmp_path / "stl10" / "data").glob("unlabeled-*"):
        file.unlink()
    without = load_data("stl10", data_dir=tmp_path, store=store)
    assert without.unlabelled is None and without.fingerprint != with_it.fingerprint


@pytest.mark.parametrize(("width", "height", "scaled"), [(30, 20, (24, 16)), (20, 30, (16, 24)), (16, 16, (16, 16))])
def test_photographs_have_their_shorter_side_scaled_and_their_centre_cropped(
    width: int, height: int, scaled: tuple[int, int]
):
    array = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    whole = np.array(Image.fromarray(array).resize(scaled, Image.Resampling.BILINEAR)).astype(int)
    left, top = (scaled[0] - 16) // 2, (scaled[1] - 16) // 2
    expected = whole[top : top + 16, left : left + 16].transpose(2, 0, 1)
    got = read_pixels("here", made.encoded(array), Preprocessing(3, 16, 16))
    assert np.abs(got - expected).max() <= 1


def test_imagenette_is_cut_and_scaled(tmp_path: Path, store: Store):
    folder = tmp_path / "imagenette" / "data"
    wide = made.colour(1, 5, 300, 200)
    wide[:, :50] = 255  # outside of the square in the middle
    made.write(folder / "train-00000-of-00001.parquet", [wide, made.colour(0, 9, 160, 213)], [1, 0], 2)
    made.write(folder / "validation-00000-of-00001.parquet", [made.colour(0, 1, 500, 375)], [0], 2)
    data = load_data("imagenette", data_dir=tmp_path, store=store)
    assert data.train.images.shape == (2, 3, 160, 160) and data.test.images.shape == (1, 3, 160, 160)
    inside = data.train.images[0, :, :, 2:]  # the first columns are scaled from what lies beside the square too
    assert inside[0].unique().tolist() == [1] and inside[1].unique().tolist() == [5]
    assert load_data("imagenette", data_dir=tmp_path, size=32, store=store).image_size == (32, 32)


def test_imagenet_trains_from_a_stream_and_tests_from_the_store(tmp_path: Path, store: Store):
    data = load_data("imagenet", data_dir=made.imagenet(tmp_path), size=16, store=store)
    assert isinstance(data.train, Stream) and len(data.train) == 120 and len(data.test) == 30
    assert data.test.images.shape[1:] == (3, 16, 16) and len(data.classes) == 6
    for all_at_once in ("images", "labels"):
        with pytest.raises(UserError, match="is streamed, and this needs all of its 120 images at once"):
            getattr(data.train, all_at_once)


def test_imagenetv2_is_for_evaluation_alone(tmp_path: Path, store: Store):
    images, classes = load_test("imagenetv2", data_dir=made.imagenetv2(tmp_path), size=16, store=store)
    assert images.images.shape == (6, 3, 16, 16) and images.labels.tolist() == list(range(6)) and len(classes) == 6
    with pytest.raises(UserError, match="--test-data imagenetv2"):
        load_data("imagenetv2", data_dir=tmp_path, store=store)


def test_other_sets_have_test_images_too():
    images, _ = load_test("digits")
    assert torch.equal(images.images, load_data("digits").test.images)


class Hub:
    """Stands in for the hub's client: what was asked for, and what it answers."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.error = error

    def load_dataset(self, *names: Any, **_: Any) -> Any:
        self.asked.append(names)
        raise self.error or RuntimeError("no network")

    load_dataset_builder = load_dataset


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("stl10", ("jxie/stl10", None)),
        ("imagenette", ("frgfm/imagenette", "160px")),
        ("imagenet", ("ILSVRC/imagenet-1k", None)),
    ],
)
def test_without_a_folder_the_hub_is_asked(
    name: str, asked: tuple[Any, ...], store: Store, monkeypatch: pytest.MonkeyPatch
):
    hub = Hub()
    monkeypatch.delenv("TORCHHEBB_DATA", raising=False)
    monkeypatch.setattr("torchhebb.data.sources.catalogue.need", lambda *_: hub)
    with pytest.raises(UserError, match=f"cannot fetch '{name}' from the hub"):
        load_data(name, store=store)
    assert hub.asked == [asked]


def test_a_gated_set_says_so_in_one_line(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TORCHHEBB_DATA", raising=False)
    monkeypatch.setattr(
        "torchhebb.data.sources.catalogue.need", lambda *_: Hub(RuntimeError("Dataset is gated\nlong text"))
    )
    with pytest.raises(UserError) as caught:
        load_data("imagenet", store=store)
    message = str(caught.value)
    assert "\n" not in message and "accept its terms at https://huggingface.co/datasets/ILSVRC/imagenet-1k" in message
    assert "hf auth login" in message and "--data-dir" in message


def test_a_streamed_set_on_the_hub_is_never_fetched_whole(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
):
    """The hub's client is asked for streams of the splits, and gives local files in place of those on the hub."""
    import datasets

    folder = made.imagenet(tmp_path) / "imagenet" / "data"
    files = {split: sorted(map(str, folder.glob(f"{split}-*.parquet"))) for split in ("train", "validation")}

    def load(path: str, config: None, *, split: str, streaming: bool) -> Any:
        assert (path, config, streaming) == ("ILSVRC/imagenet-1k", None, True)
        return datasets.load_dataset("parquet", data_files=files[split], split="train", streaming=True)

    counts = {"train": SimpleNamespace(num_examples=120), "validation": SimpleNamespace(num_examples=30)}
    features = {"label": datasets.ClassLabel(names=[f"class {number}" for number in range(6)])}
    builder = SimpleNamespace(info=SimpleNamespace(splits=counts, features=features))
    client = SimpleNamespace(
        load_dataset=load, load_dataset_builder=lambda *_: builder, Image=datasets.Image, config=datasets.config
    )
    monkeypatch.delenv("TORCHHEBB_DATA", raising=False)
    monkeypatch.setattr("torchhebb.data.sources.catalogue.need", lambda *_: client)
    monkeypatch.setattr("torchhebb.data.stream.need", lambda *_: client)
    data = load_data("imagenet", size=16, store=store)
    assert len(data.train) == 120 and data.test.images.shape == (30, 3, 16, 16)
    assert isinstance(data.train, Stream) and data.train.head(2).shape == (2, 3, 16, 16)
