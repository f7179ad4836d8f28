"""A run whose steps are compiled: where that is asked, and one line where it cannot be."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.tiny import few_digits, tiny_recipe
from torchhebb.data import Store
from torchhebb.errors import UserError
from torchhebb.train import Options, Readout, run_recipe
from torchhebb.train.compiled import compiled_steps
from torchhebb.train.recipe import AdamW

RECIPE = tiny_recipe(readout=Readout(epochs=1, batch_size=200), seeds=1, baselines=())
EAGER = Options(precision="float32")
COMPILED = replace(EAGER, compile=True)
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchhebb.train.run.load_data", lambda *_, **__: few_digits())


def test_a_cpu_needs_a_compiler_and_no_folder_is_made_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert isinstance(compiled_steps(RECIPE, EAGER, CPU), nullcontext)
    compiled_steps(RECIPE, COMPILED, CUDA)  # there Triton compiles
    with pytest.raises(UserError, match=r"compile needs a C\+\+ compiler, and 'no-such-compiler' is not found: .*CXX"):
        run_recipe(RECIPE, COMPILED, folder=tmp_path / "run", store=Store(tmp_path / "store"))
    assert not (tmp_path / "run").exists()


def test_blocks_of_local_losses_have_nothing_to_compile():
    recipe = replace(RECIPE, learning=replace(RECIPE.learning, optimizer=AdamW()))
    with pytest.raises(UserError, match="compile must be left out for softhebb2023-digits"):
        compiled_steps(recipe, COMPILED, CPU)


def test_steps_are_compiled_where_that_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[object] = []

    @contextmanager
    def steps(_recipe: object, options: Options, _device: torch.device) -> Iterator[None]:
        asked.append(options.compile)
        yield
        asked.append("over")

    monkeypatch.setattr("torchhebb.train.run.compiled_steps", steps)
    monkeypatch.setattr("torchhebb.train.run.learn_images", lambda *_, **__: asked.append("learning"))
    for options in (COMPILED, EAGER):
        folder = tmp_path / str(options.compile)
        result = run_recipe(RECIPE, options, folder=folder, store=Store(tmp_path / "store"))
        assert result.notes.get("compiled", False) == options.compile
    assert asked == [True, "learning", "over", False, "learning", "over"]
