"""One grammar: every source finds the same images, labels where there are some, and names what it leaves out."""

import io
import json
import os
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tests.data.made import noise
from torchhebb.data import (
    Preprocessing,
    Store,
    Stream,
    absolute_name,
    find_source,
    from_arrays,
    is_own,
    load_data,
    open_inputs,
    survey,
)
from torchhebb.data.sources import FolderSource, hub
from torchhebb.errors import UserError


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(array))
    return path


def files(root: Path, *names: str) -> Path:
    for array, name in zip(noise(len(names)), names, strict=True):
        save(root / name, array)
    return root


# folders


def test_images_at_any_depth_below_a_class_belong_to_it(tmp_path: Path, store: Store):
    names = [f"{kind}/{deep}{i}.png" for kind in ("cat", "dog") for i in range(5) for deep in ("", "a/b/", "c/")]
    data = load_data(f"folder:{files(tmp_path / 'p', *names)}", store=store)
    assert data.classes == ("cat", "dog") and len(data.train) + len(data.test) == 30
    only_nested = files(tmp_path / "q", *[f"{kind}/deep/{i}.png" for kind in ("cat", "dog") for i in range(5)])
    assert load_data(f"folder:{only_nested}", store=store).classes == ("cat", "dog")


@pytest.mark.parametrize(
    "names",
    [
        ["a.png"],
        ["a.png", "b.png", "deep/c.png", "deeper/still/d.png"],
        ["one/a.png", "one/b.png"],
    ],
)
def test_a_tree_without_classes_has_no_labels(tmp_path: Path, store: Store, names: list[str]):
    data = load_data(f"folder:{files(tmp_path / 'p', *names)}", store=store)
    assert not data.labelled and data.classes == () and len(data.train) == len(names)
    assert data.train.labels.unique().tolist() == [-1] and data.test is data.train


def test_a_folder_that_wraps_another_stands_for_it(tmp_path: Path, store: Store):
    names = [f"set/images/{kind}/{i}.png" for kind in ("cat", "dog") for i in range(5)]
    assert load_data(f"folder:{files(tmp_path / 'p', *names)}", store=store).classes == ("cat", "dog")
    alone = files(tmp_path / "q", *[f"train/{kind}/{i}.png" for kind in ("cat", "dog") for i in range(5)])
    assert len(load_data(f"folder:{alone}", store=store).test) == 2


def test_what_is_no_image_is_left_aside_and_counted(tmp_path: Path):
    root = files(tmp_path / "p", "a.png", "b.png")
    for name in ("paper.pdf", "weights.h5", "film.mpg", "notes.txt", "more.pdf"):
        (root / name).write_text("anything")
    (root / ".hidden").mkdir()
    (root / ".hidden" / "c.png").write_text("junk")
    source = FolderSource(root)
    assert source.left_aside == {".pdf": 2, ".h5": 1, ".mpg": 1, ".txt": 1} and source.open()["all"].count == 2


def test_a_loop_of_links_ends(tmp_path: Path):
    root = files(tmp_path / "p", "a.png")
    (root / "again").symlink_to(root)
    assert FolderSource(root).open()["all"].count == 1


def test_names_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Store):
    files(tmp_path / "p", "a.png")
    monkeypatch.chdir(tmp_path)
    assert load_data("folder:p", store=store).name == f"folder:{tmp_path / 'p'}" == absolute_name("folder:p")
    assert absolute_name("hub:a/b") == "hub:a/b"


def test_unreadable_files_stop_or_are_left_out_and_named(tmp_path: Path, store: Store):
    root = files(tmp_path / "p", *[f"{kind}/{i}.png" for kind in ("cat", "dog") for i in range(6)])
    (root / "cat" / "bad.png").write_text("junk")
    short = save(root / "dog" / "short.png", noise(1, 40)[0])
    short.write_bytes(short.read_bytes()[:-3000])
    os.symlink(tmp_path / "nowhere.png", root / "dog" / "gone.png")
    with pytest.raises(UserError, match="cannot read the image .*cat/bad.png"):
        load_data(f"folder:{root}", size=6, store=store)
    data = load_data(f"folder:{root}", size=6, skip_unreadable=True, store=store)
    assert [Path(place).name for place in data.skipped] == ["bad.png", "gone.png", "short.png"]
    assert len(data.train) + len(data.test) == 12 and torch.bincount(data.train.labels).tolist() == [5, 5]
    again = load_data(f"folder:{root}", size=6, skip_unreadable=True, store=store)
    assert again.skipped == data.skipped and again.fingerprint == data.fingerprint


