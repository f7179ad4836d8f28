"""Model cards: what the hub reads and what a user reads, from what a run knows of itself."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from torchhebb import load
from torchhebb.cli import main
from torchhebb.evaluate import Run
from torchhebb.hub import run_card
from torchhebb.nn import Network


def test_a_card_has_what_the_hub_and_a_user_need(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "README.md"
    assert main(["card", str(run.folder), "--out", str(out)]) == 0
    card = ModelCard.load(out)
    assert card.data.library_name == "torchhebb" and card.data.datasets == ["digits"]
    accuracy = run.result.measure("test_accuracy").mean
    (found, *_) = card.data.eval_results
    assert found.metric_value == round(accuracy, 2) and found.metric_type == "accuracy"
    assert f"| test accuracy | {accuracy:.2f} ±" in card.text
    assert "Grey, 8 x 8 pixels" in card.text and "Classes: 0, 1, 2" in card.text
    assert run.result.command in card.text


def test_without_a_finished_run_one_line_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["card", str(tmp_path)]) == 2
    assert "is not a run folder" in capsys.readouterr().err


def test_the_network_of_a_run_keeps_readout_and_class_names_on_its_way(run: Run, tmp_path: Path) -> None:
    model = load(run.folder)
    assert isinstance(model, Network) and model.classes == run.data.classes
    assert run.network(1).classes == run.data.classes
    folder = tmp_path / "hub"
    folder.mkdir()
    (folder / "README.md").write_text(run_card(run.folder), encoding="utf-8")
    model.save_pretrained(folder)
    back = Network.from_pretrained(folder)
    assert back.classes == run.data.classes and back.readout is not None
    assert "model-index" in (folder / "README.md").read_text(), "the card that lies there stays"
