"""A run whose seeds learn side by side: the same files as one after another, and stops cost nothing."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import digits, few_digits, learned, state, tiny_recipe, untimed
from tests.watch import Stop, stop_after
from torchhebb import load
from torchhebb.data import Store
from torchhebb.errors import UserError
from torchhebb.runs import TrainOptions, run_recipe
from torchhebb.train import Readout, Result
from torchhebb.train.recipe import AdamW, Learning

RECIPE = tiny_recipe(readout=Readout(epochs=1, batch_size=200), seeds=3, baselines=())
DATA = replace(few_digits(), train=digits(120))


@pytest.fixture(scope="module", autouse=True)
def few() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchhebb.runs.training.load_data", lambda *_, **__: DATA)
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


def run(folder: Path, store: Store, members: int, recipe: Any = RECIPE, **settings: Any) -> Result:
    options = TrainOptions(precision="float32", ensemble=members, checkpoint_seconds=0.0)
    return run_recipe(recipe, options, folder=folder, store=store, **settings)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory, store: Store) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("together")
    return folder, run(folder, store, 2)


def test_its_files_are_those_of_seeds_one_after_another(together: tuple[Path, Result], store: Store, tmp_path: Path):
    folder, result = together
    alone = run(tmp_path, store, 1)
    assert learned(folder).keys() == learned(tmp_path).keys()
    for place in (".", "seed-1", "seed-2"):
        mine, its = (state(load(path / place)) for path in (folder, tmp_path))
        for name, tensor in mine.items():
            torch.testing.assert_close(tensor, its[name], rtol=1e-3, atol=1e-4)
    assert (result.notes["ensemble"], "members" in alone.notes) == (2, False)
    assert [measure.name for measure in result.measures] == [measure.name for measure in alone.measures]
    assert len(result.measures[0].values) == 3

    def lines(path: Path) -> list[Any]:
        return sorted((line["task"], line["kind"], line.get("samples", 0)) for line in untimed(path / "metrics.jsonl"))

    assert lines(folder) == lines(tmp_path)


@pytest.mark.parametrize("images", [20, 110, 150])
def test_a_stop_costs_nothing(together: tuple[Path, Result], store: Store, tmp_path: Path, images: int):
    """In the middle of learning, at its end, and in the first readout."""
    with pytest.raises(Stop):
        run(tmp_path, store, 2, progress=stop_after(images))
    assert not (tmp_path / "result.json").exists()
    result = run(tmp_path, store, 2)
    assert learned(tmp_path).keys() == learned(together[0]).keys()
    for name, content in learned(together[0]).items():
        assert name == "checkpoint.safetensors" or learned(tmp_path)[name] == content, name
    assert untimed(tmp_path / "metrics.jsonl") == untimed(together[0] / "metrics.jsonl")
    assert result.measures == together[1].measures


def test_seeds_that_are_there_stay_when_a_run_is_extended(together: tuple[Path, Result], store: Store, tmp_path: Path):
    run(tmp_path, store, 1, replace(RECIPE, seeds=1))
    before = (tmp_path / "model.safetensors").read_bytes()
    run(tmp_path, store, 3)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    tasks = {line["task"] for line in untimed(tmp_path / "metrics.jsonl") if line["kind"] == "learning"}
    assert tasks == {f"seed {seed}: learning" for seed in range(3)}


def test_what_cannot_be_leaves_no_folder(store: Store, tmp_path: Path):
    with pytest.raises(UserError, match="ensemble must be at least 1, got 0"):
        run(tmp_path, store, 0)
    adam = replace(RECIPE, learning=Learning(optimizer=AdamW()))
    with pytest.raises(UserError, match="ensemble must be 1 for softhebb2023-digits"):
        run(tmp_path / "none", store, 2, adam)
    assert not (tmp_path / "none").exists()
