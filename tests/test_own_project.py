"""A project of a user's own, one file with a rule, a block, a readout and a question, goes through every command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from torchhebb.cli import main
from torchhebb.cli.imports import import_named
from torchhebb.errors import UserError

PROJECT = '''
"""Neurons that compete by cubes, in blocks without batch norm."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

import torchhebb
from torchhebb.evaluate import Evaluator
from torchhebb.nn import Architecture, Block, HebbConv2d, ReadoutModule, Triangle
from torchhebb.rules import Rule
from torchhebb.train import Measure


@dataclass(frozen=True)
class Cubes(Rule):
    strength: float = 1.0

    def __call__(self, u: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        y = (self.strength * u).relu() ** 3
        return y / y.sum(1, keepdim=True).clamp_min(1e-12), None


@dataclass(frozen=True)
class PlainBlock(Block):
    channels: int
    kernel_size: int = 3
    rule: Rule = Cubes()
    lr: float = 0.05

    def build(self, shape: Sequence[int]) -> nn.Module:
        layer = HebbConv2d(shape[0], self.channels, self.kernel_size, rule=self.rule, init_radius=3.0)
        return nn.Sequential(layer, Triangle())


class Scaled(ReadoutModule):
    def __init__(self, in_features: int, classes: int) -> None:
        super().__init__(in_features, classes)
        self.scale = nn.Parameter(torch.ones(classes, in_features), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.scale.T


@dataclass(frozen=True)
class Brightness(Evaluator):
    """How bright are the test images?"""

    question: ClassVar[str] = "brightness"

    def run(self, run) -> Iterator[Measure]:
        yield Measure("brightness", "%", (float(run.data.test.images.float().mean() / 2.55),))


def recipe():
    base = torchhebb.get_recipe("softhebb2023-digits")
    architecture = Architecture((1, 8, 8), (PlainBlock(6), PlainBlock(8, rule=Cubes(2.0))), unit_norm=True)
    learning = replace(base.learning, batch_size=50, epochs=1)
    return replace(
        base, name="mine", architecture=architecture, learning=learning, seeds=1, baselines=("random",),
        readout=replace(base.readout, epochs=2, batch_size=200),
    )


if __name__ == "__main__":
    torchhebb.run(recipe(), folder=Path("run"))
    network = recipe().architecture.build()
    torchhebb.save(network.attach(Scaled(8 * 4 * 4, 3)), "mine.safetensors")
'''

COMMANDS = (
    ("train", "--resume", "run", "--seeds", "2"),
    ("evaluate", "brightness", "run"),
    ("evaluate", "accuracy", "run"),
    ("report", "run"),
    ("predict", "run", "image.png"),
)

PROGRAM = """
import json, sys
from torchhebb.cli import main
print(json.dumps([main([*words, "--import", "own_project"]) for words in json.loads(sys.argv[1])]), file=sys.stderr)
import torchhebb
assert type(torchhebb.load("mine.safetensors").readout).__name__ == "Scaled"
"""


def python(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TORCHHEBB_STORE": str(folder / "store")}
    environment.pop("TORCHHEBB_DATA", None)
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the project, in which its script ran once."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "own_project.py").write_text(PROJECT)
    done = python("own_project.py", folder=folder)
    assert done.returncode == 0, done.stderr
    Image.fromarray(np.full((8, 8), 99, np.uint8)).save(folder / "image.png")
    return folder


def test_files_keep_the_import_path(folder: Path) -> None:
    architecture = json.loads((folder / "run" / "config.json").read_text())["recipe"]["architecture"]
    assert [block["type"] for block in architecture["blocks"]] == ["own_project:PlainBlock"] * 2
    assert architecture["blocks"][1]["rule"] == {"type": "own_project:Cubes", "strength": 2.0}


def test_every_command_knows_it_with_import(folder: Path) -> None:
    done = python("-c", PROGRAM, json.dumps(COMMANDS), folder=folder)
    assert done.returncode == 0 and json.loads(done.stderr.splitlines()[-1]) == [0] * len(COMMANDS), done.stderr
    result = json.loads((folder / "run" / "result.json").read_text())
    assert result["seeds"] == [0, 1] and (folder / "run" / "report.html").exists()
    assert result["command"] == "torchhebb.run", "what began it"
    assert result["notes"]["resumed_by"].endswith(" --import own_project")
    assert "brightness" in {path.stem for path in (folder / "run").glob("*.json")}


@pytest.mark.parametrize("words", [words for words in COMMANDS if words[1] != "brightness"], ids=" ".join)
def test_without_import_it_is_one_line(
    folder: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert main([*words]) == 2 and "own_project" not in sys.modules
    said = capsys.readouterr().err
    assert "module own_project" in said and "--import own_project" in said and len(said.splitlines()) == 1


def test_no_command_imports_what_a_file_names(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('it ran')")
    (tmp_path / "run").mkdir()
    config = json.loads((folder / "run" / "config.json").read_text().replace("own_project:", "evil:"))
    del config["checksum"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    done = python("-m", "torchhebb", "report", "run", folder=tmp_path)
    assert done.returncode == 2 and "--import evil" in done.stderr and "it ran" not in done.stderr


def test_what_import_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "torchhebb_broken_module.py").write_text("1 / 0")
    assert import_named(["list", "--import", "json", "--import=json.tool", "-x"]) == ["list", "-x"]
    for words, said in (
        (["--import"], "takes the name of a module, such as mine or mine.rules, got ''"),
        (["--import", "../mine.py"], r"got '\.\./mine\.py'"),
        (["--import", "torchhebb_no_such_module"], "failed with ModuleNotFoundError: No module named"),
        (["--import", "torchhebb_broken_module"], "failed with ZeroDivisionError: division by zero"),
    ):
        with pytest.raises(UserError, match=said):
            import_named(words)
    assert main(["list", "--import", "torchhebb_no_such_module"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
