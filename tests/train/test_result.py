"""Results as JSON with their provenance."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from torchhebb.errors import UserError
from torchhebb.files import write_json
from torchhebb.train.result import Curve, Measure, Result, device_name, git_commit, read_result, software_versions


def result(**changes: object) -> Result:
    fields: dict[str, object] = {
        "recipe": "softhebb2023-cifar10",
        "question": "accuracy",
        "measures": (Measure("test_accuracy", "%", (80.3, 80.0, 80.1), 80.31), Measure("loss", "nats", (0.5,))),
        "seeds": (0, 1, 2),
        "seconds": 412.0,
        "device": "NVIDIA H100 80GB",
        "command": "torchhebb train softhebb2023-cifar10 --seeds 3",
        "data": {"name": "cifar10", "fingerprint": "ab"},
        "curves": (Curve("a", "x", "y", (1.0, 2.0), (3.0, 4.0), (0.1, 0.2)), Curve("b", "x", "y", (1.0,), (2.0,))),
        "notes": {"precision": "float32"},
    }
    return Result(**{**fields, **changes})  # type: ignore[arg-type]


def test_it_comes_back_equal(tmp_path: Path):
    result().write(tmp_path / "deep" / "result.json")
    assert read_result(tmp_path / "deep" / "result.json") == result()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["result.json"]


def test_the_file_holds_what_tables_are_made_from(tmp_path: Path):
    result().write(tmp_path / "result.json")
    data = json.loads((tmp_path / "result.json").read_text())
    keys = {"recipe", "question", "measures", "curves", "seeds", "seconds", "device", "versions", "commit", "command"}
    assert data.keys() == keys | {"data", "notes", "checksum"}
    accuracy, loss = data["measures"]
    assert accuracy == {
        "name": "test_accuracy",
        "unit": "%",
        "mean": 80.133333,
        "std": 0.152753,
        "values": [80.3, 80.0, 80.1],
        "published": 80.31,
    }
    assert loss["std"] is None, "one value has no spread"


def test_a_measure_is_found_by_name():
    assert result().measure("loss").values == (0.5,)
    with pytest.raises(KeyError):
        result().measure("speed")


def test_the_device_in_a_file_name():
    assert result().device_slug == "nvidia-h100-80gb"
    assert result(device=device_name(torch.device("cpu"))).device_slug == "cpu"


def test_where_it_was_made():
    assert software_versions()["torch"] == torch.__version__
    assert git_commit() and "\n" not in git_commit()
    assert str(torch.get_num_threads()) in device_name(torch.device("cpu"))


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", '"x"', "{}", '{"measures": []}', '{"measures": 1, "curves": 2}']
)
def test_a_damaged_file_is_said_in_one_line(tmp_path: Path, content: str):
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(UserError, match="is not a result file") as caught:
        read_result(tmp_path / "result.json")
    assert "\n" not in str(caught.value)


def test_a_missing_file_or_a_folder_is_said(tmp_path: Path):
    with pytest.raises(UserError, match="no such result"):
        read_result(tmp_path / "result.json")
    with pytest.raises(UserError, match="is not a result file"):
        read_result(tmp_path)


def test_a_place_that_is_none_is_said_in_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        result().write(tmp_path / "file" / "result.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda value: value["measures"][0].update(name=0), r"Measure\.name must be str"),
        (lambda value: value["measures"][0].update(values=["../x"]), r"Measure\.values must be float"),
        (lambda value: value["measures"][0].update(values=[]), "a measure has no values"),
        (lambda value: value.update(versions=[]), r"Result\.versions must be an object"),
        (lambda value: value.update(data=0.0), r"Result\.data must be an object"),
        (lambda value: value.update(seeds=[[0]]), r"Result\.seeds must be int"),
    ],
)
def test_values_of_other_types_are_said(tmp_path: Path, change: Any, words: str):
    value = result().to_json()
    change(value)
    write_json(tmp_path / "result.json", value)
    with pytest.raises(UserError, match=f"is not a result file .{words}"):
        read_result(tmp_path / "result.json")
