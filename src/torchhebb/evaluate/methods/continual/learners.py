"""Networks that learn tasks one after another: plastic networks without labels, and backpropagation."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from torchhebb.data import Images
from torchhebb.evaluate.methods.continual.memories import Memory
from torchhebb.nn import Network
from torchhebb.train import Learning, Supervised
from torchhebb.train.calibrate import calibrate
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.learn import learn_images
from torchhebb.train.supervised import fit_supervised


class TaskLearner(ABC):
    """One network for all tasks; `model` is everything that learning changes."""

    model: nn.Module

    @property
    @abstractmethod
    def network(self) -> Network:
        """Pixels -> features."""

    @property
    @abstractmethod
    def head(self) -> nn.Module | None:
        """Features -> logits of all classes, if learning trains one."""

    @abstractmethod
    def learn(self, images: Images, first: bool, checkpoint: Checkpoint, task: str) -> None:
        """Learn from the images of a task; `first` says that there was none before it."""

    @abstractmethod
    def remember(self, images: Images) -> None:
        """Take note of a finished task; called again for every task when an interrupted run continues."""


class WithoutLabels(TaskLearner):
    """A network that uses no labels: it has no head, and keeps nothing of a task besides its weights."""

    model: Network

    @property
    def network(self) -> Network:
        return self.model

    @property
    def head(self) -> None:
        return None

    def remember(self, images: Images) -> None:
        pass


class HebbianLearner(WithoutLabels):
    """A plastic network that learns all tasks without labels; optimizer and rate start again with every task.

    Args: how, the seed, precision and progress of `learn_images`.
    """

    def __init__(self, network: Network, plan: Learning, **how: Any) -> None:
        self.model, self.plan, self.how = network, plan, how

    def learn(self, images: Images, first: bool, checkpoint: Checkpoint, task: str) -> None:
        learn_images(self.model, images, self.plan, checkpoint=checkpoint, task=task, **self.how)


class FrozenLearner(WithoutLabels):
    """Random weights, with batch norm calibrated on the images of the first task."""

    def __init__(self, network: Network, seed: int) -> None:
        self.model, self.seed = network, seed

    def learn(self, images: Images, first: bool, checkpoint: Checkpoint, task: str) -> None:
        if first:
            calibrate(self.model, images, seed=self.seed)


class BackpropagationLearner(TaskLearner):
    """The same blocks, end to end with labels by AdamW; optimizer and rate start again with every task.

    Args: layers, as `backpropagation_model` makes them; heads, the number of heads, each with its own softmax, or 1 for
    one softmax over the classes of all tasks; how, the seed, precision and progress of `fit_supervised`.
    """

    model: "Heads"

    def __init__(self, layers: nn.Sequential, plan: Supervised, memory: Memory, *, heads: int, **how: Any) -> None:
        self.model, self.plan, self.memory, self.how = Heads(layers, heads), plan, memory, how

    @property
    def network(self) -> Network:
        network = self.model.layers[0]
        assert isinstance(network, Network)
        return network

    @property
    def head(self) -> nn.Module:
        return self.model.layers[-1]

    def learn(self, images: Images, first: bool, checkpoint: Checkpoint, task: str) -> None:
        fit_supervised(
            self.model,
            self.memory.rehearse(images),
            self.plan,
            perturb=self.model.tell,
            penalty=self.memory.penalty,
            checkpoint=checkpoint,
            task=task,
            **self.how,
        )

    def remember(self, images: Images) -> None:
        self.memory.remember(self.model, images)


class Heads(nn.Module):
    """(x, labels) -> logits (B, classes) in which the heads of all tasks but the sample's own are -inf.

    Labels are positions in the order of the tasks, so class k belongs to task k // (classes / tasks); with one task
    no logit is hidden.  The training loop calls the model with x alone, so `tell` is given the labels first.
    """

    def __init__(self, layers: nn.Sequential, tasks: int) -> None:
        super().__init__()
        self.layers, self.tasks = layers, tasks
        self.labels: Tensor | None = None

    def tell(self, _model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
        """Keep the labels of the next batch, and return x unchanged."""
        self.labels = labels
        return x

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        labels, self.labels = self.labels if labels is None else labels, None
        logits = self.layers(x)
        if self.tasks == 1:
            return logits
        if labels is None:
            raise ValueError("separate heads need the labels of the batch: give them, or call tell() before")
        each = logits.shape[1] // self.tasks
        task = torch.arange(logits.shape[1], device=logits.device) // each
        return logits.masked_fill(task != (labels // each).unsqueeze(1), -torch.inf)
