"""Readouts as modules, from features to logits."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchhebb.config import find_type, type_name
from torchhebb.errors import UserError
from torchhebb.nn.flatten import flatten_maps
from torchhebb.nn.plastic import allocatable, positive
from torchhebb.nn.saving import Portable, positive_int
from torchhebb.nn.shapes import check_shape


class ReadoutModule(Portable, nn.Module):
    """A module from features to logits that is saved with the network it is attached to.

    A readout of a user's own is a subclass with the same two sizes; whatever else it holds are parameters and buffers.

    Args: in_features, the numbers or neurons of a sample; classes.

    >>> from torchhebb.nn import LinearReadout, ReadoutModule
    >>> isinstance(LinearReadout(8, 2), ReadoutModule)
    True
    """

    def __init__(self, in_features: int, classes: int) -> None:
        super().__init__()
        positive(in_features=in_features, classes=classes)
        self.in_features, self.classes = in_features, classes

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes) from the features of a network."""

    @staticmethod
    def features_in(shape: Sequence[int]) -> int:
        """The `in_features` for a network whose output for one sample has this shape."""
        return math.prod(shape)

    def header(self) -> dict[str, Any]:
        kind, sizes = type_name(type(self)), {"in_features": self.in_features, "classes": self.classes}
        return {"readout": {"type": kind, **sizes}}

    @classmethod
    def from_header(cls, header: dict[str, Any]) -> "ReadoutModule":
        entry = header.get("readout")
        kind = find_type(ReadoutModule, entry.get("type")) if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or kind is None or kind is ReadoutModule:
            raise UserError(f"readout must be one of LinearReadout, NeuronLabels, or your own, got {entry!r}")
        sizes = (positive_int(entry.get(name), name) for name in ("in_features", "classes"))
        readout: ReadoutModule = kind(*sizes)
        return readout


class LinearReadout(ReadoutModule):
    """logits = W x + b on flattened features.

    The readout is this affine map for every solver of W and b (Adam, ridge, logistic); standardisation of features is
    folded into it.

    Args: x (B, ...) with in_features numbers a sample.  Returns: logits (B, classes).

    >>> LinearReadout(in_features=32, classes=10)(torch.rand(2, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(self, in_features: int, classes: int) -> None:
        super().__init__(in_features, classes)
        self.weight = nn.Parameter(torch.zeros(allocatable(classes, in_features)), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(classes), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        fits = x.dim() > 1 and math.prod(x.shape[1:]) == self.in_features
        check_shape(x, fits, f"(B, ...) with {self.in_features} numbers a sample")
        return F.linear(flatten_maps(x), self.weight, self.bias)


class NeuronLabels(ReadoutModule):
    """Every neuron is assigned to one class: the logit of a class is the largest activity among its neurons.

    A class without neurons gets -inf.

    Args: x (B, neurons), or maps that are averaged over positions first.  Returns: logits (B, classes).
    Source: SoftHebb-2022, labels assigned to neurons after learning; Diehl and Cook 2015.

    >>> NeuronLabels(in_features=32, classes=10)(torch.rand(2, 32)).shape
    torch.Size([2, 10])
    """

    labels: Tensor

    def __init__(self, in_features: int, classes: int) -> None:
        super().__init__(in_features, classes)
        self.register_buffer("labels", torch.zeros(in_features, dtype=torch.long))

    @staticmethod
    def features_in(shape: Sequence[int]) -> int:
        return shape[0]

    def _load_from_state_dict(self, *arguments: Any, **settings: Any) -> None:
        super()._load_from_state_dict(*arguments, **settings)
        if self.labels.device.type != "meta" and not bool(((self.labels >= 0) & (self.labels < self.classes)).all()):
            raise UserError(f"the labels of neurons must lie from 0 to {self.classes - 1}")

    def forward(self, x: Tensor) -> Tensor:
        check_shape(x, x.dim() > 1 and x.shape[1] == self.in_features, f"(B, {self.in_features}, ...)")
        x = x.flatten(2).mean(2) if x.dim() > 2 else x
        batch = x.shape[0]  # len() would fix the batch size of an exported network
        logits = x.new_full((batch, self.classes), -torch.inf)
        return logits.scatter_reduce(1, self.labels.expand(batch, -1), x, "amax")
