"""Models on disk: exact, whole or absent, and never a way to run somebody else's code."""

import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.tiny import digits, equal, network, state
from torchhebb import load, save
from torchhebb.errors import UserError
from torchhebb.nn import HebbLinear, LinearReadout, Network, NeuronLabels, learn
from torchhebb.nn.saving import read_class_names, write_class_names
from torchhebb.nn.tensors import read_tensors, write_tensors


def learned() -> Network:
    """A network with running statistics of its own."""
    model = network(3)
    learn(model, digits(20).images / 255.0)
    return model.eval()


def linear() -> LinearReadout:
    readout = LinearReadout(128, 10)
    nn.init.normal_(readout.weight, generator=torch.Generator().manual_seed(0))
    return readout


def labels() -> NeuronLabels:
    readout = NeuronLabels(8, 10)
    readout.labels.copy_(torch.arange(8) % 3)
    return readout


@pytest.mark.parametrize("readout", [None, linear(), labels()])
def test_a_network_comes_back_exactly(tmp_path: Path, readout: nn.Module | None):
    model = learned()
    if readout is not None:
        model.attach(readout)
    save(model, tmp_path / "model.safetensors")
    back = load(tmp_path / "model.safetensors").eval()
    assert isinstance(back, Network) and back.architecture == model.architecture
    assert equal(state(model), state(back))
    x = digits(30).images / 255.0
    assert torch.equal(back(x), model(x))
    if readout is None:
        assert back.readout is None
    else:
        assert type(back.readout) is type(readout)
        assert torch.equal(back.classifier(x), model.classifier(x))
        assert not any(parameter.requires_grad for parameter in back.readout.parameters())


def test_a_readout_alone_comes_back_exactly(tmp_path: Path):
    for name, readout in {"linear": linear(), "labels": labels()}.items():
        save(readout, tmp_path / name)
        back = load(tmp_path / name)
        assert type(back) is type(readout) and equal(state(readout), state(back))


def test_a_folder_is_its_model_with_the_readout_beside_it(tmp_path: Path):
    model, readout = learned(), linear()
    save(model, tmp_path / "model.safetensors")
    assert load(tmp_path).readout is None
    save(readout, tmp_path / "readout.safetensors")
    x = digits(5).images / 255.0
    assert torch.equal(load(tmp_path).eval().classifier(x), readout(model(x)))
    with pytest.raises(UserError, match="no such file"):
        load(tmp_path / "nowhere")


def test_into_a_module_of_ones_own(tmp_path: Path):
    model = nn.Sequential(nn.Linear(4, 3, dtype=torch.bfloat16), HebbLinear(3, 2, bias=True))
    save(model, tmp_path / "mine")
    with pytest.raises(UserError, match="into="):
        load(tmp_path / "mine")
    other = nn.Sequential(nn.Linear(4, 3, dtype=torch.bfloat16), HebbLinear(3, 2, bias=True))
    assert load(tmp_path / "mine", into=other) is other
    assert equal(state(model), state(other))
    with pytest.raises(UserError, match="does not fit Linear") as caught:
        load(tmp_path / "mine", into=nn.Linear(4, 3))
    assert "\n" not in str(caught.value)


def test_into_a_network_leaves_the_readout_out(tmp_path: Path):
    model = learned().attach(linear())
    save(model, tmp_path / "model.safetensors")
    other = network(9)
    load(tmp_path / "model.safetensors", into=other)
    assert equal(state(model), state(other)) and other.readout is None


