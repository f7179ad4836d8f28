"""The page on file formats names what the files hold: its tables are compared with the files of a small run."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from torchhebb.data import Store
from torchhebb.evaluate import evaluate, get_evaluator, open_run
from torchhebb.nn.tensors import read_tensors
from torchhebb.recipes import get_recipe
from torchhebb.runs import TrainOptions, run_recipe
from torchhebb.train import Readout, Recipe

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "formats.md"


def tables(heading: str) -> list[dict[str, list[str]]]:
    """The tables below a heading of the page: of each row the names in its first cell, and those in the second."""
    section = re.split(rf"^## {re.escape(heading)}$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1]
    section = section.split("\n## ")[0]
    found: list[dict[str, list[str]]] = []
    for block in re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE):
        rows = [line.strip("|\n").split("|") for line in block.splitlines()[2:]]
        found.append(
            {name: re.findall(r"`([^`]+)`", row[1]) for row in rows for name in re.findall(r"`([^`]+)`", row[0])}
        )
    return found


def short(name: str) -> Recipe:
    """A recipe with one seed, one pass, few images and a short readout that keeps what it has on line."""
    recipe = get_recipe(name)
    learning = replace(recipe.learning, epochs=1, fraction=0.2)
    assert isinstance(recipe.readout, Readout)
    readout = replace(recipe.readout, epochs=2, batch_size=200)
    return replace(recipe, seeds=1, baselines=(), learning=learning, readout=readout)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a network with local losses and an on-line readout, evaluated."""
    folder = tmp_path_factory.mktemp("formats") / "run"
    recipe = short("sphere2025-digits")
    run_recipe(recipe, TrainOptions(), folder=folder, store=Store(folder.parent / "store"), command="torchhebb train")
    evaluate(get_evaluator("accuracy")(), open_run(folder, store=Store(folder.parent / "store")))
    return folder


def read(path: Path) -> dict[str, object]:
    value = json.loads(path.read_text(encoding="utf-8"))
    value.pop("checksum", None)
    return value


def test_every_file_of_a_run_has_a_row(run: Path):
    (rows,) = tables("The run folder")
    known = {name.rstrip("/") for name in rows} | {"accuracy.json"}
    assert {path.name for path in run.iterdir()} <= known


def test_config_json(run: Path):
    (rows,) = tables("config.json")
    assert rows.keys() == read(run / "config.json").keys() | {"numerics"}  # kept where it was measured


def test_metrics_jsonl(run: Path):
    (rows,) = tables("metrics.jsonl")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kinds = {line["kind"] for line in lines}
    assert {"local", "readout"} <= kinds <= rows.keys()
    for line in lines:
        assert set(rows[line["kind"]]) == line.keys() - {"kind"}


def test_metrics_of_plastic_layers(tmp_path: Path):
    (rows,) = tables("metrics.jsonl")
    recipe = short("softhebb2023-digits")
    run_recipe(recipe, TrainOptions(), folder=tmp_path / "run", store=Store(tmp_path / "store"))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    (line, *_) = [line for line in lines if line["kind"] == "learning"]
    assert set(rows["learning"]) == line.keys() - {"kind"}


def test_results(run: Path):
    keys, of_a_measure = tables("Results")
    for name in ("result.json", "accuracy.json"):
        result = read(run / name)
        assert result.keys() == keys.keys()
        for measure in result["measures"]:  # type: ignore[attr-defined]
            assert measure.keys() | {"interval"} == of_a_measure.keys()
    assert "interval" in read(run / "accuracy.json")["measures"][0]  # type: ignore[index]


def test_weights(run: Path):
    (rows,) = tables("Weights")
    headers = [read_tensors(run / name)[1] for name in ("model.safetensors", "readout.safetensors")]
    assert headers[0].keys() | headers[1].keys() | {"classes", "crc32"} == rows.keys()


def test_the_store(run: Path):
    (rows,) = tables("The store")
    (entry, *_) = (run.parent / "store").glob("*/entry.json")
    value = json.loads(entry.read_text())
    arrays = value["entry"]["arrays"].values()
    named = {*value, *value["entry"], *(key for array in arrays for key in array)}
    assert named == set(rows["entry.json"])
