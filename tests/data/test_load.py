"""Names to tensors: digits, local Parquet, the hub, image folders, and every mistake a user can make with them.

Long because each source of images meets the same list of mistakes.
"""

import builtins
import io
import os
import subprocess
import sys
from dataclasses import astuple

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tests.watch import Watch
from torchhebb.data import Store, list_data, load_data
from torchhebb.data.images import stratified_split
from torchhebb.errors import UserError


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture(autouse=True)
def no_data_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("TORCHHEBB_DATA", raising=False)
    monkeypatch.setenv("TORCHHEBB_STORE", str(tmp_path / "default-store"))


def pixels(count, channels, size=6, seed=0):
    shape = (count, size, size) if channels == 1 else (count, size, size, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def png(array) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def jpeg(array) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "JPEG")
    return buffer.getvalue()


def write_parquet(path, encoded, labels, image="img", label="label", classes=("no", "yes"), rows=4):
    features = datasets.Features({image: datasets.Image(), label: datasets.ClassLabel(names=list(classes))})
    table = pa.table({image: [{"bytes": data, "path": None} for data in encoded], label: labels})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.cast(features.arrow_schema), path, row_group_size=rows)


def write_cifar(folder, train=10, test=5, **columns):
    arrays = pixels(train, 3), pixels(test, 3, seed=1)
    half = train // 2
    data = folder / "cifar10" / "data"
    labels = [i % 2 for i in range(train)]
    train_png = [png(a) for a in arrays[0]]
    write_parquet(data / "train-00000-of-00002.parquet", train_png[:half], labels[:half], **columns)
    write_parquet(data / "train-00001-of-00002.parquet", train_png[half:], labels[half:], **columns)
    write_parquet(data / "test-00000-of-00001.parquet", [png(a) for a in arrays[1]], [1] * test, **columns)
    return arrays


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def write_folder(root, count=5, channels=3, classes=("cat", "dog"), size=6):
    for seed, name in enumerate(classes):
        for i, array in enumerate(pixels(count, channels, size, seed)):
            save(root / name / f"{i}.png", array)
    return root


DIGITS = "1e109b6e69a09025"


# digits


def test_digits_are_split_once_and_evenly():
    data = load_data("digits")
    assert len(data.train) == 1348 and len(data.test) == 449
    assert data.train.images.dtype == torch.uint8 and data.train.labels.dtype == torch.int64
    assert int(data.train.images.min()) == 0 and int(data.train.images.max()) == 255
    share = torch.bincount(data.test.labels) / (torch.bincount(data.test.labels) + torch.bincount(data.train.labels))
    assert float((share - 0.25).abs().max()) < 0.01
    # A changed split would make every published result on the digits incomparable.
    assert data.fingerprint == load_data("digits").fingerprint == DIGITS
    assert data.classes == tuple("0123456789") and data.in_channels == 1 and data.image_size == (8, 8)


def test_digits_scale_sixteen_to_255():
    assert set(load_data("digits").train.images.unique().tolist()) <= {round(v * 255 / 16) for v in range(17)}


def test_digits_can_be_resized():
    assert load_data("digits", size=16).image_size == (16, 16)


def test_names_are_listed():
    assert set(list_data()) == {
        *("cifar10", "cifar100", "digits", "fashion_mnist", "imagenet", "imagenette", "imagenetv2", "mnist", "stl10"),
        "tiny_imagenet",
    }


# Parquet


@pytest.mark.parametrize("installed", [True, False])
def test_parquet_is_decoded_exactly(tmp_path, store, monkeypatch, installed):
    train, test = write_cifar(tmp_path / "da[t]a")
    if not installed:
        without(monkeypatch, "datasets")
    data = load_data("cifar10", data_dir=tmp_path / "da[t]a", store=store)
    assert torch.equal(data.train.images, torch.from_numpy(train).permute(0, 3, 1, 2))
    assert torch.equal(data.test.images, torch.from_numpy(test).permute(0, 3, 1, 2))
    assert data.train.labels.tolist() == [0, 1] * 5 and data.test.labels.tolist() == [1] * 5
    assert data.classes == ("no", "yes") and data.name == "cifar10"


