"""Exported files give what the network gives, in a process that has neither torch nor torchhebb."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from tests.small_runs import RECIPES
from tests.tiny import network
from torchhebb import save
from torchhebb.cli import main
from torchhebb.data import Store, load_data
from torchhebb.errors import UserError
from torchhebb.export import export
from torchhebb.export.frozen import Frozen
from torchhebb.nn import HebbLinear, load
from torchhebb.readouts import Labels
from torchhebb.runs import TrainOptions, run_recipe

# What a user of a file has: onnxruntime and numpy.
WITHOUT_TORCH = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchhebb"):
            raise ImportError(name)

sys.meta_path.insert(0, Absent())
import json
import numpy as np, onnxruntime

for line in sys.stdin:
    path, pixels, outputs = json.loads(line)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    pixels = np.load(pixels)
    (output,) = session.get_outputs()
    (given,) = session.get_inputs()
    assert given.name == "pixels" and given.shape[0] == "batch", (given.name, given.shape)
    found = [session.run(None, {"pixels": part})[0] for part in (pixels[:1], pixels[1:])]
    np.save(outputs, np.concatenate(found))
    print(json.dumps({"name": output.name, "metadata": session.get_modelmeta().custom_metadata_map}), flush=True)
"""
WITHOUT_TORCHHEBB = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torchhebb":
            raise ImportError(name)

sys.meta_path.insert(0, Absent())
import json
import numpy as np, torch

for line in sys.stdin:
    path, pixels, outputs = json.loads(line)
    files = {"torchhebb.json": ""}
    program = torch.export.load(path, extra_files=files).module()
    pixels = torch.from_numpy(np.load(pixels))
    with torch.no_grad():
        found = [program(part) for part in (pixels[:1], pixels[1:])]
    np.save(outputs, torch.cat(found).numpy())
    print(json.dumps({"name": None, "metadata": {"torchhebb": files["torchhebb.json"]}}), flush=True)
"""
PROGRAMS = {".onnx": WITHOUT_TORCH, ".pt2": WITHOUT_TORCHHEBB}
TEST = load_data("digits").test
PIXELS = TEST.images / 255.0


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def runs(store: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A short run of every family of recipes, one seed without baselines."""
    folders = {}
    for name, recipe in RECIPES.items():
        folders[name] = tmp_path_factory.mktemp("runs") / name
        options = TrainOptions(device="cpu", precision="float32")
        run_recipe(replace(recipe(), seeds=1, baselines=()), options, folder=folders[name], store=store)
    return folders


Outside = Callable[[Path, Path], tuple[np.ndarray, dict[str, str]]]


