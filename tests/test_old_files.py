"""Run folders and weights files that version 0.1 wrote: they open, answer and give the same outputs for ever."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import torchhebb
from torchhebb.cli import main
from torchhebb.data import load_data

OLD = Path(__file__).parent / "numbers" / "old"
OUTPUTS = json.loads((OLD / "outputs.json").read_text(encoding="utf-8"))


@pytest.fixture(params=["run", "whitened_run"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCHHEBB_STORE", str(tmp_path / "store"))
    return Path(shutil.copytree(OLD / request.param, tmp_path / request.param))


@pytest.mark.parametrize("name", OUTPUTS)
def test_weights_give_the_outputs_that_they_gave(name: str) -> None:
    network = torchhebb.load(OLD / f"{name}.safetensors").double().eval()
    x = torch.linspace(0, 1, 3 * 64).view(3, 1, 8, 8).sin().abs().double()
    outputs = network(x).flatten(1)
    torch.testing.assert_close(outputs, torch.tensor(OUTPUTS[name], dtype=torch.float64), rtol=1e-5, atol=1e-6)


def test_a_run_is_evaluated_reported_and_predicts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = json.loads((folder / "result.json").read_text(encoding="utf-8"))["measures"]
    assert main(["evaluate", "accuracy", str(folder), "--readouts", "trained", "--device", "cpu"]) == 0
    found = json.loads((folder / "accuracy.json").read_text(encoding="utf-8"))["measures"]
    for one, other in zip(kept, found, strict=True):
        assert one["name"] == other["name"] and other["mean"] == pytest.approx(one["mean"], abs=0.5)
    assert main(["report", str(folder), "--device", "cpu"]) == 0
    assert (folder / "report.html").stat().st_size > 10_000

    digits = load_data("digits").test
    network = torchhebb.load(folder)
    with torch.no_grad():
        expected = network.classifier(digits.images[:1] / 255.0).argmax(1).item()
    Image.fromarray(digits.images[0, 0].numpy()).save(folder / "digit.png")
    capsys.readouterr()
    assert main(["predict", str(folder), str(folder / "digit.png")]) == 0
    assert str(expected) in capsys.readouterr().out


def test_a_finished_run_is_resumed_without_learning_again(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
    assert main(["train", "--resume", str(folder)]) == 0
    after = {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
    assert {name: after[name] for name in before if name != "checkpoint.safetensors"} == {
        name: content for name, content in before.items() if name != "checkpoint.safetensors"
    }