def without(monkeypatch, *packages):
    """Make an import of `packages` fail, as where they are not installed."""
    real = builtins.__import__

    def refuse(name, *rest):
        if name.split(".")[0] in packages:
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    for name in [name for name in sys.modules if name.split(".")[0] in packages]:
        monkeypatch.setitem(sys.modules, name, None)


def test_data_is_decoded_once(tmp_path, store, monkeypatch):
    write_cifar(tmp_path)
    first, second = Watch(), Watch()
    a = load_data("cifar10", data_dir=tmp_path, store=store, progress=first)
    monkeypatch.setenv("TORCHHEBB_DATA", str(tmp_path))
    b = load_data("cifar10", store=store, progress=second)
    looked, decoded = ("looking at the images", 2, "images", 2, True), ("decoding cifar10", 15, "images", 15, True)
    assert [astuple(task) for task in first.tasks] == [looked, decoded] and second.tasks == []
    assert a.fingerprint == b.fingerprint and torch.equal(a.train.images, b.train.images)


def test_other_columns_of_cifar100(tmp_path, store):
    for split in ("train", "test"):
        path = tmp_path / "cifar100" / "data" / f"{split}-0.parquet"
        write_parquet(path, [png(a) for a in pixels(4, 3)], [0, 1, 0, 1], label="fine_label")
    assert len(load_data("cifar100", data_dir=tmp_path, store=store).train) == 4


def write_tiny_imagenet(folder):
    """As the hub lays it out: RGB and grey JPEG among 64x64 images, and a split `valid` in place of `test`."""
    columns = dict(image="image", classes=("n01443537", "n01629819"))
    train, valid = pixels(5, 3, 64), pixels(3, 3, 64, seed=1)
    encoded = [*map(jpeg, train), jpeg(train[0, ..., 0])]
    name = "00000-of-00001-0123456789abcdef.parquet"
    write_parquet(folder / "tiny_imagenet" / "data" / f"train-{name}", encoded, [0, 1, 0, 1, 1, 0], **columns)
    write_parquet(folder / "tiny_imagenet" / "data" / f"valid-{name}", [jpeg(a) for a in valid], [1, 0, 1], **columns)
    return encoded


def test_tiny_imagenet_is_tested_on_its_valid_split(tmp_path, store):
    encoded = write_tiny_imagenet(tmp_path)
    data = load_data("tiny_imagenet", data_dir=tmp_path, store=store)
    assert data.classes == ("n01443537", "n01629819") and data.image_size == (64, 64)
    assert data.train.labels.tolist() == [0, 1, 0, 1, 1, 0] and data.test.labels.tolist() == [1, 0, 1]
    for image, wanted in zip(data.train.images, encoded, strict=True):
        with Image.open(io.BytesIO(wanted)) as decoded:
            assert torch.equal(image, torch.from_numpy(np.array(decoded.convert("RGB"))).permute(2, 0, 1))
    (tmp_path / "tiny_imagenet" / "data" / "valid-00000-of-00001-0123456789abcdef.parquet").unlink()
    with pytest.raises(UserError, match=r"expected .*/tiny_imagenet/data/valid-\*.parquet"):
        load_data("tiny_imagenet", data_dir=tmp_path, store=store)


def test_changed_parquet_gives_fresh_data(tmp_path, store):
    write_cifar(tmp_path)
    before = load_data("cifar10", data_dir=tmp_path, store=store).fingerprint
    write_cifar(tmp_path, train=12)
    assert load_data("cifar10", data_dir=tmp_path, store=store).fingerprint != before


def corrupt_row(data):
    encoded = [png(a) for a in pixels(6, 3)]
    encoded[4] = encoded[4][:40]
    write_parquet(data / "test-0.parquet", encoded, [0] * 6)


