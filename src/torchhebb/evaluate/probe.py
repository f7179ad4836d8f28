"""Readouts of a network's features for questions that fit many of them, such as one at every point of a curve."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from torchhebb.bounds import Checked, at_least, between
from torchhebb.data import Images
from torchhebb.evaluate.methods.subsample import subsample
from torchhebb.nn import Network
from torchhebb.progress import SILENT
from torchhebb.readouts import Labels, Logistic, ReadoutPlan, Ridge
from torchhebb.readouts.base import readout_accuracy
from torchhebb.runs.run import Run
from torchhebb.train.device import autocast
from torchhebb.train.features import extract_features
from torchhebb.train.recipe import shortened


@dataclass(frozen=True)
class Probe(Checked):
    """A fast readout of the features of a network, the same at every point of a curve.

    Compare its accuracies only with each other: it averages maps, which the run's readout takes whole.

    Example:
        >>> Probe(readout="logistic", pool=1).readout
        'logistic'
    """

    readout: Literal["ridge", "logistic", "recipe"] = "ridge"
    """Ridge or logistic regression, with a strength that is chosen on a held-out part of the labelled images; or the
    readout of the recipe."""
    pool: int | None = field(default=2, metadata=at_least(1))
    """Height and width to which the last maps are averaged; None keeps them whole."""
    holdout: float = field(default=0.1, metadata=between(0, 1))
    """Share of the labelled images that chooses the strength."""
    epochs: int | None = field(default=None, metadata=at_least(1))
    """Epochs of the recipe's readout; None takes the recipe's."""
    images: int | None = field(default=None, metadata=at_least(1))
    """Number of labelled images that the readout is fitted to, drawn once; None takes all."""

    def check(self, run: Run, train: Images) -> None:
        """Raise UserError for too few images, or for `epochs` of a readout that has none."""
        self._plan(run).check_samples(subsample(train, self.images).labels, (1,))

    def score(self, network: Network, train: Images, test: Images, run: Run, seed: int, task: str = "probe") -> float:
        """Accuracy in % on `test` of a readout fitted to a network's features of `train`."""
        train = subsample(train, self.images)
        fitted, tested = (self.features(network, images, run, f"{task}: features") for images in (train, test))
        return self.accuracy(fitted, train.labels, tested, test.labels, run, seed)

    def features(self, network: Network, images: Images, run: Run, label: str = "features") -> Tensor:
        """The features (N, F) of a network: its last maps, averaged and flattened."""
        shape = feature_shape(network, images, run)
        coarser = self.pool is not None and len(shape) == 3 and max(shape[1:]) > self.pool
        whole = nn.Sequential(network, nn.AdaptiveAvgPool2d(self.pool)) if coarser else network
        return features_of(whole, run, images, label=label)[0]

    def accuracy(
        self, features: Tensor, labels: Tensor, tested: Tensor, test_labels: Tensor, run: Run, seed: int
    ) -> float:
        """Accuracy in % on the features `tested` of a readout fitted to `features` (N, F) and `labels` (N,)."""
        readout = self._plan(run).fit(features, labels, len(run.data.classes), seed=seed).readout
        return readout_accuracy(readout, tested, test_labels)

    def _plan(self, run: Run) -> ReadoutPlan:
        if self.readout == "recipe":
            return shortened(run.recipe.readout, self.epochs)
        return Ridge(holdout=self.holdout) if self.readout == "ridge" else Logistic(holdout=self.holdout)


ReadoutChoice = Literal["ridge", "trained"]
"""Ridge regression, or the readout of the run's recipe."""


def chosen_plan(choice: ReadoutChoice, ridge: Ridge, run: Run, width: int) -> ReadoutPlan:
    """The plan of a choice; a ridge projects only features that are wider than its projection."""
    return run.recipe.readout if choice == "trained" else ridge.for_width(width)


def features_of(network: nn.Module, run: Run, *parts: Images, label: str = "features") -> list[Tensor]:
    """The flattened features (N, F) of each part, on the device and in the precision of a run."""
    how: dict[str, Any] = {"device": run.device, "label": label, "progress": run.progress}
    with autocast(run.precision, run.device):
        return [extract_features(network, images, **how) for images in parts]


@torch.no_grad()
def feature_shape(network: nn.Module, images: Images, run: Run) -> tuple[int, ...]:
    """The shape of one image's features before they are flattened: (channels, positions...)."""
    with autocast(run.precision, run.device):
        return tuple(network.eval()(images.images[:1].to(run.device) / 255.0).shape[1:])


def read_out(
    network: Network, train: Images, test: Images, classes: int, plan: ReadoutPlan, *, run: Run, seed: int
) -> dict[str, float]:
    """Test accuracies in % of two readouts fitted to `train`: `linear` by the plan, and `labels` of the neurons."""
    shape = feature_shape(network, test, run)
    features, tested = features_of(network, replace(run, progress=SILENT), train, test)
    linear = plan.fit(features, train.labels, classes, seed=seed).readout
    labels = Labels().fit(features.unflatten(1, shape), train.labels, classes).readout
    return {
        "linear": readout_accuracy(linear, tested, test.labels),
        "labels": readout_accuracy(labels, tested.unflatten(1, shape), test.labels),
    }
