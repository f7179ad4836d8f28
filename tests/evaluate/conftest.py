"""One tiny finished run of two seeds that the tests of this folder ask."""

import pytest

from tests.tiny import tiny_recipe
from torchhebb.data import Store
from torchhebb.evaluate import Run, open_run
from torchhebb.runs import TrainOptions, run_recipe
from torchhebb.train import Learning, Readout

CPU = TrainOptions(device="cpu", precision="float32")


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def run(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    plans = {"learning": Learning(batch_size=50), "readout": Readout(epochs=3, batch_size=200)}
    recipe = tiny_recipe(seeds=2, published=97.0, **plans)
    run_recipe(recipe, CPU, folder=folder, store=store)
    return open_run(folder, store=store)
