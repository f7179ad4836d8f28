"""What the examples in docstrings may use: `folder`, that of a small finished run on the digits."""

from pathlib import Path
from typing import Any

import pytest
from _pytest.doctest import DoctestItem


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from torchhebb.nn import Architecture, ConvBlock
    from torchhebb.readouts import Ridge
    from torchhebb.runs import run_recipe
    from torchhebb.train import Recipe

    folder = tmp_path_factory.mktemp("examples") / "mine"
    architecture = Architecture((1, 8, 8), (ConvBlock(8, 3),))
    run_recipe(Recipe("mine", "digits", architecture, readout=Ridge(), baselines=()), folder=folder)
    return folder


@pytest.fixture(autouse=True)
def folder_in_examples(request: pytest.FixtureRequest, doctest_namespace: dict[str, Any]) -> None:
    """Trained for the first example that names it."""
    item = request.node
    if isinstance(item, DoctestItem) and item.dtest and any("(folder)" in e.source for e in item.dtest.examples):
        doctest_namespace["folder"] = request.getfixturevalue("finished_run")
