"""Training of a plan on images in memory without saving, to evaluate it."""

import torch
from torch import nn

from torchhebb.data import Data, Images
from torchhebb.nn import Network
from torchhebb.progress import SILENT, Progress
from torchhebb.readouts.adam import Readout, fit_source
from torchhebb.readouts.base import readout_accuracy
from torchhebb.train.accuracy import model_accuracy
from torchhebb.train.device import Precision, autocast
from torchhebb.train.features import extract_features
from torchhebb.train.learn import learn_images
from torchhebb.train.recipe import Learning, Recipe
from torchhebb.train.sources import FreshFeatures
from torchhebb.train.subset import subset_images


def fresh_network(recipe: Recipe, seed: int, device: torch.device) -> Network:
    """The network of a recipe before learning, on a device as in runs."""
    return recipe.architecture.build(seed).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def learn_from(
    network: Network,
    data: Data,
    plan: Learning,
    *,
    seed: int,
    precision: Precision,
    task: str,
    progress: Progress = SILENT,
) -> None:
    """Let a network learn by a plan from the images of the data that the plan names."""
    images, plan = subset_images(data, plan, seed)
    learn_images(network, images, plan, seed=seed, precision=precision, task=task, progress=progress)


def judge(
    network: Network,
    data: Data,
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device,
    precision: Precision,
    task: str,
    progress: Progress = SILENT,
) -> float:
    """Accuracy in % on `data.test` of the recipe's readout, fitted to `data.train` with its views."""
    plan, classes = recipe.readout, len(data.classes)
    if isinstance(plan, Readout) and plan.augment.active:
        source = FreshFeatures(
            network, data.train, plan.augment, plan.batch_size, seed, device=device, precision=precision
        )
        readout: nn.Module = fit_source(source, classes, plan, seed=seed, task=task, progress=progress)
        return model_accuracy(network, data.test, readout=readout, device=device, precision=precision)
    train, test = (features(network, images, device, precision) for images in (data.train, data.test))
    readout = plan.fit(train, data.train.labels, classes, seed=seed, task=task, progress=progress).readout
    return readout_accuracy(readout, test, data.test.labels)


@torch.no_grad()
def features(network: Network, images: Images, device: torch.device, precision: Precision) -> torch.Tensor:
    """Frozen features (N, F) of images, not cached."""
    with autocast(precision, device):
        return extract_features(network, images, device=device)
