"""The eager stepper: learn, average over the ranks, step."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from torchhebb.nn.packing import pack, unpack
from torchhebb.train.device import Precision
from torchhebb.train.fused import learning_step
from torchhebb.train.online import OnlineReadout


class EagerStepper:
    """Stepper that takes every step immediately.

    Args: part, what learns, in train mode; optimizer; rates, those of its groups in full; factor, the fraction of the
    rates at a step; online, a readout to train on the output of every batch.
    """

    def __init__(
        self,
        part: nn.Module,
        optimizer: torch.optim.Optimizer,
        rates: Sequence[float | Tensor],
        factor: Callable[[int], float],
        *,
        device: torch.device,
        precision: Precision = "float32",
        online: OnlineReadout | None = None,
    ) -> None:
        self.optimizer, self.rates, self.factor = optimizer, rates, factor
        self.online = online
        self.learn = learning_step(part, optimizer, device=device, precision=precision, output=online is not None)

    def step(self, number: int, x: Tensor, labels: Tensor | None) -> None:
        factor = self.factor(number)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        output = self.learn(x)
        if self.online is not None and labels is not None:
            self.online.step(output, labels, factor)

    def flush(self) -> None:
        pass

    def pack(self) -> dict[str, Tensor]:
        return pack(optimizer=self.optimizer) | online_state(self.online)

    def unpack(self, tensors: dict[str, Tensor]) -> None:
        unpack(tensors, optimizer=self.optimizer)
        restore_online(self.online, tensors)


def online_state(online: OnlineReadout | None) -> dict[str, Tensor]:
    """The tensors of a readout that learns beside the blocks; none where there is no readout."""
    return {} if online is None else pack(online=online.readout, online_optimizer=online.optimizer)


def restore_online(online: OnlineReadout | None, tensors: dict[str, Tensor]) -> None:
    """Restore what `online_state` returned."""
    if online is not None:
        unpack(tensors, online=online.readout, online_optimizer=online.optimizer)
