"""SoftHebb-2023 in its plain form: every equation of the paper as its own eager operation.

It is what the library is measured against: float32 tensors in the default layout, batch norm, reflect padding,
convolution, softmax over channels, the statistic as a convolution whose kernel is the activity, a pass of its own
for the decay, for the largest entry, for the radius and for the step; and a readout that computes the frozen
network, and differentiates through it, for every batch.  Both take the same step, which a test holds.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchhebb.functional.plasticity import pair
from torchhebb.nn import Block, ConvBlock, LinearBlock, Network
from torchhebb.rules import HardHebb, RankedHebb, SoftHebb


class PlainBlock(nn.Module, ABC):
    """Batch norm, products, activation, with the weights and statistics of a block of the library.

    Raises ValueError for a configuration that has no plain form here.
    """

    def __init__(self, config: ConvBlock | LinearBlock, block: nn.Module) -> None:
        super().__init__()
        if not isinstance(config.rule, SoftHebb | HardHebb | RankedHebb):
            raise ValueError(f"rule must be SoftHebb, HardHebb or RankedHebb, got {config.rule}")
        if config.activation == "relu":
            raise ValueError("activation must be triangle or soft_wta, got relu")
        self.config = config
        weight = block.get_parameter("layer.weight").detach()
        self.weight = nn.Parameter(weight.clone(memory_format=torch.contiguous_format))
        self.norm: nn.Module = nn.Identity()
        if config.normalize:
            kind = nn.BatchNorm1d if weight.dim() == 2 else nn.BatchNorm2d
            channels = len(block.get_buffer("norm.running_mean"))
            self.norm = kind(channels, affine=False, dtype=weight.dtype, device=weight.device)
            for name in ("running_mean", "running_var"):
                self.norm.get_buffer(name).copy_(block.get_buffer(f"norm.{name}"))

    @abstractmethod
    def enter(self, x: Tensor) -> Tensor:
        """What the weights are multiplied with."""

    @abstractmethod
    def multiply(self, x: Tensor) -> Tensor:
        """The pre-activations u."""

    @abstractmethod
    def statistic(self, x: Tensor, y: Tensor) -> Tensor:
        """Sums of y x^T."""

    @abstractmethod
    def pool(self, x: Tensor) -> Tensor:
        """What follows the activation."""

    def forward(self, x: Tensor) -> Tensor:
        return self.activate(self._rectify(self.multiply(self.enter(x))))

    def activate(self, u: Tensor) -> Tensor:
        if self.config.activation == "soft_wta":
            return self.pool(torch.softmax(self.config.output_inverse_temperature * u, 1))
        return self.pool(torch.relu(u - u.mean(1, keepdim=True)) ** self.config.power)

    @torch.no_grad()
    def learn(self, x: Tensor) -> Tensor:
        """One step of the weights, and the output of the weights before it."""
        x = self.enter(x)
        u = self._rectify(self.multiply(x))
        y = self._compete(u)
        ones = [1] * (self.weight.dim() - 1)

        decay = (y * u).sum([dim for dim in range(u.dim()) if dim != 1])
        update = self.statistic(x, y) - decay.view(-1, *ones) * self.weight
        update = update / (update.abs().max() + 1e-30)
        radius = self.weight.flatten(1).norm(dim=1)
        rate = self.config.lr * ((radius - 1).abs() + 1e-10) ** self.config.lr_power
        self.weight.add_(rate.view(-1, *ones) * update)
        return self.activate(u)

    def _rectify(self, u: Tensor) -> Tensor:
        return torch.relu(u - u.mean(1, keepdim=True)) if self.config.rule.rectify else u

    def _compete(self, u: Tensor) -> Tensor:
        rule = self.config.rule
        if isinstance(rule, SoftHebb):
            y = torch.softmax(rule.inverse_temperature * u, 1)
            if rule.anti_hebbian:
                winner = u.argmax(1, keepdim=True)
                y = (-y).scatter(1, winner, y.gather(1, winner))
            return y
        y = torch.zeros_like(u)
        if isinstance(rule, RankedHebb):
            order = u.topk(rule.rank, 1).indices
            y = y.scatter(1, order[:, -1:], -rule.delta)
            return y.scatter(1, order[:, :1], 1.0)
        return y.scatter(1, u.argmax(1, keepdim=True), 1.0)


class PlainConv(PlainBlock):
    """Batch norm, reflect padding, convolution, triangle, pool."""

    def __init__(self, config: ConvBlock, block: nn.Module) -> None:
        if config.groups != 1 or config.padding_mode != "reflect":
            raise ValueError(f"the block must be dense and padded by reflection, got {config}")
        super().__init__(config, block)
        self.padding = config.dilation * (config.kernel_size // 2) if config.padding is None else config.padding
        self.stride, self.dilation = pair(config.stride), pair(config.dilation)
        self.pooled = nn.Identity() if config.pool is None else config.pool.build()

    def enter(self, x: Tensor) -> Tensor:
        return F.pad(self.norm(x), (self.padding,) * 4, mode="reflect")

    def multiply(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, stride=self.stride, dilation=self.dilation)

    def pool(self, x: Tensor) -> Tensor:
        return self.pooled(x)

    def statistic(self, x: Tensor, y: Tensor) -> Tensor:
        """Channels of x as samples, activities as kernel: the stride is then that kernel's dilation."""
        stride, dilation = self.dilation, self.stride
        statistic = F.conv2d(x.transpose(0, 1), y.transpose(0, 1), stride=stride, dilation=dilation).transpose(0, 1)
        size = self.weight.shape[2]  # with a stride, the kernel may also fit where the layer never looked
        return statistic[:, :, :size, :size]


