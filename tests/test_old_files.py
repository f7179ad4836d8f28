"""Run folders and weights files that version 0.1 wrote: they open, answer and give the same outputs for ever."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import torchhebb
from tests.kept_numbers import compare, numbers, weights
from tests.tiny import learned, untimed
from torchhebb.cli import main
from torchhebb.data import load_data
from torchhebb.nn import LinearBlock
from torchhebb.runs import read_config
from torchhebb.train import Readout, read_result
from torchhebb.train.recipe import AdamW

OLD = Path(__file__).parent / "numbers" / "old"
OUTPUTS = json.loads((OLD / "outputs.json").read_text(encoding="utf-8"))


RUNS = sorted(path.parent.name for path in OLD.glob("*/config.json"))
STOPPED = sorted(path.parent.name for path in (OLD / "stopped").glob("*/config.json"))


@pytest.fixture(params=RUNS)
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
    def kept() -> dict[str, bytes]:
        return {name: content for name, content in learned(folder).items() if name != "checkpoint.safetensors"}

    before, lines = kept(), (folder / "metrics.jsonl").read_bytes()
    measures = json.loads((folder / "result.json").read_text(encoding="utf-8"))["measures"]
    assert main(["train", "--resume", str(folder)]) == 0
    assert kept() == before and (folder / "metrics.jsonl").read_bytes() == lines
    found = json.loads((folder / "result.json").read_text(encoding="utf-8"))["measures"]
    assert all(measure.pop("interval") for measure in found), "version 0.1 kept none"
    assert found == measures


@pytest.mark.parametrize("name", STOPPED)
def test_a_stopped_run_goes_on_where_it_was(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHHEBB_STORE", str(tmp_path / "store"))
    folder = Path(shutil.copytree(OLD / "stopped" / name, tmp_path / name))
    assert main(["train", "--resume", str(folder)]) == 0
    before, after = (untimed(where / "metrics.jsonl") for where in (OLD / "stopped" / name, folder))
    assert after[: len(before)] == before and len(after) > len(before)
    assert len({json.dumps(line) for line in after}) == len(after), "a line was logged twice"
    shutil.rmtree(folder / "baselines", ignore_errors=True)  # which version 0.1 did not keep
    found = numbers(read_result(folder / "result.json")) | {"weights": weights(folder)}
    compare(found, OLD / "stopped" / f"{name}.json")


def test_settings_keep_their_values_under_other_names() -> None:
    learning = read_config(OLD / "local_run")[0].learning
    assert (learning.fraction, learning.final_lr_fraction, learning.schedule) == (0.75, 0.1, "cosine")
    assert isinstance(learning.optimizer, AdamW) and learning.optimizer.lr == 1e-2
    recipe, options = read_config(OLD / "ensemble_run")
    assert (recipe.seeds, options.ensemble, recipe.learning.final_lr_fraction) == (2, 2, 0.25)
    readout = read_config(OLD / "augmented_run")[0].readout
    assert isinstance(readout, Readout) and readout.augment.crop_area == 0.8
    block = read_config(OLD / "posterior_run")[0].architecture.blocks[0]
    assert isinstance(block, LinearBlock) and block.bias
