"""What do k-means and a Gaussian mixture of the same size give, read out in the same way?"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Evaluator, Finding, Note
from torchhebb.evaluate.statistics import wilson
from torchhebb.nn import BatchNorm, HebbLinear, Standardize
from torchhebb.readouts import Labels
from torchhebb.readouts.adam import fit_linear, predict_logits
from torchhebb.readouts.base import percent_correct
from torchhebb.runs.run import Run
from torchhebb.train import Measure


@dataclass(frozen=True)
class Clustering(Evaluator):
    """k-means and a diagonal Gaussian mixture with as many components as the run's single layer has neurons.

    Both see the training images as the layer does, scaled to unit norm where it has them so, as often as they need.
    The unit-norm centres of k-means take the place of the layer's weights, so that its features are a posterior like
    the layer's; those of the mixture are its responsibilities.  Linear readout as in the recipe, and labelled
    components.  Measures `<method>_test_accuracy` and `<method>_labels_test_accuracy` in %, a value a seed.
    Raises UserError for a run of more than one fully connected layer, or with other scaling of its input.
    """

    question: ClassVar[str] = "clustering"

    iterations: int = 30
    """At most so many of k-means, and of expectation maximisation; both stop when nothing changes any more."""
    variance_floor: float = 1e-3
    """Added to every variance of the mixture: many pixels are zero in all images."""

    def run(self, run: Run) -> Iterator[Finding]:
        if self.iterations < 1 or self.variance_floor <= 0:
            raise UserError(
                f"iterations and variance_floor must be positive, got {self.iterations} and {self.variance_floor}"
            )
        methods: dict[str, Callable[..., tuple[Tensor, Tensor, int]]] = {
            "k_means": partial(_k_means, self),
            "mixture": partial(_mixture, self),
        }
        iterations: dict[str, list[int]] = {}
        for name, method in methods.items():
            found = []
            run.progress.start(name.replace("_", "-"), len(run.seeds), "seeds")
            for seed in run.seeds:
                key = {"question": self.question, "method": name, "seed": seed, "iterations": self.iterations}
                work = partial(_accuracies, run, seed, method)
                found.append(run.once(work, **key, variance_floor=self.variance_floor))
                run.progress.advance(1)
            run.progress.finish()
            for column, readout in enumerate(("", "labels_")):
                values = tuple(pair[column] for pair in found)
                yield Measure(
                    f"{name}_{readout}test_accuracy", "%", values, interval=wilson(values, len(run.data.test))
                )
            iterations[name] = [pair[2] for pair in found]
        yield Note("iterations", iterations)


def _accuracies(run: Run, seed: int, method: Callable[..., tuple[Tensor, Tensor, int]]) -> tuple[float, float, int]:
    """Test accuracy in % by the recipe's readout and by labelled components, and how many iterations it took."""
    train, test, iterations = method(run, seed)
    labels, classes = run.data.train.labels, len(run.data.classes)
    linear = fit_linear(train, labels, classes, run.recipe.readout, seed=seed)
    named = Labels().fit(train, labels, classes).readout
    right, named_right = (
        percent_correct(predict_logits(readout, test), run.data.test.labels) for readout in (linear, named)
    )
    return right, named_right, iterations


def _k_means(plan: Clustering, run: Run, seed: int) -> tuple[Tensor, Tensor, int]:
    from sklearn.cluster import KMeans

    network, layer = run.network(seed).cpu(), _layer(run, seed)
    train, test = (_inputs(run, split) for split in (run.data.train.images, run.data.test.images))
    model = KMeans(layer.out_features, init="random", n_init=1, max_iter=plan.iterations, random_state=seed)
    _quietly(model.fit, train.numpy())
    block = network.get_submodule("block1")
    with torch.no_grad():
        block.get_parameter("layer.weight").copy_(F.normalize(torch.from_numpy(model.cluster_centers_), dim=1))
        for bias in (parameter for parameter in block.parameters() if parameter.dim() == 1):
            bias.zero_()  # log priors of the layer's neurons, which say nothing of these centres
        return _in_parts(block, train), _in_parts(block, test), int(model.n_iter_)


def _mixture(plan: Clustering, run: Run, seed: int) -> tuple[Tensor, Tensor, int]:
    from sklearn.mixture import GaussianMixture

    layer = _layer(run, seed)
    train, test = (_inputs(run, split).numpy() for split in (run.data.train.images, run.data.test.images))
    model = GaussianMixture(
        layer.out_features,
        covariance_type="diag",
        reg_covar=plan.variance_floor,
        max_iter=plan.iterations,
        init_params="random_from_data",
        random_state=seed,
    )
    _quietly(model.fit, train)
    shares, test_shares = (torch.from_numpy(model.predict_proba(x)).float() for x in (train, test))
    return shares, test_shares, int(model.n_iter_)


def _layer(run: Run, seed: int) -> HebbLinear:
    network = run.network(seed)
    layers = [module for module in network.modules() if isinstance(module, HebbLinear)]
    scaled = any(isinstance(module, BatchNorm | Standardize) for module in network.modules())
    if len(layers) != 1 or len(run.recipe.architecture.blocks) != 1 or scaled:
        raise UserError(
            "clustering is asked of a network of one fully connected layer on pixels as they are or of unit norm, "
            f"{run.recipe.name} has another"
        )
    return layers[0]


def _inputs(run: Run, images: Tensor) -> Tensor:
    """Images (N, pixels) as the layer sees them."""
    x = images.flatten(1) / 255.0
    return F.normalize(x, dim=1) if run.recipe.architecture.unit_norm else x


def _in_parts(block: torch.nn.Module, x: Tensor) -> Tensor:
    return torch.cat([block(part) for part in x.split(1000)])


def _quietly(fit: Callable[..., Any], x: Any) -> None:
    """That the iterations are over is no news: how many there were is kept."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fit(x)
