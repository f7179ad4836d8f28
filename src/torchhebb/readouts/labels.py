"""Unsupervised scoring: every neuron stands for the class for which it wins most often."""

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
    """Each neuron takes the class for which it wins most often on the training images; the winner's label answers.

    Ties and neurons that never win take the class with the largest summed activity.  Features are (N, neurons), or
    (N, neurons, positions...), which are averaged over positions.  Nothing is left open, so nothing is held out.
    Source: SoftHebb-2022.

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
        neurons = features.shape[1]
        wins = torch.zeros(classes, neurons, dtype=torch.float64, device=features.device)
        activity = torch.zeros_like(wins)
        for x, y in zip(features.split(ROWS), labels.split(ROWS), strict=True):
            x = x.double().flatten(2).mean(2) if x.dim() > 2 else x.double()
            activity.index_add_(0, y, x)
            wins.index_put_((y, x.argmax(1)), torch.ones(len(y), dtype=wins.dtype, device=wins.device), accumulate=True)
        candidates = activity.masked_fill(wins < wins.amax(0), -torch.inf)
        readout = NeuronLabels(neurons, classes).to(features.device)
        readout.labels.copy_(candidates.argmax(0))
        return Fitted(readout.eval(), {"neurons_that_win": int((wins.sum(0) > 0).sum())})
