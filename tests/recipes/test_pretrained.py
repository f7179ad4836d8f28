"""The trained networks that ship with the package: small, complete, and as good as their results say."""

import json
import re
from pathlib import Path

import pytest
import torch

from tests.tiny import network
from torchhebb.data import load_data
from torchhebb.errors import UserError
from torchhebb.nn import Network, load
from torchhebb.nn.readout import LinearReadout
from torchhebb.recipes import create_model, get_recipe, list_pretrained
from torchhebb.recipes.pretrained import FOLDER, load_pretrained, save_rounded


def test_each_is_small_and_has_its_result_and_its_card() -> None:
    names = list_pretrained()
    assert "softhebb2023-digits" in names
    assert {path.stem for path in FOLDER.iterdir()} == set(names)
    for name in names:
        weights, result, card = (FOLDER / f"{name}.{ending}" for ending in ("safetensors", "json", "md"))
        assert weights.stat().st_size < 2_000_000
        (stored, _) = json.loads(result.read_text())["measures"]
        assert f"| test accuracy | {stored['mean']:.2f} % | 1 |" in card.read_text()


@pytest.mark.parametrize("name", list_pretrained())
def test_each_is_the_network_of_its_recipe_with_readout_and_class_names(name: str) -> None:
    model = create_model(name, pretrained=True)
    assert model.architecture == get_recipe(name).architecture and not model.training
    assert {tensor.dtype for tensor in model.state_dict().values() if tensor.is_floating_point()} == {torch.float32}
    x = torch.rand(3, *model.architecture.input_shape)
    with torch.no_grad():
        assert model.classifier(x).shape == (3, len(model.classes))
    assert len(set(model.classes)) == len(model.classes) >= 2


def test_the_digits_reach_the_accuracy_that_is_written_down() -> None:
    data, model = load_data("digits"), create_model("softhebb2023-digits", pretrained=True)
    with torch.no_grad():
        found = model.classifier(data.test.images / 255.0).argmax(1)
    (stored, _) = json.loads((FOLDER / "softhebb2023-digits.json").read_text())["measures"]
    assert 100 * (found == data.test.labels).double().mean().item() == pytest.approx(stored["mean"], abs=0.25)
    assert model.classes == data.classes


def test_what_does_not_ship_or_cannot_be_changed_is_said() -> None:
    with pytest.raises(UserError, match="unknown trained network 'softhebb2023-imagenet'"):
        create_model("softhebb2023-imagenet", pretrained=True)
    with pytest.raises(UserError, match="leave out unit_norm"):
        create_model("softhebb2023-digits", pretrained=True, unit_norm=True)
    with pytest.raises(UserError, match="leave out seed"):
        create_model("softhebb2023-digits", pretrained=True, seed=1)


def test_rounding_keeps_vectors_and_the_network_that_is_given(tmp_path: Path) -> None:
    model, readout = network(), LinearReadout(128, 10)
    torch.nn.init.normal_(readout.weight)
    torch.nn.init.normal_(readout.bias)
    model.attach(readout, [str(i) for i in range(10)])
    save_rounded(model, tmp_path / "small.safetensors")
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
    back = load(tmp_path / "small.safetensors")
    assert isinstance(back, Network) and isinstance(back.readout, LinearReadout)
    assert torch.equal(back.readout.weight, readout.weight.half().float())  # all of one dtype, the widest
    assert torch.equal(back.readout.bias, readout.bias)
    again = load_pretrained("small", tmp_path)
    assert torch.equal(again.readout.weight, readout.weight.half().float())  # type: ignore[union-attr]
    assert again.classes == tuple("0123456789")


def test_the_script_ships_what_is_there() -> None:
    script = (Path(__file__).resolve().parents[2] / "benchmarks" / "make_pretrained.py").read_text()
    listed = re.findall(r'^    "([\w-]+)",$', script, re.MULTILINE)
    assert set(list_pretrained()) <= set(listed)
