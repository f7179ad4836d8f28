"""The pipeline stepper: block l learns from batch t while the block below is at batch t + 1."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from torchhebb.nn import Network, learn
from torchhebb.nn.packing import pack, unpack
from torchhebb.train.device import Precision, autocast
from torchhebb.train.eager import online_state, restore_online
from torchhebb.train.online import OnlineReadout


@dataclass(frozen=True)
class Microbatch:
    """A batch in the pipeline: its number, the input of the next block, and labels for a readout at the end."""

    step: int
    x: Tensor
    labels: Tensor | None = None


class Pipeline:
    """Stepper in which all blocks learn in each tick, each from another batch.

    At tick t (from 0) block l (from 0) learns from batch t - l: from the output that the block below computed at tick
    t - 1.  Within a tick no block depends on another, so all of them may run at the same time: on CUDA each has its own
    stream (not run, because no GPU was available), on a CPU they run one after the other.  After the last batch `flush`
    empties the pipeline, and every block has learned from every batch once.

    In joint order block l also gets, for batch t, the output of the block below from before its own step, and there is
    no feedback.  So each block goes through the same states: the pipeline is another schedule of the joint pass, and
    equals it bit for bit.  The time for a batch becomes that of the slowest block instead of the sum over blocks; the
    memory grows by one batch of activations for each block.

    Args: network, its blocks in train mode; optimizer, which is divided among the blocks; factor, the fraction of the
    rates at a step; online, a readout to train on the output of every batch that has passed all blocks.
    """

    def __init__(
        self,
        network: Network,
        optimizer: torch.optim.Optimizer,
        factor: Callable[[int], float],
        *,
        precision: Precision = "float32",
        online: OnlineReadout | None = None,
    ) -> None:
        self.stages = cut(network)
        self.optimizers = [_share(optimizer, stage) for stage in self.stages]
        self.rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.optimizers]
        self.factor, self.precision, self.online = factor, precision, online
        self.device = next(network.parameters()).device
        self.waiting: list[Microbatch | None] = [None for _ in self.stages]
        cuda = self.device.type == "cuda"
        self.streams = [torch.cuda.Stream(self.device) if cuda else None for _ in self.stages]

    @property
    def busy(self) -> bool:
        """Whether a batch is still in the pipeline."""
        return any(microbatch is not None for microbatch in self.waiting)

    def step(self, number: int, x: Tensor, labels: Tensor | None) -> None:
        self.tick(Microbatch(number, x, labels if self.online is not None else None))

    def flush(self) -> None:
        """Empty the pipeline, so that every block has learned from every batch."""
        while self.busy:
            self.tick()
        self._synchronize()

    def tick(self, microbatch: Microbatch | None = None) -> None:
        """Let every block learn from the batch that waits for it; the first one from `microbatch`, with x (B, C, H, W).

        The top block goes first: each then puts its output where the one above has just taken its input.
        """
        self.waiting[0] = microbatch
        for number in reversed(range(len(self.stages))):
            microbatch, self.waiting[number] = self.waiting[number], None
            if microbatch is None:
                continue
            with self._on_stream(number, microbatch.x):
                given = Microbatch(microbatch.step, self.learn(number, microbatch), microbatch.labels)
            if number + 1 < len(self.stages):
                self.waiting[number + 1] = given
            else:
                self._synchronize()
                if self.online is not None and given.labels is not None:
                    self.online.step(given.x, given.labels, self.factor(given.step))

    def _synchronize(self) -> None:
        """On CUDA: let the current stream wait for the streams of all blocks."""
        for stream in self.streams:
            if stream is not None:
                torch.cuda.current_stream(self.device).wait_stream(stream)

    def pack(self) -> dict[str, Tensor]:
        return pack(**self._named_optimizers()) | online_state(self.online)

    def unpack(self, tensors: dict[str, Tensor]) -> None:
        unpack(tensors, **self._named_optimizers())
        restore_online(self.online, tensors)

    def _named_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {f"optimizer{number}": optimizer for number, optimizer in enumerate(self.optimizers)}

    def learn(self, number: int, microbatch: Microbatch) -> Tensor:
        """Let one block learn from a batch and take its step; returns what it gave before the step."""
        optimizer = self.optimizers[number]
        for group, rate in zip(optimizer.param_groups, self.rates[number], strict=True):
            group["lr"] = rate * self.factor(microbatch.step)
        with autocast(self.precision, self.device):
            output = learn(self.stages[number], microbatch.x)
        optimizer.step()
        optimizer.zero_grad()
        return output

    def _on_stream(self, number: int, x: Tensor) -> AbstractContextManager[Any]:
        """Work on a block's stream, which waits for what was there before this tick: the top block goes first."""
        stream = self.streams[number]
        if stream is None:
            return nullcontext()
        stream.wait_stream(torch.cuda.current_stream(self.device))
        if number and (below := self.streams[number - 1]) is not None:
            stream.wait_stream(below)
        x.record_stream(stream)
        return torch.cuda.stream(stream)


def cut(network: Network) -> list[nn.Sequential]:
    """One part a block, in order: modules before the first block go with it, any other with the block below it.

    >>> from torchhebb.nn import Architecture, ConvBlock
    >>> network = Architecture((1, 8, 8), (ConvBlock(4, 3), ConvBlock(8, 3)), unit_norm=True, feature_pool=2).build()
    >>> [[type(module).__name__ for module in part] for part in cut(network)]
    [['UnitNorm', 'Sequential'], ['Sequential', 'AdaptiveAvgPool2d']]
    """
    parts: list[list[nn.Module]] = [[]]
    above = False
    for name, module in network.named_children():
        if name.startswith("block"):
            if above:
                parts.append([])
            above = True
        parts[-1].append(module)
    return [nn.Sequential(*part) for part in parts]


def _share(optimizer: torch.optim.Optimizer, stage: nn.Module) -> torch.optim.Optimizer:
    """An optimizer of the same kind and settings for the parameters of one block alone."""
    mine = {id(parameter) for parameter in stage.parameters()}
    groups = [
        {**group, "params": [parameter for parameter in group["params"] if id(parameter) in mine]}
        for group in optimizer.param_groups
    ]
    return type(optimizer)([group for group in groups if group["params"]])  # type: ignore[call-arg]