def missing_row(data):
    write_parquet(data / "test-0.parquet", [png(pixels(1, 3)[0]), None], [0, 0])


def odd_size(data):
    write_parquet(data / "test-0.parquet", [png(pixels(1, 3)[0]), png(pixels(1, 3, size=8)[0])], [0, 0])


def unlabelled(data):
    write_parquet(data / "test-0.parquet", [png(pixels(1, 3)[0])], [-1])


def not_parquet(data):
    (data / "test-0.parquet").write_bytes(b"PAR1 no")


def other_split_size(data):
    write_parquet(data / "test-0.parquet", [png(pixels(1, 3, size=8)[0])], [0])


def other_columns(data):
    write_parquet(data / "test-0.parquet", [png(pixels(1, 3)[0])], [0], image="picture")


@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.parametrize(
    "harm, message",
    [
        (corrupt_row, r"cannot read the image row 4 of .*cifar10/data"),
        (missing_row, r"row 1 of .*cifar10/data/test-0.parquet holds no image"),
        (odd_size, r"row 0 of .* is 6x6, row 1 of .* is 8x8; .*--size"),
        (unlabelled, r"row 0 of .* has the label -1; expected 0 to 1"),
        (not_parquet, r"cannot read the Parquet in .*test-0.parquet"),
        (other_split_size, r"the first train image is 6x6, the first test image is 8x8; .*--size"),
        (other_columns, r"test-0.parquet has no column img; its columns: picture, label"),
    ],
)
def test_bad_parquet_is_named(tmp_path, store, monkeypatch, harm, message, installed):
    write_cifar(tmp_path)
    (tmp_path / "cifar10" / "data" / "test-00000-of-00001.parquet").unlink()
    harm(tmp_path / "cifar10" / "data")
    if not installed:
        without(monkeypatch, "datasets")
    with pytest.raises(UserError, match=message) as caught:
        load_data("cifar10", data_dir=tmp_path, store=store)
    assert "\n" not in str(caught.value) and not [entry for entry in store.entries() if "data" in entry.key]


def test_a_process_ends_after_an_error_that_nobody_catches(tmp_path):
    write_cifar(tmp_path)
    data = tmp_path / "cifar10" / "data"
    encoded = [png(a) for a in pixels(3000, 3)]
    encoded[700] = b"junk"
    write_parquet(data / "train-00000-of-00002.parquet", encoded, [0] * 3000, rows=1000)
    store = tmp_path / "store"
    code = (
        "from torchhebb.data import Store, load_data\n"
        f"load_data('cifar10', data_dir={str(tmp_path)!r}, store=Store({str(store)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and "UserError: cannot read the image row 700" in last


def test_a_data_folder_that_is_set_is_the_only_place_looked_in(tmp_path, store, monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("the hub was asked"))
    with pytest.raises(UserError, match=r"no data set 'mnist' in .*: expected .*/mnist/data/train-\*.parquet"):
        load_data("mnist", data_dir=tmp_path, store=store)
    monkeypatch.setenv("TORCHHEBB_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="no such data folder: .*nowhere"):
        load_data("mnist", store=store)


# the hub


def test_without_a_data_folder_the_hub_is_asked(store, monkeypatch):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["no", "yes"])})
    array = pixels(4, 1)
    rows = {"image": [{"bytes": png(a), "path": None} for a in array], "label": [0, 1, 1, 0]}
    table = datasets.Dataset.from_dict(rows, features=features)
    asked = []

    def hub(path, config):
        asked.append(path)
        assert config is None
        return datasets.DatasetDict(train=table, test=table)

    monkeypatch.setattr(datasets, "load_dataset", hub)
    for _ in range(2):
        data = load_data("mnist", store=store)
    assert asked == ["ylecun/mnist"]
    assert torch.equal(data.train.images, torch.from_numpy(array)[:, None]) and data.classes == ("no", "yes")


