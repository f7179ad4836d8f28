"""Small expectations that evaluator tests compare with: plain loops and single tensor expressions."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from torchhebb.data import Images
from torchhebb.readouts import ReadoutPlan, Ridge
from torchhebb.train import Curve, Result


def curve(result: Result, name: str) -> Curve:
    """The curve of a result by its name."""
    return next(curve for curve in result.curves if curve.name == name)


@torch.no_grad()
def features_by_hand(network: nn.Module, images: Images) -> Tensor:
    """What a network in evaluation mode makes of all images at once, in its own shape."""
    return network.eval()(images.images / 255.0)


def percent_right(answers: Sequence[int] | Tensor, labels: Tensor) -> float:
    """The share of right answers in %, counted one by one."""
    return 100 * sum(int(answer) == int(label) for answer, label in zip(answers, labels, strict=True)) / len(labels)


def drawn(images: Images, count: int) -> Images:
    """So many images, drawn by the seed 0 and in their own order."""
    return images.select(torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:count].sort().values)


def ridge_by_hand(network: nn.Module, train: Images, test: Images, *, seed: int = 0, holdout: float = 0.1) -> float:
    """Test accuracy in % of a ridge on the maps of a network, averaged over all positions."""
    features, tested = (features_by_hand(network, images).mean((2, 3)) for images in (train, test))
    readout = Ridge(holdout=holdout).fit(features, train.labels, 10, seed=seed).readout
    return percent_right(readout(tested).argmax(1), test.labels)


def labels_by_hand(y: Tensor, labels: Tensor, classes: int) -> list[int]:
    """The class of each neuron (N, neurons): that of most wins, of equal ones that of the largest summed activity."""
    wins = [[0] * classes for _ in range(y.shape[1])]
    activity = [[0.0] * classes for _ in range(y.shape[1])]
    for row, label in zip(y.double().tolist(), labels.tolist(), strict=True):
        wins[max(range(len(row)), key=row.__getitem__)][label] += 1
        for neuron, value in enumerate(row):
            activity[neuron][label] += value
    pairs = (list(zip(*of_neuron, strict=True)) for of_neuron in zip(wins, activity, strict=True))
    return [max(range(classes), key=of_neuron.__getitem__) for of_neuron in pairs]


def readout_by_hand(network: nn.Module, train: Images, test: Images, plan: ReadoutPlan, *, seed: int = 0) -> float:
    """Test accuracy in % of a readout of the flat features of a network."""
    features, tested = (features_by_hand(network, images).flatten(1) for images in (train, test))
    readout = plan.fit(features, train.labels, 10, seed=seed).readout
    return percent_right(readout(tested).argmax(1), test.labels)


def accuracies_by_hand(
    network: nn.Module, train: Images, test: Images, plan: ReadoutPlan, *, seed: int = 0
) -> dict[str, float]:
    """Test accuracies in % of a readout, and of the class of the neuron that wins, of a fully connected layer."""
    named = labels_by_hand(features_by_hand(network, train), train.labels, 10)
    winners = features_by_hand(network, test).argmax(1).tolist()
    return {
        "linear": readout_by_hand(network, train, test, plan, seed=seed),
        "labels": percent_right([named[winner] for winner in winners], test.labels),
    }