# Parquet


def table(path: Path, columns: dict[str, Any], features: datasets.Features | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = pa.table(columns)
    pq.write_table(made if features is None else made.cast(features.arrow_schema), path)
    return path


ARRAYS = noise(10)
BYTES = [png(array) for array in ARRAYS]
STRUCTS = [{"bytes": data, "path": None} for data in BYTES]


@pytest.mark.parametrize(
    ("columns", "classes"),
    [
        ({"picture": BYTES, "label": [0, 1] * 5}, ("0", "1")),
        ({"whatever": BYTES, "number": list(range(10))}, ()),
        ({"id": list(range(10)), "image": STRUCTS, "label": ["dog", "cat"] * 5}, ("cat", "dog")),
        ({"thumbnail": BYTES, "image": BYTES}, ()),
    ],
)
def test_columns_are_found_by_their_type_or_name(
    tmp_path: Path, store: Store, columns: dict[str, Any], classes: tuple[str, ...]
):
    for name in (table(tmp_path / "x.parquet", columns), table(tmp_path / "many" / "x.parquet", columns).parent):
        data = load_data(f"parquet:{name}", store=store)
        assert data.classes == classes and len(data.train) == (8 if classes else 10)
    if classes == ("cat", "dog"):
        assert sorted(data.train.labels.tolist()) == [0] * 4 + [1] * 4
        kept = {bytes(image.permute(1, 2, 0).numpy().tobytes()): int(label) for image, label in zip(
            data.train.images, data.train.labels, strict=True)}  # fmt: skip
        for number, array in enumerate(ARRAYS):
            if array.tobytes() in kept:
                assert kept[array.tobytes()] == 1 - number % 2


def test_features_of_the_hub_say_which_columns_are_meant(tmp_path: Path, store: Store):
    kinds = {"a": datasets.Value("binary"), "b": datasets.Image(), "kind": datasets.ClassLabel(names=["no", "yes"])}
    columns = {"a": [b"junk"] * 10, "b": STRUCTS, "kind": [0, 1] * 5}
    path = table(tmp_path / "x.parquet", columns, datasets.Features(kinds))
    assert load_data(f"parquet:{path}", store=store).classes == ("no", "yes")


def test_files_named_train_and_test_are_the_splits(tmp_path: Path, store: Store):
    for name, count in (("train-0", 6), ("train-1", 2), ("validation-0", 2)):
        table(tmp_path / "p" / "data" / f"{name}.parquet", {"image": BYTES[:count], "label": [0, 1] * (count // 2)})
    data = load_data(f"parquet:{tmp_path / 'p'}", store=store)
    assert (len(data.train), len(data.test)) == (8, 2)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"number": [1]}, "has no column of images; its columns: number"),
        ({"left": BYTES[:1], "right": BYTES[:1]}, "several columns of images: left, right; name one of them image"),
        ({"image": [None]}, "row 0 of .* holds no image"),
        ({"image": [None, b"x"]}, "row 0 of .* holds no image"),
        ({"image": BYTES[:2], "label": [0, None]}, "row 1 of .* has no label"),
        ({"image": BYTES[:2], "label": ["cat", None]}, "row 1 of .* has the label None"),
    ],
)
def test_a_table_that_does_not_fit_is_named(tmp_path: Path, store: Store, columns: dict[str, Any], message: str):
    if columns.get("image") == [None]:
        columns = {"image": pa.array([None], pa.binary())}
    path = table(tmp_path / "x.parquet", columns)
    with pytest.raises(UserError, match=message) as caught:
        load_data(f"parquet:{path}", store=store)
    assert "\n" not in str(caught.value)


# the hub


def client(monkeypatch: pytest.MonkeyPatch, features: datasets.Features, rows: dict[str, Any], bytes_each: int) -> list:
    """A hub of one data set with the splits train and validation; gives what it was asked for."""
    asked: list[Any] = []
    whole = datasets.Dataset.from_dict(rows, features=features)
    counts = SimpleNamespace(num_examples=len(whole), num_bytes=bytes_each * len(whole))
    info = SimpleNamespace(splits={"train": counts, "validation": counts}, features=features)

    def load(path: str, config: None = None, **settings: Any) -> Any:
        asked.append((path, settings))
        tables = datasets.DatasetDict(train=whole, validation=whole)
        return tables[settings["split"]].to_iterable_dataset() if settings.get("streaming") else tables

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *_, **__: SimpleNamespace(info=info))
    return asked


