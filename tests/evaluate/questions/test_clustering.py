"""k-means and mixtures find known clusters, and are refused for networks that they do not apply to."""

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
from torchhebb.evaluate.methods.clustering import k_means, mixture
from torchhebb.evaluate.questions.clustering import Clustering
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
    train, test, iterations = Clustering(iterations=5).features(layer, 0, "k_means")
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
    train, _, _ = Clustering(iterations=5).features(layer, 0, "k_means")
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


def three_clusters() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Points of variance 0.01 around three centres, the centre of each, and the centres."""
    centres = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    belongs = torch.arange(90) % 3
    return centres[belongs] + 0.1 * torch.randn(90, 2, generator=torch.Generator().manual_seed(0)), belongs, centres


@pytest.mark.parametrize("seed", range(3))
def test_a_centre_of_k_means_is_the_mean_of_the_samples_nearest_to_it(seed: int) -> None:
    x, _, _ = three_clusters()
    centres, iterations = k_means(x, 4, iterations=50, seed=seed)
    nearest = torch.cdist(x, centres).argmin(1)
    for number, centre in enumerate(centres):
        torch.testing.assert_close(centre, x[nearest == number].mean(0), atol=0.03, rtol=0)  # it stops at small moves
    assert iterations < 50


@pytest.mark.parametrize("seed", range(3))
def test_the_mixture_tells_two_clusters_apart_also_where_it_was_not_fitted(seed: int) -> None:
    x, belongs, centres = three_clusters()
    shares, of_centres, _ = mixture(x[belongs < 2], centres[:2], 2, variance_floor=1e-3, iterations=50, seed=seed)
    component = of_centres.argmax(1)
    assert sorted(component.tolist()) == [0, 1] and of_centres.amax(1).min() > 0.99
    assert torch.equal(shares.argmax(1), component[belongs[belongs < 2]]) and shares.amax(1).min() > 0.99
    torch.testing.assert_close(shares.sum(1), torch.ones(60))


def test_no_more_iterations_are_made_than_allowed() -> None:
    x, _, _ = three_clusters()
    assert k_means(x, 20, iterations=1, seed=0)[1] == 1
    assert mixture(x, x, 5, variance_floor=1e-3, iterations=1, seed=0)[2] == 1


def test_a_deep_network_is_refused(run: Run) -> None:
    with pytest.raises(UserError, match="one fully connected layer"):
        list(Clustering().run(run))


@pytest.mark.parametrize("settings", [{"iterations": 0}, {"variance_floor": 0.0}])
def test_settings_out_of_range(layer: Run, settings: dict[str, float], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must be (at least|above)"):
        list(Clustering(**settings).run(layer))  # type: ignore[arg-type]
