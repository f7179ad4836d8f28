"""A run whose steps are compiled: where that is asked, and one line where it cannot be."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from tests.tiny import few_digits, tiny_recipe
from torchhebb.cli import main
from torchhebb.data import Store
from torchhebb.errors import UserError
from torchhebb.evaluate import Run, evaluate, open_run
from torchhebb.evaluate.evaluator import Evaluator, Finding, Note
from torchhebb.functional import form
from torchhebb.nn import Network
from torchhebb.runs import TrainOptions, run_recipe
from torchhebb.train import Readout
from torchhebb.train.compiled import check_compiler, compiled_steps
from torchhebb.train.recipe import AdamW

RECIPE = tiny_recipe(readout=Readout(epochs=1, batch_size=200), seeds=1, baselines=())
EAGER = TrainOptions(precision="float32")
COMPILED = replace(EAGER, compile=True)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchhebb.runs.training.load_data", lambda *_, **__: few_digits())


def test_a_cpu_needs_a_compiler_and_no_folder_is_made_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    check_compiler(torch.device("cuda"))  # there Triton compiles
    with pytest.raises(UserError, match=r"compile needs a C\+\+ compiler, and 'no-such-compiler' is not found: .*CXX"):
        run_recipe(RECIPE, COMPILED, folder=tmp_path / "run", store=Store(tmp_path / "store"))
    assert not (tmp_path / "run").exists()


def test_blocks_of_local_losses_have_nothing_to_compile():
    recipe = replace(RECIPE, learning=replace(RECIPE.learning, optimizer=AdamW()))
    assert isinstance(compiled_steps(recipe, False), nullcontext)
    with pytest.raises(UserError, match="compile must be left out for softhebb2023-digits"):
        compiled_steps(recipe, True)


@dataclass(frozen=True)
class Asked(Evaluator):
    """A question that notes that it was asked."""

    question: ClassVar[str] = "asked"

    def run(self, run: Run) -> Iterator[Finding]:
        yield Note("in_kernels", form.compiling)


def test_steps_are_compiled_where_that_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In the run itself, and in questions to it, whose options are its own unless others are given."""
    found = []

    def learn(network: Network, *_: object, **__: object) -> Network:
        found.append(form.compiling)
        return network.eval()

    monkeypatch.setattr("torchhebb.runs.training.learn_images", learn)
    monkeypatch.setattr("torchhebb.runs.training.check_compiler", lambda _: None)
    monkeypatch.setattr("torchhebb.runs.run.load_data", lambda *_, **__: few_digits())
    store = Store(tmp_path / "store")
    for options in (COMPILED, EAGER):
        folder = tmp_path / str(options.compile)
        assert run_recipe(RECIPE, options, folder=folder, store=store).notes.get("compiled", False) == options.compile
        for given, wanted in ((None, options.compile), (COMPILED, True), (EAGER, False)):
            answer = evaluate(Asked(), open_run(folder, given, store=store))
            assert answer.notes["in_kernels"] == answer.notes.get("compiled", False) == wanted
    assert found == [True, False] and not form.compiling


def test_a_search_compiles_its_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    found = []

    def search(*_: object, **__: object) -> None:
        found.append(form.compiling)
        raise UserError("asked enough")

    monkeypatch.setattr("torchhebb.search.search", search)
    monkeypatch.setattr("torchhebb.data.load_data", lambda *_, **__: few_digits())
    monkeypatch.setattr("torchhebb.train.compiled.check_compiler", lambda _: None)
    for flags in (["--compile"], []):
        assert main(["search", "softhebb2023-digits", "--images", "50", "--out", str(tmp_path), *flags]) == 2
    assert found == [True, False] and capsys.readouterr().err.count("asked enough") == 2
