"""What is trained on frozen features with labels, as modules: features -> logits."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LinearReadout(nn.Module):
    """logits = W x + b on flattened features.

    Whatever solver found W and b (Adam, ridge, logistic), the readout is this one affine map; standardised
    features are folded into it.

    Args: x (B, ...) with in_features numbers a sample.  Returns: logits (B, classes).
    """

    def __init__(self, in_features: int, classes: int) -> None:
        super().__init__()
        self.in_features, self.classes = in_features, classes
        self.weight = nn.Parameter(torch.zeros(classes, in_features), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(classes), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.flatten(1), self.weight, self.bias)


class NeuronLabels(nn.Module):
    """Every neuron stands for one class: the logit of a class is the largest activity among its neurons.

    A class that no neuron stands for gets -inf.

    Args: x (B, neurons), or maps that are averaged over positions first.  Returns: logits (B, classes).
    Source: SoftHebb-2022, labels assigned to neurons after learning; Diehl and Cook 2015.
    """

    labels: Tensor

    def __init__(self, in_features: int, classes: int) -> None:
        super().__init__()
        self.in_features, self.classes = in_features, classes
        self.register_buffer("labels", torch.zeros(in_features, dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2).mean(2) if x.dim() > 2 else x
        logits = x.new_full((len(x), self.classes), -torch.inf)
        return logits.scatter_reduce(1, self.labels.expand(len(x), -1), x, "amax")
