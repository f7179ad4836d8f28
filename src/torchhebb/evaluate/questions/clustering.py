"""Test accuracy of k-means and of a Gaussian mixture with as many components as the run's layer has neurons."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from torchhebb.bounds import above, at_least
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Finding, Note
from torchhebb.evaluate.methods.clustering import k_means, mixture
from torchhebb.evaluate.study import Cell, Quantity, Study, count_test_images, values
from torchhebb.nn import BatchNorm, HebbLinear, Standardize
from torchhebb.readouts import Labels
from torchhebb.readouts.base import readout_accuracy
from torchhebb.runs.run import Run

ClusteringMethod = Literal["k_means", "mixture"]


@dataclass(frozen=True)
class Clustering(Study[ClusteringMethod]):
    """Test accuracy of k-means and of a Gaussian mixture with as many components as the run's layer has neurons.

    Both are fitted to the training images as the layer sees them: scaled to unit norm if the run does so, in as many
    passes as they need.  The centres of k-means, scaled to unit norm, replace the layer's weights, so that its features
    are a posterior like the layer's; the features of the mixture are its responsibilities.  Two readouts are fitted:
    the recipe's, and a class for each component.  Measures `<method>_test_accuracy` and
    `<method>_labels_test_accuracy` in %, one value per seed.
    Raises UserError for a run of more than one fully connected layer, or with other scaling of its input.

    Example:
        >>> Clustering(iterations=50).question
        'clustering'
    """

    question: ClassVar[str] = "clustering"
    quantities: ClassVar[dict[str, Quantity]] = {"test_accuracy": Quantity("test accuracy, %", "%", count_test_images)}

    iterations: int = field(default=30, metadata=at_least(1))
    """Largest number of iterations of k-means and of expectation maximisation; both stop earlier on convergence."""
    variance_floor: float = field(default=1e-3, metadata=above(0))
    """Added to every variance of the mixture, since many pixels are zero in all images."""

    def check(self, run: Run) -> None:
        _layer(run, run.seeds[0])

    def variants(self, run: Run) -> dict[str, ClusteringMethod]:
        return {"k_means": "k_means", "mixture": "mixture"}

    def cell(self, run: Run, variant: ClusteringMethod, seed: int) -> Cell:
        """Test accuracies of the recipe's readout and of labelled components, and the number of iterations."""
        run.progress.start(f"seed {seed}: {variant.replace('_', '-')}", 1, "methods")
        train, test, iterations = self.features(run, seed, variant)
        labels, classes = run.data.train.labels, len(run.data.classes)
        linear = run.recipe.readout.fit(train, labels, classes, seed=seed).readout
        named = Labels().fit(train, labels, classes).readout
        right, named_right = (readout_accuracy(readout, test, run.data.test.labels) for readout in (linear, named))
        run.progress.advance(1)
        run.progress.finish()
        return {"test_accuracy": right, "labels_test_accuracy": named_right, "iterations": iterations}

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        yield from self.measures(run, cells)
        yield Note("iterations", {name: list(values(of_seeds, "iterations")) for name, of_seeds in cells.items()})

    def features(self, run: Run, seed: int, method: ClusteringMethod) -> tuple[Tensor, Tensor, int]:
        """Features of the training and of the test images (N, neurons), and the number of iterations."""
        neurons, how = _layer(run, seed).out_features, {"iterations": self.iterations, "seed": seed}
        train, test = (_inputs(run, images) for images in (run.data.train.images, run.data.test.images))
        if method == "mixture":
            return mixture(train, test, neurons, variance_floor=self.variance_floor, **how)
        centres, iterations = k_means(train, neurons, **how)
        block = run.network(seed).cpu().get_submodule("block1")
        with torch.no_grad():
            block.get_parameter("layer.weight").copy_(F.normalize(centres, dim=1))
            for bias in (parameter for parameter in block.parameters() if parameter.dim() == 1):
                bias.zero_()  # they are log priors of the layer's neurons, not of these centres
            features, tested = (torch.cat([block(part) for part in x.split(1000)]) for x in (train, test))
        return features, tested, iterations


def _layer(run: Run, seed: int) -> HebbLinear:
    network = run.network(seed)
    layers = [module for module in network.modules() if isinstance(module, HebbLinear)]
    scaled = any(isinstance(module, BatchNorm | Standardize) for module in network.modules())
    if len(layers) != 1 or len(run.recipe.architecture.blocks) != 1 or scaled:
        raise UserError(
            "clustering needs a network of one fully connected layer on pixels as they are or of unit norm, "
            f"and {run.recipe.name} has another"
        )
    return layers[0]


def _inputs(run: Run, images: Tensor) -> Tensor:
    """Images (N, pixels) as the layer sees them."""
    x = images.flatten(1) / 255.0
    return F.normalize(x, dim=1) if run.recipe.architecture.unit_norm else x
