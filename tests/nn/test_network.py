"""The network that users hold: blocks, a readout beside them, and the hub's way of saving."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.tiny import digits, equal, network, state
from torchhebb.nn import HebbLinear, LinearReadout, Network, Triangle, save


def readout() -> LinearReadout:
    made = LinearReadout(128, 10)
    nn.init.normal_(made.weight, generator=torch.Generator().manual_seed(0))
    return made


def images() -> torch.Tensor:
    return digits(6).images / 255.0


def test_blocks_run_in_a_row():
    first, second = HebbLinear(4, 3), HebbLinear(3, 2)
    x = torch.rand(5, 4)
    for model in (Network([first, Triangle(), second]), Network({"a": first, "b": Triangle(), "c": second})):
        assert torch.equal(model(x), second(Triangle()(first(x))))
    assert [name for name, _ in Network({"a": first, "b": second}).named_children()] == ["a", "b"]


def test_the_classifier_is_the_readout_of_the_features():
    model, head = network().eval(), readout()
    with pytest.raises(ValueError, match="attach"):
        _ = model.classifier
    features = model(images())
    assert model.attach(head) is model
    assert torch.equal(model.classifier(images()), head(features))
    assert torch.equal(model(images()), features), "attaching changes no features"
    assert not any(name.startswith("readout") for name in model.state_dict())


def test_the_readout_moves_with_the_network():
    model = network().attach(readout()).double()
    assert model.readout.weight.dtype == torch.float64
    assert model.eval().classifier(images().double()).dtype == torch.float64
    model.to(torch.float32, memory_format=torch.channels_last)
    assert model.readout.weight.dtype == torch.float32
    model.to("meta")
    assert model.readout.weight.device.type == "meta"


def test_a_copy_has_its_own_readout():
    model = network().attach(readout())
    twin = copy.deepcopy(model)
    twin.readout.weight.zero_()
    assert model.readout.weight.abs().sum() > 0


def test_reset_draws_the_same_weights_from_the_same_seed():
    model = network(0)
    other = state(model)
    model.reset_parameters(torch.Generator().manual_seed(1))
    assert not torch.equal(model.block1.layer.weight, other["block1.layer.weight"])
    model.reset_parameters(torch.Generator().manual_seed(0))
    assert equal(state(model), other)


def test_save_and_load_as_the_hub_does(tmp_path: Path):
    model = network().attach(readout()).eval()
    model.save_pretrained(tmp_path)
    back = Network.from_pretrained(str(tmp_path)).eval()
    assert equal(state(back), state(model)) and back.architecture == model.architecture
    assert torch.equal(back.classifier(images()), model.classifier(images()))
    assert type(back) is Network
    assert (tmp_path / "model.safetensors").exists() and not list(tmp_path.glob("*.bin"))
    assert "hebbian-learning" in (tmp_path / "README.md").read_text()
    save(model, tmp_path / "plain.safetensors")
    assert (tmp_path / "model.safetensors").read_bytes() == (tmp_path / "plain.safetensors").read_bytes()


def test_a_push_uploads_the_model_and_its_card(monkeypatch: pytest.MonkeyPatch):
    sent: dict[str, object] = {}

    class Api:
        def __init__(self, **_: object) -> None: ...

        def create_repo(self, repo_id: str, **_: object) -> "Api":
            self.repo_id = repo_id
            return self

        def upload_folder(self, *, repo_id: str, folder_path: Path, **settings: object) -> str:
            back = Network.from_pretrained(folder_path).eval()
            sent.update(repo_id=repo_id, weights=state(back), files={path.name for path in folder_path.iterdir()})
            return f"commit to {settings['revision']}"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
    model = network()
    assert model.push_to_hub("someone/net", branch="next") == "commit to next"
    assert sent["repo_id"] == "someone/net" and sent["files"] == {"model.safetensors", "README.md"}
    assert equal(sent["weights"], state(model))


def test_of_a_repository_only_safetensors_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: dict[str, object] = {}

    def download(name: str, **settings: object) -> str:
        asked.update(settings, name=name)
        return str(tmp_path)

    model = network()
    save(model, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", lambda **_: str(tmp_path / "config.json"))
    back = Network.from_pretrained("someone/net", revision="next")
    assert equal(state(back), state(model))
    assert asked["name"] == "someone/net" and asked["allow_patterns"] == "*.safetensors" and asked["revision"] == "next"


def test_the_hubs_library_is_imported_when_it_is_asked_for():
    program = "import sys, torchhebb; sys.exit('huggingface_hub' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=300).returncode == 0


def test_it_works_where_the_hub_is_not_installed(tmp_path: Path):
    program = f"""
import sys
sys.modules["huggingface_hub"] = None
import torch, torchhebb
from torchhebb.nn import Architecture, ConvBlock
model = Architecture((1, 8, 8), (ConvBlock(4, 3),)).build().eval()
torchhebb.save(model, {str(tmp_path / "m")!r})
x = torch.rand(2, 1, 8, 8)
assert torch.equal(torchhebb.load({str(tmp_path / "m")!r}).eval()(x), model(x))
try:
    model.push_to_hub("someone/net")
except torchhebb.errors.UserError as error:
    assert "pip install huggingface_hub" in str(error), error
else:
    raise AssertionError("pushed without the library")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_a_classifier_keeps_frozen_blocks_frozen():
    model = network().attach(readout())
    model.block1.eval()
    assert model.classifier.training and model.block2.training and not model.block1.training
