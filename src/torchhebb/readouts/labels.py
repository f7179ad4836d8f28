"""Neuron labels: every neuron is labelled with the class for which it wins most often."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from torchhebb.errors import UserError
from torchhebb.nn import NeuronLabels
from torchhebb.readouts.base import ROWS, FitContext, Fitted, ReadoutPlan


@dataclass(frozen=True)
class Labels(ReadoutPlan):
    """Each neuron is labelled with the class for which it wins most often; the prediction is the winner's label.

    Ties, and neurons that never win, take the class with the largest summed activity.  Features are (N, neurons), or
    (N, neurons, positions...), which are averaged over positions.  There is no setting to choose, so no sample is held
    out.
    Source: SoftHebb-2022.

    Example:
        >>> x = torch.tensor([[2.0, 0.0, 0.1], [0.0, 3.0, 0.2], [1.0, 0.0, 0.1]])
        >>> Labels().fit(x, torch.tensor([1, 0, 1]), 2).readout.labels.tolist()
        [1, 0, 0]
    """

    flattens: ClassVar[bool] = False

    def check(self, samples: int, width: int, device: torch.device) -> None:
        return  # nothing to set, and one block of features at a time

    def check_samples(self, labels: Tensor, shape: Sequence[int]) -> None:
        if prod(shape) != shape[0]:
            raise UserError(
                f"the readout Labels needs features of one number a neuron, got {tuple(shape)}: end with a linear "
                "block, or set architecture.feature_pool to 1"
            )

    def _fit(self, features: Tensor, labels: Tensor, classes: int, context: FitContext) -> Fitted:
        counts = WinCounts(features.shape[1], classes, features.device)
        for x, y in zip(features.split(ROWS), labels.split(ROWS), strict=True):
            counts.add(x, y)
        return Fitted(counts.readout(), {"neurons_that_win": int((counts.wins.sum(0) > 0).sum())})


class WinCounts:
    """Counts of the wins of each neuron for each class, and its summed activity, batch by batch.

    Args: neurons, classes; device, that of the activity.
    """

    def __init__(self, neurons: int, classes: int, device: torch.device) -> None:
        self.wins = torch.zeros(classes, neurons, dtype=torch.float64, device=device)
        self.activity = torch.zeros_like(self.wins)

    def add(self, y: Tensor, labels: Tensor) -> None:
        """Count the winners of y (B, neurons, positions...), averaged over positions, for labels (B,)."""
        y = y.double().flatten(2).mean(2) if y.dim() > 2 else y.double()
        self.activity.index_add_(0, labels, y)
        self.wins.index_put_((labels, y.argmax(1)), torch.ones_like(y[:, 0]), accumulate=True)

    def readout(self) -> NeuronLabels:
        """The label of each neuron by the counts so far; ties go to the class with the largest activity."""
        classes, neurons = self.wins.shape
        readout = NeuronLabels(neurons, classes).to(self.wins.device)
        readout.labels.copy_(self.activity.masked_fill(self.wins < self.wins.amax(0), -torch.inf).argmax(0))
        return readout.eval()