def test_weights_in_another_memory_format_are_the_same_file(tmp_path: Path):
    save(learned().to(memory_format=torch.contiguous_format), tmp_path / "one")
    save(learned().to(memory_format=torch.channels_last), tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_readout_of_a_strange_kind_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"LinearReadout, NeuronLabels.*got Linear"):
        save(learned().attach(nn.Linear(128, 10)), tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_every_cut_and_every_flipped_byte_is_noticed(tmp_path: Path):
    path = tmp_path / "model.safetensors"
    save(learned(), path)
    whole = path.read_bytes()
    for length in (0, 1, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match="is damaged or not a safetensors file") as caught:
            load(path)
        assert "\n" not in str(caught.value)
    for position in range(0, len(whole), 31):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(UserError):
            load(path)


def test_a_file_of_other_software_is_read_without_a_checksum(tmp_path: Path):
    layer = HebbLinear(3, 2)
    save_file(dict(layer.state_dict()), tmp_path / "plain")
    assert equal(state(load(tmp_path / "plain", into=HebbLinear(3, 2))), state(layer))


def test_a_file_is_opened_once_so_that_one_renamed_over_it_meanwhile_is_not_mixed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model, whole = learned(), Path.read_bytes
    save(model, tmp_path / "model")

    def once(path: Path) -> bytes:
        content = whole(path)
        path.unlink()  # whoever opens it a second time finds nothing
        return content

    monkeypatch.setattr(Path, "read_bytes", once)
    assert equal(state(load(tmp_path / "model")), state(model))


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt", "model.pkl"])
@pytest.mark.parametrize("write", [pickle.dump, torch.save])
def test_a_pickle_is_refused_and_nothing_runs(tmp_path: Path, name: str, write: Any):
    mark, path = tmp_path / "it-ran", tmp_path / name
    with open(path, "wb") as file:
        write(Trap(mark), file)
    for into in (None, network()):
        with pytest.raises(UserError, match="is damaged or not a safetensors file"):
            load(path, into=into)
    assert not mark.exists()
    content = path.read_bytes()
    torch.load(io.BytesIO(content), weights_only=False) if write is torch.save else pickle.loads(content)
    assert mark.exists(), "the trap itself works"


@pytest.mark.parametrize(
    "header",
    [
        [],
        "x",
        {"architecture": "x"},
        {"architecture": {"type": "Trap"}},
        {"architecture": {"type": "Architecture", "input_shape": [1, 8, 8]}},
        {"readout": None},
        {"readout": {"type": "Trap", "in_features": 1, "classes": 1}},
        {"readout": {"type": "LinearReadout"}},
        {"readout": {"type": [], "in_features": 1, "classes": 1}},
        {"readout": {"type": "LinearReadout", "in_features": 2, "classes": 2}},
    ],
)
def test_a_strangers_header_is_refused_in_one_line(tmp_path: Path, header: Any):
    path = tmp_path / "strange"
    save_file({"weight": torch.zeros(2)}, path, metadata={"torchhebb": json.dumps(header)})
    with pytest.raises(UserError) as caught:
        load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("step", ["save_file", "fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failing_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
):
    path = tmp_path / "model.safetensors"
    save(learned(), path)
    before = path.read_bytes()

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(f"torchhebb.{'nn.tensors.save_file' if step == 'save_file' else f'files.os.{step}'}", fail)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else UserError):
        save(network(5), path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_folder_that_becomes_read_only_meanwhile_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    for name in ("replace", "unlink"):
        monkeypatch.setattr(f"torchhebb.files.os.{name}", refuse)
    with pytest.raises(UserError, match="cannot write .*Permission denied"):
        save(learned(), tmp_path / "model.safetensors")
    monkeypatch.undo()


def test_a_place_that_is_none_is_said_in_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write") as caught:
        save(learned(), tmp_path / "file" / "model.safetensors")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool, torch.uint8])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_tensors_of_every_kind_come_back(tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]):
    tensor = torch.ones(shape).to(dtype)
    write_tensors({"a": tensor}, {"note": "x"}, tmp_path / "t")
    tensors, header = read_tensors(tmp_path / "t")
    assert header == {"note": "x"} and tensors["a"].dtype == dtype and torch.equal(tensors["a"], tensor)


def test_class_names_come_back_with_the_readout(tmp_path: Path):
    names = [f"class {i}" for i in range(10)]
    model = learned().attach(linear(), names)
    save(model, tmp_path / "m.safetensors")
    back = load(tmp_path / "m.safetensors")
    assert isinstance(back, Network) and back.classes == tuple(names)
    save(learned().attach(linear()), tmp_path / "m.safetensors")
    assert load(tmp_path / "m.safetensors").classes == ()
    with pytest.raises(UserError, match="must name the 10 classes of the readout, got 2 names"):
        learned().attach(linear(), ["a", "b"])


def test_class_names_have_a_checksum_and_older_files_have_none(tmp_path: Path):
    path, names = tmp_path / "classes.json", ["cat", "dog"]
    write_class_names(path, names)
    assert read_class_names(path) == names
    path.write_bytes(path.read_bytes().replace(b"cat", b"cap"))
    with pytest.raises(UserError, match="classes.json is damaged .its checksum does not match"):
        read_class_names(path)
    path.write_text(json.dumps(names))
    assert read_class_names(path) == names


@pytest.mark.parametrize("classes", [3, ["a", 1], {"a": 1}])
def test_class_names_that_are_none_are_refused(tmp_path: Path, classes: Any):
    save(learned().attach(linear(), [str(i) for i in range(10)]), tmp_path / "m.safetensors")
    tensors, header = read_tensors(tmp_path / "m.safetensors")
    write_tensors(tensors, header | {"classes": classes}, tmp_path / "m.safetensors")
    with pytest.raises(UserError, match="classes must be a list of names"):
        load(tmp_path / "m.safetensors")
    folder = tmp_path / "run"
    save(learned(), folder / "model.safetensors")
    save(linear(), folder / "readout.safetensors")
    (folder / "classes.json").write_text(json.dumps(classes))
    with pytest.raises(UserError, match="classes must be a list of names|classes.json is damaged"):
        load(folder)
