"""The layer pipeline: block l learns from batch t while the block below it is already at batch t + 1."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from torchhebb.nn import Network, learn
from torchhebb.train.checkpoint import pack, unpack
from torchhebb.train.device import Precision, autocast


@dataclass(frozen=True)
class Parcel:
    """A batch on its way up: its number, what the next block takes, and labels for a readout at the end."""

    step: int
    x: Tensor
    labels: Tensor | None = None


class Pipeline:
    """Blocks that are all at work in one tick, each on another batch.

    At tick t (from 0) block l (from 0) learns from batch t - l: from what the block below gave at tick t - 1, by the
    weights that it had then.  No block needs in a tick what another does in it, so all of them may run at once: on
    CUDA each has a stream of its own (not run here: no GPU was at hand), on a CPU they follow one another.  After the
    last batch `drain` lets the line run empty, and every block has seen every batch once.

    In joint order too, block l takes from batch t what the block below gave before its own step, and nothing flows
    back.  So each block goes through the same states from the same inputs: the pipeline is another schedule of the
    joint pass, not another algorithm, and equals it bit for bit.  What shrinks is the longest chain of work per batch,
    from all blocks to the slowest of them; what grows is memory, by one batch of activations a block.

    Args: network, its blocks in train mode; optimizer, which is shared out among the blocks; factor, the share of
    the rates at a step; finished, what is called with every batch that has passed all blocks.
    """

    def __init__(
        self,
        network: Network,
        optimizer: torch.optim.Optimizer,
        factor: Callable[[int], float],
        *,
        precision: Precision = "float32",
        finished: Callable[[Parcel], None] = lambda _: None,
    ) -> None:
        self.stages = cut(network)
        self.optimizers = [_share(optimizer, stage) for stage in self.stages]
        self.rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.optimizers]
        self.factor, self.precision, self.finished = factor, precision, finished
        self.device = next(network.parameters()).device
        self.waiting: list[Parcel | None] = [None for _ in self.stages]
        cuda = self.device.type == "cuda"
        self.streams = [torch.cuda.Stream(self.device) if cuda else None for _ in self.stages]

    @property
    def busy(self) -> bool:
        """Whether a batch is still on its way."""
        return any(parcel is not None for parcel in self.waiting)

    def tick(self, parcel: Parcel | None = None) -> None:
        """Let every block learn from the batch that waits for it; the first one from `parcel`, which is x (B, C, H, W).

        The top block goes first: each then puts its output where the one above has just taken its input.
        """
        self.waiting[0] = parcel
        for number in reversed(range(len(self.stages))):
            parcel, self.waiting[number] = self.waiting[number], None
            if parcel is None:
                continue
            with self._on_stream(number, parcel.x):
                given = Parcel(parcel.step, self.learn(number, parcel), parcel.labels)
            if number + 1 < len(self.stages):
                self.waiting[number + 1] = given
            else:
                self.meet()
                self.finished(given)

    def meet(self) -> None:
        """On CUDA: what comes next waits until every block has done what it was given."""
        for stream in self.streams:
            if stream is not None:
                torch.cuda.current_stream(self.device).wait_stream(stream)

    def pack(self) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
        """What a checkpoint needs: where every batch is, and activations, labels and the optimizers' states."""
        self.meet()
        tensors, places = pack(**self._named_optimizers()), []
        for number, parcel in enumerate(self.waiting):
            if parcel is not None:
                # A sum depends on the order of its terms, which depends on how a tensor lies in memory.
                places.append({"stage": number, "step": parcel.step, "stride": list(parcel.x.stride())})
                tensors[f"waiting{number}.x"] = parcel.x
                if parcel.labels is not None:
                    tensors[f"waiting{number}.labels"] = parcel.labels
        return places, tensors

    def unpack(self, places: Sequence[dict[str, Any]], tensors: dict[str, Tensor]) -> None:
        """Put back what `pack` gave."""
        unpack(tensors, **self._named_optimizers())
        for place in places:
            number = place["stage"]
            x, labels = tensors[f"waiting{number}.x"], tensors.get(f"waiting{number}.labels")
            x = torch.empty_strided(x.shape, place["stride"], dtype=x.dtype, device=self.device).copy_(x)
            self.waiting[number] = Parcel(place["step"], x, None if labels is None else labels.to(self.device))

    def _named_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {f"optimizer{number}": optimizer for number, optimizer in enumerate(self.optimizers)}

    def learn(self, number: int, parcel: Parcel) -> Tensor:
        """Let one block learn from a batch and take its step; returns what it gave before the step."""
        optimizer = self.optimizers[number]
        for group, rate in zip(optimizer.param_groups, self.rates[number], strict=True):
            group["lr"] = rate * self.factor(parcel.step)
        with autocast(self.precision, self.device):
            output = learn(self.stages[number], parcel.x)
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