class PlainLinear(PlainBlock):
    """Flatten, batch norm, fully connected, triangle or the posterior."""

    def __init__(self, config: LinearBlock, block: nn.Module) -> None:
        if config.bias:
            raise ValueError("the block must have no bias")
        super().__init__(config, block)

    def enter(self, x: Tensor) -> Tensor:
        return self.norm(x.flatten(1))

    def multiply(self, x: Tensor) -> Tensor:
        return x @ self.weight.T

    def pool(self, x: Tensor) -> Tensor:
        return x

    def statistic(self, x: Tensor, y: Tensor) -> Tensor:
        return y.T @ x


def plain_block(config: Block, block: nn.Module) -> PlainBlock:
    """The plain form of a block; raises ValueError for one that has none."""
    match config:
        case ConvBlock():
            return PlainConv(config, block)
        case LinearBlock():
            return PlainLinear(config, block)
        case other:
            raise ValueError(f"blocks must be ConvBlock or LinearBlock, got {type(other).__name__}")


class PlainNetwork(nn.Sequential):
    """The plain blocks of a network of the library, started from its weights, and what stands around them.

    Raises ValueError for a network that has another form.
    """

    def __init__(self, network: Network) -> None:
        architecture = network.architecture
        if architecture is None or architecture.taps or architecture.flip_average:
            raise ValueError("the network must be built from an Architecture, and read at its last block alone")
        super().__init__()
        blocks = iter(architecture.blocks)
        for name, module in network.named_children():
            self.append(plain_block(next(blocks), module) if name.startswith("block") else module)

    def learn(self, x: Tensor) -> Tensor:
        """One learning step of all blocks."""
        for module in self.children():
            x = module.learn(x) if isinstance(module, PlainBlock) else module(x)
        return x


class PlainReadout:
    """Dropout and a linear layer by Adam on top of a network computed anew, and differentiated, for every batch.

    The weights below are frozen by leaving them out of the optimizer alone: their gradients are computed all the same.
    """

    def __init__(self, network: PlainNetwork, head: nn.Linear, *, lr: float = 1e-3, dropout: float = 0.5) -> None:
        self.network, self.head, self.dropout = network.eval(), head, dropout
        self.optimizer = torch.optim.Adam(head.parameters(), lr=lr, foreach=False, fused=False)

    def step(self, x: Tensor, labels: Tensor) -> Tensor:
        """One step on images x; returns the loss."""
        self.network.zero_grad()
        self.optimizer.zero_grad()
        features = F.dropout(self.network(x).flatten(1), self.dropout)
        loss = F.cross_entropy(self.head(features), labels)
        loss.backward()
        self.optimizer.step()
        return loss.detach()
