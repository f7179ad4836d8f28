"""Networks that learn from a stream of batches at constant rates."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchhebb.nn import Network, learn
from torchhebb.train import Learning, Supervised
from torchhebb.train.device import Precision, autocast
from torchhebb.train.learn import make_optimizer


class OnlineLearner(ABC):
    """A network that learns from batches at a constant rate; `model` is everything that learning changes."""

    model: nn.Module
    network: Network
    """Pixels -> features."""
    head: nn.Module | None
    """Features -> logits, if learning trains one."""

    @abstractmethod
    def step(self, x: Tensor, labels: Tensor) -> Tensor:
        """Learn from x (B, C, H, W) and labels (B,); returns the output for x before the step."""


class OnlineHebbian(OnlineLearner):
    """A network that learns without feedback and without labels.

    Args: plan, for its optimizer; factor, that of its learning rates.
    """

    def __init__(self, network: Network, plan: Learning, precision: Precision, factor: float = 1.0) -> None:
        self.model = self.network = network
        self.head, self.precision = None, precision
        self.optimizer = make_optimizer(network, plan)
        for group in self.optimizer.param_groups:
            group["lr"] *= factor

    def step(self, x: Tensor, labels: Tensor) -> Tensor:
        with autocast(self.precision, x.device):
            y = learn(self.network, x)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return y


class OnlineBackpropagation(OnlineLearner):
    """Blocks and a linear layer, end to end with labels by AdamW, or by plain SGD, without dropout.

    Args: model, from `backpropagation_model`; plan, for its learning rate and weight decay; factor, that of the rate.
    """

    def __init__(
        self, model: nn.Sequential, plan: Supervised, precision: Precision, factor: float = 1.0, *, sgd: bool = False
    ) -> None:
        self.model, self.precision = model, precision
        network, self.head = model[0], model[-1]
        assert isinstance(network, Network)
        self.network = network
        parameters, lr = [p for p in model.parameters() if p.requires_grad], plan.lr * factor
        self.optimizer: torch.optim.Optimizer = (
            torch.optim.SGD(parameters, lr)
            if sgd
            else torch.optim.AdamW(parameters, lr, weight_decay=plan.weight_decay)
        )

    def step(self, x: Tensor, labels: Tensor) -> Tensor:
        with autocast(self.precision, x.device):
            logits = self.model(x)
        F.cross_entropy(logits.float(), labels).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return logits.detach()