def test_the_hub_is_asked_for_its_own_name_of_the_test_split(store, monkeypatch):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["no", "yes"])})
    array = pixels(4, 3)
    rows = {"image": [{"bytes": png(a), "path": None} for a in array], "label": [0, 1, 1, 0]}
    table = datasets.Dataset.from_dict(rows, features=features)
    tables = datasets.DatasetDict(train=table, valid=table.select([2, 1]))
    monkeypatch.setattr(datasets, "load_dataset", lambda path, config: {"zh-plus/tiny-imagenet": tables}[path])
    data = load_data("tiny_imagenet", store=store)
    assert data.test.labels.tolist() == [1, 1] and len(data.train) == 4


def test_a_hub_out_of_reach_is_one_line(store, monkeypatch):
    def refuse(path, config):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(UserError, match=r"cannot fetch 'mnist' from the hub \(no route\); .*--data-dir") as caught:
        load_data("mnist", store=store)
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_named(store, monkeypatch):
    without(monkeypatch, "datasets")
    with pytest.raises(UserError, match="fetching mnist from the hub needs the package datasets: pip install datasets"):
        load_data("mnist", store=store)


# folders


def test_a_divided_folder(tmp_path, store):
    write_folder(tmp_path / "train", count=4)
    write_folder(tmp_path / "test", count=2)
    data = load_data(f"folder:{tmp_path}", store=store)
    assert len(data.train) == 8 and len(data.test) == 4 and data.classes == ("cat", "dog")
    assert torch.equal(data.train.images[4], torch.from_numpy(pixels(4, 3, seed=1)[0]).permute(2, 0, 1))


def test_an_undivided_folder_holds_out_a_fifth(tmp_path, store):
    write_folder(tmp_path / "p", count=10)
    (tmp_path / "p" / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "p" / "cat" / ".hidden.png").write_text("not an image")
    (tmp_path / "p" / "empty").mkdir()
    data = load_data(f"folder:{tmp_path / 'p'}", store=store)
    assert torch.bincount(data.train.labels).tolist() == [8, 8] and torch.bincount(data.test.labels).tolist() == [2, 2]
    assert load_data(f"folder:{tmp_path / 'p'}", store=Store(tmp_path / "other")).fingerprint == data.fingerprint


def test_an_edited_folder_gives_fresh_data(tmp_path, store):
    root = write_folder(tmp_path / "p")
    before = load_data(f"folder:{root}", store=store)
    path = save(root / "cat" / "0.png", pixels(1, 3, seed=9)[0])
    os.utime(path, ns=(1, 1))
    after = load_data(f"folder:{root}", store=store)
    assert after.fingerprint != before.fingerprint
    assert load_data(f"folder:{root}", store=store).fingerprint == after.fingerprint


@pytest.mark.parametrize(
    "convert, channels",
    [
        (lambda image: image, 1),
        (lambda image: image.convert("LA"), 1),
        (lambda image: image.convert("RGB"), 3),
        (lambda image: image.convert("RGBA"), 3),
        (lambda image: image.convert("P"), 3),
    ],
)
def test_one_image_in_colour_makes_all_of_them_rgb(tmp_path, store, convert, channels):
    root = write_folder(tmp_path / "p", channels=1)
    path = root / "dog" / "4.png"
    with Image.open(path) as image:
        converted = convert(image.copy())
    converted.save(path)
    data = load_data(f"folder:{root}", store=store)
    assert data.in_channels == channels
    assert data.train.images.shape[1] == data.test.images.shape[1] == channels


def test_sixteen_bits_are_scaled_to_eight(tmp_path, store):
    root = write_folder(tmp_path / "p", channels=1)
    deep = pixels(1, 1)[0].astype(np.uint16) * 257
    for path in root.rglob("*.png"):
        save(path, deep)
    assert torch.equal(load_data(f"folder:{root}", store=store).test.images[0, 0], torch.from_numpy(pixels(1, 1)[0]))