@pytest.fixture(scope="module")
def outside() -> Iterator[Outside]:
    """What a file gives for the test images, and says of itself, in another process: one for each suffix."""
    with ExitStack() as stack:
        processes: dict[str, subprocess.Popen[str]] = {}

        def ask(path: Path, folder: Path) -> tuple[np.ndarray, dict[str, str]]:
            if path.suffix not in processes:
                words = [sys.executable, "-W", "ignore", "-c", PROGRAMS[path.suffix]]
                started = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                processes[path.suffix] = stack.enter_context(started)
            process, pixels, outputs = processes[path.suffix], folder / "pixels.npy", folder / "outputs.npy"
            np.save(pixels, PIXELS.numpy())
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(json.dumps([str(path), str(pixels), str(outputs)]) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            assert answer, f"the process that reads {path} ended: its error is above"
            return np.load(outputs), json.loads(answer)

        yield ask


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
@pytest.mark.parametrize("family", RECIPES)
def test_every_family_gives_the_same_numbers_outside(
    runs: dict[str, Path], store: Store, tmp_path: Path, family: str, suffix: str, outside: Outside
) -> None:
    done = export(runs[family], tmp_path / f"model{suffix}", store=store)
    model = load(runs[family]).eval()
    with torch.no_grad():
        expected = model.classifier(PIXELS).numpy()
    found, said = outside(done.path, tmp_path)
    assert done.output == "logits" and said["name"] in ("logits", None)
    assert np.abs(found - expected).max() <= 1e-4 * max(1, np.abs(expected).max())
    assert done.checked == len(TEST) and done.difference <= 1e-4
    labels = TEST.labels.numpy()
    assert done.original_accuracy == pytest.approx(100 * (expected.argmax(1) == labels).mean())
    metadata = json.loads(said["metadata"]["torchhebb"])
    assert metadata["preprocessing"].startswith("Grey, 8 x 8 pixels")
    assert metadata["output"] == {"name": "logits", "classes": [str(digit) for digit in range(10)]}


@pytest.mark.parametrize("family", ["conv", "whitened"])
def test_features_outside(runs: dict[str, Path], store: Store, tmp_path: Path, family: str, outside: Outside) -> None:
    done = export(runs[family], tmp_path / "model.onnx", output="features", store=store)
    with torch.no_grad():
        expected = load(runs[family]).eval()(PIXELS).flatten(1).numpy()
    found, said = outside(done.path, tmp_path)
    assert said["name"] == "features" and done.accuracy is None
    assert np.abs(found - expected).max() <= 1e-4 * max(1, np.abs(expected).max())


def test_neurons_that_stand_for_classes(tmp_path: Path, outside: Outside) -> None:
    model = RECIPES["layer"]().architecture.build(0).eval()
    with torch.no_grad():
        model.attach(Labels().fit(model(PIXELS), TEST.labels % 7, 10).readout)  # three classes have no neuron
    expected = model.classifier(PIXELS).numpy()
    assert np.isinf(expected).any()
    found, _ = outside(export(model, tmp_path / "model.onnx").path, tmp_path)
    assert np.array_equal(np.isinf(found), np.isinf(expected))
    finite = np.isfinite(expected)
    assert np.abs(found[finite] - expected[finite]).max() <= 1e-4


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_int8_weights_are_small_and_their_accuracy_is_known(
    runs: dict[str, Path], store: Store, tmp_path: Path, suffix: str, outside: Outside
) -> None:
    wide = RECIPES["conv"]().architecture
    wide = replace(wide, blocks=(wide.blocks[0].with_width(32), wide.blocks[1].with_width(256)))
    sizes = [export(wide.build(0), tmp_path / f"{int8}{suffix}", int8=int8).size for int8 in (False, True)]
    assert sizes[1] < 0.45 * sizes[0]
    done = export(runs["conv"], tmp_path / f"model{suffix}", int8=True, store=store)
    assert done.accuracy is not None and done.original_accuracy is not None
    found, _ = outside(done.path, tmp_path)
    assert done.accuracy == pytest.approx(100 * (found.argmax(1) == TEST.labels.numpy()).mean())
    assert abs(done.accuracy - done.original_accuracy) < 5


def test_rounding_errs_by_half_a_step() -> None:
    layer = torch.nn.Linear(64, 32, bias=False)
    frozen = Frozen(layer, int8=True)
    step = layer.weight.abs().amax(1, keepdim=True) / 127
    error = (frozen._value("weight") - layer.weight).abs()
    assert (error <= 0.5001 * step).all() and error.max() > 0


def test_the_users_network_is_left_as_it_is(tmp_path: Path) -> None:
    model = network().double().train()
    export(model, tmp_path / "model.pt2")
    assert model.training and next(model.parameters()).dtype == torch.float64


def test_a_file_that_differs_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.onnx").write_bytes(b"before")
    original = onnx.save

    def bent(model: onnx.ModelProto, path: Path) -> None:
        for tensor in model.graph.initializer:
            if len(tensor.dims) == 4:
                values = onnx.numpy_helper.to_array(tensor) * 1.01
                tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), tensor.name))
        original(model, path)

    monkeypatch.setattr(onnx, "save", bent)
    with pytest.raises(UserError, match="was not kept"):
        export(network(), tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_bytes() == b"before"


def test_what_cannot_be_exported_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"out must end in \.onnx or \.pt2"):
        export(network(), tmp_path / "model.pb")
    with pytest.raises(UserError, match="output must be features"):
        export(network(), tmp_path / "model.onnx", output="logits")
    with pytest.raises(UserError, match="no such run folder"):
        export(tmp_path / "nothing", tmp_path / "model.onnx")
    with pytest.raises(UserError, match="architecture"):
        export(HebbLinear(3, 2), tmp_path / "model.onnx")  # type: ignore[arg-type]


def test_the_command(runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(runs["shallow"]), "--out", str(tmp_path / "model.onnx"), "--images", "50"]) == 0
    said = capsys.readouterr().out
    assert "logits" in said and "on 50 images" in said and "accuracy" in said
    save(network(), tmp_path / "network.safetensors")
    assert main(["export", str(tmp_path / "network.safetensors"), "-o", str(tmp_path / "model.pt2")]) == 0
    assert main(["export", str(runs["shallow"])]) == 2