FEATURES = datasets.Features({"photo": datasets.Image(), "kind": datasets.ClassLabel(names=["no", "yes"])})
ROWS = {"photo": STRUCTS, "kind": [0, 1] * 5}


def test_any_set_of_the_hub(monkeypatch: pytest.MonkeyPatch, store: Store):
    asked = client(monkeypatch, FEATURES, ROWS, 100)
    data = load_data("hub:somebody/photos@main", store=store)
    assert asked == [("somebody/photos", {"revision": "main"})]
    assert data.classes == ("no", "yes") and (len(data.train), len(data.test)) == (10, 10)
    assert torch.equal(data.train.images, torch.from_numpy(ARRAYS).permute(0, 3, 1, 2))


def test_a_set_without_labels(monkeypatch: pytest.MonkeyPatch, store: Store):
    client(monkeypatch, datasets.Features({"photo": datasets.Image()}), {"photo": STRUCTS}, 100)
    data = load_data("hub:somebody/photos", store=store)
    assert data.classes == () and len(data.train) == len(data.test) == 10


@pytest.mark.parametrize("labelled", [True, False])
def test_a_set_larger_than_the_memory_allowed_is_streamed(
    monkeypatch: pytest.MonkeyPatch, store: Store, labelled: bool
):
    names = ("photo", "kind") if labelled else ("photo",)
    features = datasets.Features({name: FEATURES[name] for name in names})
    client(monkeypatch, features, {name: ROWS[name] for name in names}, 100)
    monkeypatch.setattr(hub, "memory_allowed", lambda: 999)
    data = load_data("hub:somebody/photos", size=4, store=store)
    assert isinstance(data.train, Stream) and len(data.test) == 10 and data.labelled == labelled
    assert data.train.head(3).shape == (3, 3, 4, 4)


@pytest.mark.parametrize("name", ["hub:", "hub:photos", "hub:/x", "hub:a/b/c"])
def test_a_hub_name_needs_an_owner(name: str):
    with pytest.raises(UserError, match="hub: needs"):
        find_source(name)


def test_a_hub_out_of_reach_is_one_line(monkeypatch: pytest.MonkeyPatch, store: Store):
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(datasets, "load_dataset_builder", refuse)
    with pytest.raises(UserError, match=r"cannot fetch 'somebody/photos' from the hub \(no route\)"):
        load_data("hub:somebody/photos", store=store)


# the grammar, and what is looked at


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder:", "folder: needs a path, as in folder:photos"),
        ("parquet:", "parquet: needs a path"),
        ("folder:/nowhere/at/all", "no such folder"),
        ("parquet:/nowhere/at/all", "no such file or folder"),
        ("arrays:1234", "arrays:1234 was given in memory"),
        ("cifar1", "unknown data set 'cifar1'; nearest: cifar10"),
    ],
)
def test_a_name_that_means_nothing_is_said(name: str, message: str):
    with pytest.raises(UserError, match=message):
        find_source(name)


def test_which_names_are_ones_own():
    assert all(map(is_own, ("folder:x", "parquet:x", "hub:x/y", "arrays:1"))) and not is_own("digits")


def test_a_survey_says_what_the_images_are_like(tmp_path: Path, store: Store):
    root = files(tmp_path / "p", "a.png", "b.png")
    save(root / "c.png", np.zeros((20, 10), np.uint8))
    seen = survey(find_source(f"folder:{root}"), store=store)
    assert (seen.images, seen.channels, seen.classes, seen.typical) == (3, 3, 0, (6, 6))
    assert seen.other is not None and seen.other[1] == (10, 20)
    with pytest.raises(UserError, match="images differ in size"):
        seen.preprocessing(None)
    assert seen.preprocessing(8, "pad") == Preprocessing(3, 8, 8, "pad")
    assert survey(find_source(f"folder:{root}"), store=store) == seen


