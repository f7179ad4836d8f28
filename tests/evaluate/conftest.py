"""Two small finished runs, each of two seeds, that the tests of this folder evaluate."""

from dataclasses import replace

import pytest

from tests.tiny import tiny_recipe
from torchhebb.data import Store
from torchhebb.evaluate import Run, open_run
from torchhebb.recipes import get_recipe
from torchhebb.runs import TrainOptions, run_recipe
from torchhebb.train import Learning, Readout, Supervised

CPU = TrainOptions(device="cpu", precision="float32")


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def run(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two convolutional blocks on the digits."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    plans = {"learning": Learning(batch_size=50), "readout": Readout(epochs=3, batch_size=200)}
    recipe = tiny_recipe(seeds=2, published=97.0, **plans)
    run_recipe(recipe, CPU, folder=folder, store=store)
    return open_run(folder, store=store)


@pytest.fixture(scope="session")
def layer(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A single layer of 30 neurons whose posterior is read out, on the digits."""
    recipe = get_recipe("softhebb2022-digits")
    block = replace(recipe.architecture.blocks[0], features=30)  # type: ignore[call-arg]
    recipe = replace(
        recipe,
        architecture=replace(recipe.architecture, blocks=(block,)),
        learning=Learning(batch_size=16, epochs=2),
        readout=replace(recipe.readout, epochs=3),
        supervised=Supervised(epochs=1, batch_size=32),
        baselines=(),
        seeds=2,
    )
    folder = tmp_path_factory.mktemp("runs") / "layer"
    run_recipe(recipe, CPU, folder=folder, store=store)
    return open_run(folder, store=store)
