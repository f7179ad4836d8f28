"""k-means and mixtures beside a layer: they find clusters that are there, and are refused where they make no sense."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.evaluate.conftest import CPU
from torchhebb.data import Store
from torchhebb.errors import UserError
from torchhebb.evaluate import Run, open_run
from torchhebb.evaluate.evaluator import Note
from torchhebb.evaluate.questions.clustering import Clustering, _k_means, _mixture
from torchhebb.nn import Network
from torchhebb.recipes import get_recipe
from torchhebb.runs import run_recipe
from torchhebb.train import Learning, Measure


@pytest.fixture(scope="module")
def layer(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("runs") / "layer"
    recipe = replace(get_recipe("softhebb2022-digits"), seeds=2, baselines=(), learning=Learning(batch_size=50))
    run_recipe(recipe, CPU, folder=folder, store=store)
    yield open_run(folder, store=store)


def test_both_classify_digits_and_their_pieces_are_kept(layer: Run) -> None:
    found = list(Clustering(iterations=10).run(layer))
    measures = {finding.name: finding for finding in found if isinstance(finding, Measure)}
    assert list(measures) == [
        f"{method}_{readout}test_accuracy" for method in ("k_means", "mixture") for readout in ("", "labels_")
    ]
    for measure in measures.values():
        assert len(measure.values) == 2 and min(measure.values) > 75, measure
    (note,) = (finding for finding in found if isinstance(finding, Note))
    assert all(1 <= count <= 10 for counts in note.value.values() for count in counts)
    assert [m for m in Clustering(iterations=10).run(layer) if isinstance(m, Measure)] == list(measures.values())


def test_features_of_k_means_are_a_posterior_peaked_at_the_nearest_centre(layer: Run) -> None:
    train, test, iterations = _k_means(Clustering(iterations=5), layer, 0)
    assert train.shape == (len(layer.data.train), 100) and test.shape == (len(layer.data.test), 100)
    assert torch.allclose(train.sum(1), torch.ones(len(train))) and iterations <= 5
    assert len(train.argmax(1).unique()) > 50


def test_centres_do_not_inherit_the_log_priors_of_the_layers_neurons(
    layer: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = replace(layer.recipe.architecture.blocks[0], bias=True)
    architecture = replace(layer.recipe.architecture, blocks=(block,))

    def network(run: Run, seed: int) -> Network:
        found = architecture.build(seed).eval()
        found.get_parameter("block1.layer.bias")[:50] = -10.0
        return found

    monkeypatch.setattr(Run, "network", network)
    train, _, _ = _k_means(Clustering(iterations=5), layer, 0)
    assert (train.argmax(1) < 50).any()


@pytest.mark.parametrize("change", [{"normalize": True}, {"mean": (0.5,), "std": (0.3,)}])
def test_inputs_that_the_clusterings_would_not_see_are_refused(
    change: dict[str, Any], layer: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    architecture = layer.recipe.architecture
    if "normalize" in change:
        change = {"blocks": (replace(architecture.blocks[0], **change),)}
    monkeypatch.setattr(Run, "network", lambda run, seed: replace(architecture, **change).build(seed).eval())
    with pytest.raises(UserError, match="as they are or of unit norm"):
        list(Clustering().run(layer))


def test_responsibilities_of_the_mixture_sum_to_one(layer: Run) -> None:
    train, _, _ = _mixture(Clustering(iterations=5), layer, 0)
    assert torch.allclose(train.sum(1), torch.ones(len(train))) and len(train.argmax(1).unique()) > 50


def test_a_deep_network_is_refused(run: Run) -> None:
    with pytest.raises(UserError, match="one fully connected layer"):
        list(Clustering().run(run))


@pytest.mark.parametrize("settings", [{"iterations": 0}, {"variance_floor": 0.0}])
def test_settings_out_of_range(layer: Run, settings: dict[str, float], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must be (at least|above)"):
        list(Clustering(**settings).run(layer))  # type: ignore[arg-type]
