"""What backpropagation keeps of old tasks: nothing, the importance of each weight, or stored images."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchhebb.data import Images
from torchhebb.data.tasks import join


class Memory(ABC):
    """Deriving classes are called after each task, and take part in learning the next one."""

    @abstractmethod
    def remember(self, model: nn.Module, images: Images) -> None:
        """Take note of a finished task: its images, and the model that has learned them."""

    @abstractmethod
    def rehearse(self, images: Images) -> Images:
        """The images to learn from, given those of the task."""

    @abstractmethod
    def penalty(self, model: nn.Module) -> Tensor:
        """The term that is added to the loss."""


class NoMemory(Memory):
    """Sequential training without protection of old tasks."""

    def remember(self, model: nn.Module, images: Images) -> None:
        pass

    def rehearse(self, images: Images) -> Images:
        return images

    def penalty(self, model: nn.Module) -> Tensor:
        return torch.zeros((), device=next(model.parameters()).device)


class ElasticWeights(Memory):
    """Elastic weight consolidation: strength / 2 sum over old tasks t of sum_k F_tk (w_k - w_tk)^2.

    w_t are the weights after task t and F_t their diagonal Fisher information there, see `fisher_information`.
    Source: Kirkpatrick et al. 2017.
    """

    def __init__(self, strength: float, images: int, seed: int) -> None:
        self.strength, self.images, self.seed = strength, images, seed
        self.past: list[tuple[list[Tensor], list[Tensor]]] = []

    def remember(self, model: nn.Module, images: Images) -> None:
        weights = [weight.detach().clone() for weight in model.parameters() if weight.requires_grad]
        self.past.append((fisher_information(model, images, self.images, seed=self.seed), weights))

    def rehearse(self, images: Images) -> Images:
        return images

    def penalty(self, model: nn.Module) -> Tensor:
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        total = torch.zeros((), device=weights[0].device)
        for importances, anchors in self.past:
            for importance, weight, anchor in zip(importances, weights, anchors, strict=True):
                total = total + (importance * (weight - anchor).square()).sum()
        return self.strength / 2 * total


class Buffer(Memory):
    """Replay: at most `size` stored images, the same number of each old class, are learned with those of the task.

    Images are drawn by the seed; as classes arrive, fewer images of each older class are used.
    Source: Chaudhry et al. 2019, on tiny episodic memories.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self.classes: list[Images] = []

    def remember(self, model: nn.Module, images: Images) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        for label in images.labels.unique():
            index = torch.nonzero(images.labels == label).flatten()
            order = torch.randperm(len(index), generator=generator)[: self.size]
            self.classes.append(images.select(index[order]))

    def rehearse(self, images: Images) -> Images:
        each = self.size // max(1, len(self.classes))
        return join([images, *(stored.select(torch.arange(min(each, len(stored)))) for stored in self.classes)])

    def penalty(self, model: nn.Module) -> Tensor:
        return torch.zeros((), device=next(model.parameters()).device)


def fisher_information(model: nn.Module, images: Images, count: int, *, seed: int = 0) -> list[Tensor]:
    """F_k = mean over images x of (d log p(y | x) / d w_k)^2 with y drawn from p(. | x), in eval mode.

    Args: model, (pixels, labels) -> logits; count, how many of the images to draw.
    Returns a tensor for every parameter that requires a gradient.
    Source: Kirkpatrick et al. 2017; the class is drawn from the model, not taken from the labels.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    device = weights[0].device
    generator = torch.Generator().manual_seed(seed)
    chosen = images.select(torch.randperm(len(images), generator=generator)[:count])
    total = [torch.zeros_like(weight) for weight in weights]
    model.eval()
    for x, label in zip(chosen.images.split(1), chosen.labels.split(1), strict=True):
        log_probability = F.log_softmax(model(x.to(device) / 255.0, label.to(device)), 1)
        drawn = int(torch.multinomial(log_probability[0].detach().exp().cpu(), 1, generator=generator))
        for square, gradient in zip(total, torch.autograd.grad(log_probability[0, drawn], weights), strict=True):
            square += gradient.square()
    return [square / len(chosen) for square in total]