def test_a_turned_photo_stands_upright(tmp_path, store):
    tag = Image.Exif()
    tag[0x0112] = 6
    for name in ("cat", "dog"):
        for i in range(5):
            save(tmp_path / "p" / name / f"{i}.png", np.zeros((4, 6), np.uint8), exif=tag)
    assert load_data(f"folder:{tmp_path / 'p'}", store=store).image_size == (6, 4)


def test_a_size_brings_images_together(tmp_path, store):
    root = write_folder(tmp_path / "p")
    save(root / "cat" / "9.png", pixels(1, 3, size=12)[0])
    data = load_data(f"folder:{root}", size=3, store=store)
    assert data.image_size == (3, 3)
    assert load_data(f"folder:{root}", size=4, store=store).image_size == (4, 4)


def two_sizes(root):
    save(write_folder(root) / "dog" / "9.png", pixels(1, 3, size=8)[0])


def junk(root):
    (write_folder(root) / "dog" / "bad.png").write_text("junk")


def cut_short(root):
    path = write_folder(root, size=40) / "dog" / "3.png"
    path.write_bytes(path.read_bytes()[:-2000])


def vanished(root):
    (write_folder(root) / "dog" / "gone.png").symlink_to(root / "nothing.png")


def unseen_class(root):
    write_folder(root / "train")
    write_folder(root / "test", classes=("cat", "eel"))


def too_few(root):
    write_folder(root, count=1)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda root: None, "no such folder: .*/p$"),
        (lambda root: root.mkdir(), "no images in .*/p: expected one folder of images per class"),
        (lambda root: (root / "cat").mkdir(parents=True), "no images in .*/p"),
        (two_sizes, r"images differ in size: .*0.png is 6x6, .*9.png is 8x8; .*--size"),
        (junk, r"cannot read the image .*/dog/bad.png: it is not an image"),
        (cut_short, r"cannot read the image .*/dog/3.png: "),
        (vanished, r"cannot read the image .*/dog/gone.png: No such file"),
        (unseen_class, r"has the class 'eel', which .*/train does not; known: cat, dog"),
        (too_few, r"2 images in 2 classes: too few to hold out a fifth"),
    ],
)
def test_a_folder_that_cannot_be_used_is_named(tmp_path, store, make, message):
    make(tmp_path / "p")
    with pytest.raises(UserError, match=message) as caught:
        load_data(f"folder:{tmp_path / 'p'}", store=store)
    assert "\n" not in str(caught.value) and not [entry for entry in store.entries() if "data" in entry.key]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(name="cifar1"), "unknown data set 'cifar1'; nearest: cifar10"),
        (dict(name="folder:"), "folder: needs a path"),
        (dict(name="digits", size=0), "size must be at least 1, got 0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(UserError, match=message):
        load_data(**arguments)


# splits


def test_holdout_divides_the_training_images_alone():
    data = load_data("digits")
    part = data.holdout(0.2, seed=1)
    assert len(part.test) == round(0.2 * len(data.train)) and len(part.train) + len(part.test) == len(data.train)
    assert len(data.holdout(100).test) == 100
    assert part.fingerprint == data.holdout(0.2, seed=1).fingerprint
    assert part.fingerprint not in {data.fingerprint, data.holdout(0.2, seed=2).fingerprint}
    assert not torch.equal(part.test.labels, data.holdout(0.2, seed=2).test.labels)


@pytest.mark.parametrize("part", [0, 0.0, 1.0, 1.5, -3, 1348])
def test_a_holdout_that_leaves_nothing_is_refused(part):
    with pytest.raises(UserError, match="held-out part must be a fraction"):
        load_data("digits").holdout(part)


def test_a_split_is_exact_even_and_keeps_every_class():
    labels = torch.tensor([0] * 50 + [1] * 7 + [2])
    kept, held = stratified_split(labels, 20, seed=0)
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(58))
    assert torch.bincount(labels[held], minlength=3).tolist() == [17, 3, 0]
    assert stratified_split(labels, 20, seed=0)[1].tolist() == held.tolist()
