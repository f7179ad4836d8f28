"""Tiny runs that the tests of the report share."""

from dataclasses import replace
from pathlib import Path

import pytest

from torchhebb.data import Store
from torchhebb.nn import Architecture, ConvBlock
from torchhebb.recipes import get_recipe
from torchhebb.rules import SoftHebb
from torchhebb.runs import run_recipe

HOSTILE = '<img src=x onerror=alert(1)> & "run"'


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(autouse=True)
def default_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command opens by itself is the tests' store, not the user's."""
    monkeypatch.setenv("TORCHHEBB_STORE", str(store.root))


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Path:
    """A finished run of one seed in a folder whose name is HTML."""
    recipe = get_recipe("softhebb2023-digits")
    blocks = (ConvBlock(8, 3, SoftHebb(1.0), lr=0.08), ConvBlock(16, 3, SoftHebb(0.65), lr=0.005))
    recipe = replace(
        recipe,
        architecture=Architecture((1, 8, 8), blocks),
        readout=replace(recipe.readout, epochs=3),
        seeds=1,
        published=98.5,
    )
    folder = tmp_path_factory.mktemp("runs") / HOSTILE
    run_recipe(recipe, folder=folder, store=store, command="torchhebb train --note '<i>slanted</i>'")
    return folder