def test_inputs_are_files_folders_and_sources_in_order(tmp_path: Path):
    root = files(tmp_path / "p", "cat/a.png", "cat/b.png", "dog/c.png")
    single = save(tmp_path / "single.png", noise(1)[0])
    inputs = open_inputs([single, root, f"folder:{root}", "digits"])
    assert inputs.count == 1 + 3 + 3 + 1797 and not inputs.labelled
    places = [place for place, _, _ in islice(inputs.records(), 5)]
    assert places == [str(single), *(str(root / name) for name in ("cat/a.png", "cat/b.png", "dog/c.png")),
                      str(root / "cat/a.png")]  # fmt: skip
    parts = inputs.parts(Preprocessing(3, 6, 6), 2, [range(2, 4), range(6, 7)])
    found = [(part, [place for batch in batches for place in batch.places]) for part, batches in parts]
    assert found == [(range(2, 4), places[2:4]), (range(6, 7), [str(root / "dog/c.png")])]
    assert open_inputs([root]).classes == ("cat", "dog")


def test_batches_are_decoded_in_order_and_skip_what_cannot_be_read(tmp_path: Path):
    root = files(tmp_path / "p", *[f"{i:02}.png" for i in range(20)])
    (root / "07.png").write_text("junk")
    framed = Preprocessing(3, 6, 6)
    with pytest.raises(UserError, match="07.png"):
        list(open_inputs([root]).batches(framed, 6))
    batches = list(open_inputs([root]).batches(framed, 6, skip_unreadable=True))
    assert [len(batch.pixels) for batch in batches] == [6, 5, 6, 2] and Path(batches[1].skipped[0]).name == "07.png"
    wanted = np.delete(noise(20), 7, 0).transpose(0, 3, 1, 2)
    assert torch.equal(torch.cat([batch.pixels for batch in batches]), torch.from_numpy(wanted))


def test_labels_without_names_have_an_end(tmp_path: Path) -> None:
    rows = [{"bytes": encoded(number), "path": None} for number in range(10)]
    table = pa.table({"image": rows, "label": [2**40, *range(9)]})
    pq.write_table(table, tmp_path / "data.parquet")
    with pytest.raises(UserError, match="row 0 of .*: without names of classes labels must be below 100,000"):
        load_data(f"parquet:{tmp_path}", store=Store(tmp_path / "store"))
    with pytest.raises(UserError, match="labels must lie from 0 to 99999"):
        from_arrays(np.zeros((2, 4, 4), np.uint8), [0, 2**40])


@pytest.mark.parametrize(
    "told", [{"image": 3, "label": 3}, {"label": {"_type": "ClassLabel", "names": [[1], {}]}}, [3]]
)
def test_metadata_that_make_no_sense_are_not_used(told: Any, tmp_path: Path) -> None:
    rows = [{"bytes": encoded(number), "path": None} for number in range(10)]
    table = pa.table({"image": rows, "label": [number % 2 for number in range(10)]})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": told}})})
    pq.write_table(table, tmp_path / "data.parquet")
    assert load_data(f"parquet:{tmp_path}", store=Store(tmp_path / "store")).classes == ("0", "1")


@pytest.mark.parametrize("label", [[1, 2], {"a": 1}])
def test_labels_of_an_odd_type_are_refused(label: Any, tmp_path: Path) -> None:
    rows = [{"bytes": encoded(number), "path": None} for number in range(4)]
    about = {"info": {"features": {"label": {"_type": "ClassLabel"}}}}
    table = pa.table({"image": rows, "label": [label] * 4}).replace_schema_metadata({"huggingface": json.dumps(about)})
    pq.write_table(table, tmp_path / "data.parquet")
    with pytest.raises(UserError, match="has no label"):
        load_data(f"parquet:{tmp_path}", store=Store(tmp_path / "store"))


def test_an_error_is_one_line_whatever_a_column_is_called(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a\nb\x1b[2J": [1]}), tmp_path / "data.parquet")
    with pytest.raises(UserError) as error:
        load_data(f"parquet:{tmp_path}", store=Store(tmp_path / "store"))
    assert str(error.value).isprintable() and r"a\nb\x1b[2J" in str(error.value)


def encoded(seed: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.full((5, 6), 20 * seed, np.uint8)).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize("name", ["photos.parquet", "folder/photos.parquet"])
def test_a_pipe_is_no_parquet(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)
    with pytest.raises(UserError, match="photos.parquet is no file"):
        find_source(f"parquet:{tmp_path / name.split('/')[0]}")
