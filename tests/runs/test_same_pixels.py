"""What training, prediction and the report see of an image is the same, whatever its source, mode, size and fit."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tiny import tiny_recipe
from torchhebb import load
from torchhebb.data import Store, load_data, open_inputs
from torchhebb.nn import Architecture, ConvBlock, Network
from torchhebb.report.collect import read_run
from torchhebb.runs import TrainOptions, run_recipe
from torchhebb.runs.folder import data_settings, read_preprocessing
from torchhebb.runs.predict import predict_files
from torchhebb.runs.run import open_run
from torchhebb.train import Readout, Recipe

MODES = ["L", "RGB", "RGBA", "LA", "P", "CMYK", "I;16", "1"]


def picture(mode: str, number: int, size: tuple[int, int]) -> Image.Image:
    """An image of class number % 2: light or dark in the middle alone, the same stripes at the sides."""
    width, height = size
    array = np.zeros((height, width), np.uint8)
    array[:, ::2] = 255
    middle = slice(width // 2 - height // 2, width // 2 + height // 2)
    array[:, middle] = 20 + number if number % 2 else 220 - number
    if mode == "I;16":
        return Image.fromarray(array.astype(np.uint16) * 4)
    grey = Image.fromarray(array)
    if mode in ("RGBA", "LA"):
        grey = grey.convert(mode)
        grey.putalpha(Image.fromarray(np.where(array == 255, 0, 200).astype(np.uint8)))
        return grey
    return grey.convert(mode)


def written(root: Path, mode: str, sizes: list[tuple[int, int]], kind: str) -> str:
    """A source of 20 images of two classes; returns its name."""
    ending = {"CMYK": "tiff"}.get(mode, "png")
    rows: dict[str, list[Any]] = {"image": [], "label": []}
    for number in range(20):
        buffer, name = io.BytesIO(), ("dark", "light")[number % 2]
        tag = Image.Exif()
        tag[0x0112] = 3 if number % 3 == 0 else 1
        picture(mode, number, sizes[number % len(sizes)]).save(buffer, {"tiff": "TIFF"}.get(ending, "PNG"), exif=tag)
        path = root / name / f"{number:02}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(buffer.getvalue())
        rows["image"].append(buffer.getvalue())
        rows["label"].append(name)
    if kind == "folder":
        return f"folder:{root}"
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(rows), root / "all.parquet")
    return f"parquet:{root / 'all.parquet'}"


def trained(folder: Path, name: str, store: Store, **settings: Any) -> tuple[Recipe, TrainOptions]:
    options = TrainOptions(precision="float32", **settings)
    channels, size = load_data(name, size=options.size, fit=options.fit, store=store).train.images.shape[1:3]
    shape = (channels, size, size)
    recipe = tiny_recipe(
        data=name,
        architecture=Architecture(shape, (ConvBlock(4, 3),)),
        readout=Readout(epochs=1),
        baselines=(),
    )
    run_recipe(recipe, options, folder=folder, store=store)
    return recipe, options


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_every_command_sees_the_pixels_of_training(tmp_path: Path, kind: str, fit: str, mode: str):
    name = written(tmp_path / "images", mode, [(24, 12), (12, 12), (16, 30)], kind)
    store, folder = Store(tmp_path / "store"), tmp_path / "run"
    trained(folder, name, store, size=8, fit=fit)
    framed = read_preprocessing(folder)
    data = open_run(folder, store=store).data
    seen = {bytes(x.numpy().tobytes()) for images in (data.train, data.test) for x in images.images}
    batches = list(open_inputs([name]).batches(framed, 7))
    given = torch.cat([batch.pixels for batch in batches])
    assert {bytes(x.numpy().tobytes()) for x in given} == seen and len(given) == 20
    report = read_run(folder, store=store)
    assert report.answers is not None and torch.equal(report.answers.images, data.test.images)
    network = load(folder)
    assert isinstance(network, Network)
    with torch.no_grad():
        wanted = network.eval().classifier(given / 255.0).softmax(1).max(1).values
    predicted = predict_files(folder, [name])
    assert [p.probabilities[0] for p in predicted] == pytest.approx(wanted.tolist(), rel=1e-5)


def test_a_class_that_the_middle_alone_shows_is_found(tmp_path: Path):
    name = written(tmp_path / "images", "L", [(48, 12)], "folder")
    store, folder = Store(tmp_path / "store"), tmp_path / "run"
    trained(folder, name, store, size=12)
    assert open_run(folder, store=store).data.train.images[0].unique().numel() == 1  # nothing but the middle
    framed = read_preprocessing(folder)
    assert framed.shape == (1, 12, 12) and framed.fit == "crop"


def test_a_run_of_an_earlier_version_squashes_as_it_did(tmp_path: Path):
    import json

    name = written(tmp_path / "images", "L", [(24, 12)], "folder")
    store, folder = Store(tmp_path / "store"), tmp_path / "run"
    recipe, options = trained(folder, name, store, size=8, fit="squash")
    config = json.loads((folder / "config.json").read_text())
    config.pop("checksum", None)
    for new in ("preprocessing",):
        del config[new]
    for new in ("fit", "skip_unreadable"):
        del config["options"][new]
    (folder / "config.json").write_text(json.dumps(config))
    assert data_settings(folder, recipe, options)["fit"] == read_preprocessing(folder).fit == "squash"
    open_run(folder, store=store)  # its fingerprint is still that of the run


def test_a_run_works_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    written(tmp_path / "images", "L", [(12, 12)], "folder")
    monkeypatch.chdir(tmp_path)
    store, folder = Store(tmp_path / "store"), tmp_path / "run"
    trained(folder, "folder:images", store, size=8)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(open_run(folder, store=store).data.train) == 16
