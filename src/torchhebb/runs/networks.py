"""The networks of a run: built on its device, with random weights, or trained by its plan."""

from pathlib import Path
from typing import Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn

from torchhebb.data import Data, Images, Store
from torchhebb.nn import Architecture, Network
from torchhebb.progress import Progress
from torchhebb.train import Learning, Recipe
from torchhebb.train.calibrate import calibrate
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.device import Precision
from torchhebb.train.features import stored_features
from torchhebb.train.learn import learn_images
from torchhebb.train.subset import subset_images, subset_key
from torchhebb.train.supervised import backpropagation_model

Module = TypeVar("Module", bound=nn.Module)


class Workspace(Protocol):
    """What training and evaluating a run have in common: a recipe, its data, and options for computing."""

    @property
    def folder(self) -> Path: ...
    @property
    def recipe(self) -> Recipe: ...
    @property
    def data(self) -> Data: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def precision(self) -> Precision: ...
    @property
    def store(self) -> Store: ...
    @property
    def progress(self) -> Progress: ...


def learning_task(seed: int) -> str:
    """What the unsupervised phase of a run's own network is called in its log and its checkpoint."""
    return f"seed {seed}: learning"


def placed(network: Module, device: torch.device) -> Module:
    """A network, or a model with one, on a device, in the memory format in which convolutions are fast."""
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def built(run: Workspace, seed: int, architecture: Architecture | None = None) -> Network:
    """A network before it learned, on the run's device; of the run's architecture by default."""
    return placed((architecture or run.recipe.architecture).build(seed), run.device)


def built_for_backpropagation(run: Workspace, seed: int) -> nn.Sequential:
    """The run's blocks in a form for gradients with a linear layer on top, before they learned, on the run's device."""
    recipe = run.recipe
    model = backpropagation_model(recipe.architecture, len(run.data.classes), seed, recipe.supervised.init)
    return placed(model, run.device)


def untrained(run: Workspace, seed: int, images: Images | None = None) -> Network:
    """Initial weights with batch norm calibrated on images (by default the run's training images), in eval mode."""
    images = run.data.train if images is None else images
    return calibrate(built(run, seed), images, seed=seed, samples=run.recipe.learning.samples)


def learn_run(
    network: Network,
    run: Workspace,
    seed: int,
    *,
    images: Images | None = None,
    plan: Learning | None = None,
    checkpoint: Checkpoint | None = None,
    task: str = "learning",
) -> Network:
    """Train a network's plastic blocks as the run's were, in its precision and with its progress.

    Args: images, by default those that the plan chooses of the run's data, whose greedy inputs are then kept in the
    store; plan, by default the recipe's.  Returns the network, in eval mode.
    """
    plan = run.recipe.learning if plan is None else plan
    key, store = subset_key(run.data, plan, seed, run.precision), run.store if images is None else None
    if images is None:
        images, plan = subset_images(run.data, plan, seed)
    return learn_images(
        network,
        images,
        plan,
        seed=seed,
        precision=run.precision,
        store=store,
        key=key,
        checkpoint=checkpoint,
        task=task,
        progress=run.progress,
    )


def frozen_features(
    network: Network, run: Workspace, split: Literal["train", "test"], label: str, *, model: str | None = None
) -> Tensor:
    """Features (N, F) of a split of the run's data, from the store where they are known already.

    Args: model, the fingerprint of the network, where it is known.
    """
    return stored_features(
        network,
        run.data,
        split,
        device=run.device,
        precision=run.precision,
        store=run.store,
        label=label,
        model=model,
        progress=run.progress,
    )
