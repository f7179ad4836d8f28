"""SoftHebb-2023 in its plain form: every equation of the paper as its own eager operation.

It is what the library is measured against: float32 tensors in the default layout, batch norm, reflect padding,
convolution, softmax over channels, the statistic as a convolution whose kernel is the activity, a pass of its own
for the decay, for the largest entry, for the radius and for the step; and a readout that computes the frozen
network, and differentiates through it, for every batch.  Both take the same step, which a test holds.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchhebb.functional.plasticity import pair
from torchhebb.nn import ConvBlock, Network
from torchhebb.rules import SoftHebb


class PlainBlock(nn.Module):
    """Batch norm, convolution, triangle, pool, with the weights and statistics of a block of the library.

    Raises ValueError for a configuration other than a dense SoftHebb block with reflect padding.
    """

    def __init__(self, config: ConvBlock, block: nn.Module) -> None:
        super().__init__()
        rule = config.rule
        if not isinstance(rule, SoftHebb) or rule.rectify or not rule.anti_hebbian:
            raise ValueError(f"rule must be SoftHebb with anti-Hebbian losers, got {rule}")
        if config.groups != 1 or config.padding_mode != "reflect" or not config.normalize:
            raise ValueError(f"the block must be dense, normalised and padded by reflection, got {config}")
        self.inverse_temperature, self.config = rule.inverse_temperature, config
        self.padding = config.dilation * (config.kernel_size // 2) if config.padding is None else config.padding
        weight = block.get_parameter("layer.weight").detach()
        self.weight = nn.Parameter(weight.clone(memory_format=torch.contiguous_format))
        self.norm = nn.BatchNorm2d(weight.shape[1], affine=False, dtype=weight.dtype, device=weight.device)
        self.norm.running_mean.copy_(block.get_buffer("norm.running_mean"))  # type: ignore[union-attr]
        self.norm.running_var.copy_(block.get_buffer("norm.running_var"))  # type: ignore[union-attr]
        self.pool = nn.Identity() if config.pool is None else config.pool.build()

    def forward(self, x: Tensor) -> Tensor:
        return self.activate(self.convolve(self.pad(self.norm(x))))

    def pad(self, x: Tensor) -> Tensor:
        return F.pad(x, (self.padding,) * 4, mode="reflect")

    def convolve(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, stride=self.config.stride, dilation=self.config.dilation)

    def activate(self, u: Tensor) -> Tensor:
        return self.pool(torch.relu(u - u.mean(1, keepdim=True)) ** self.config.power)

    @torch.no_grad()
    def learn(self, x: Tensor) -> Tensor:
        """One step of the weights, and the output of the weights before it."""
        x = self.pad(self.norm(x))
        u = self.convolve(x)
        y = torch.softmax(self.inverse_temperature * u, 1)
        winner = u.argmax(1, keepdim=True)
        y = (-y).scatter(1, winner, y.gather(1, winner))

        update = self._statistic(x, y) - (y * u).sum((0, 2, 3)).view(-1, 1, 1, 1) * self.weight
        update = update / (update.abs().max() + 1e-30)
        radius = self.weight.flatten(1).norm(dim=1)
        rate = self.config.lr * ((radius - 1).abs() + 1e-10) ** self.config.lr_power
        self.weight.add_(rate.view(-1, 1, 1, 1) * update)
        return self.activate(u)

    def _statistic(self, x: Tensor, y: Tensor) -> Tensor:
        """Channels of x as samples, activities as kernel: the stride is then that kernel's dilation."""
        stride, dilation = pair(self.config.stride), pair(self.config.dilation)
        statistic = F.conv2d(x.transpose(0, 1), y.transpose(0, 1), stride=dilation, dilation=stride).transpose(0, 1)
        size = self.weight.shape[2]  # with a stride, the kernel may also fit where the layer never looked
        return statistic[:, :, :size, :size]


class PlainNetwork(nn.Sequential):
    """The plain blocks of a network of the library, started from its weights.

    Raises ValueError for a network that has another form.
    """

    def __init__(self, network: Network) -> None:
        architecture = network.architecture
        if architecture is None or architecture.unit_norm or architecture.mean is not None:
            raise ValueError("the network must be built from an Architecture of blocks alone")
        super().__init__()
        for number, config in enumerate(architecture.blocks, 1):
            if not isinstance(config, ConvBlock):
                raise ValueError(f"blocks must be ConvBlock, got {type(config).__name__}")
            self.append(PlainBlock(config, network.get_submodule(f"block{number}")))

    def learn(self, x: Tensor) -> Tensor:
        """One learning step of all blocks."""
        for block in self.children():
            assert isinstance(block, PlainBlock)
            x = block.learn(x)
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
