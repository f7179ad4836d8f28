"""The variants of a network of local losses that an ablation compares."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F

from torchhebb.data import Images
from torchhebb.errors import UserError
from torchhebb.nn import Architecture, Block, LocalLossBlock, Network, as_local_loss
from torchhebb.recipes.softhebb2023 import depth3
from torchhebb.train import Learning
from torchhebb.train.learn import learn_images

_DRAWN_RADIUS = 3**-0.5  # of a convolution as torch draws it, U(-1/sqrt(fan_in), 1/sqrt(fan_in))


@dataclass(frozen=True)
class Variant:
    """A network to train and read out, after each number of blocks in `depths` or, without any, after all blocks."""

    label: str
    architecture: Architecture
    kind: Literal["sphere", "softhebb_blocks", "softhebb_start", "random"] = "sphere"
    depths: tuple[int, ...] = ()

    def build(self, seed: int) -> Network:
        """The network with weights drawn by the seed."""
        if self.kind == "softhebb_blocks":
            return softhebb_blocks(self.architecture, seed)
        return self.architecture.build(seed)


def local_blocks(architecture: Architecture) -> tuple[Block, ...]:
    """The blocks; raises UserError for one that does not learn by a local loss."""
    blocks = []
    for number, block in enumerate(architecture.blocks, 1):
        if not block.has_local_loss:
            raise UserError(f"block{number} does not learn by a local loss: nothing to ablate")
        blocks.append(block)
    return tuple(blocks)


def changed(architecture: Architecture, **fields: Any) -> Architecture:
    """The architecture with these fields of all blocks set to new values."""
    return replace(architecture, blocks=tuple(block.with_settings(**fields) for block in local_blocks(architecture)))


def widened(architecture: Architecture, factor: float) -> Architecture:
    """The architecture with the channels of all blocks multiplied by a factor, rounded, and at least 1."""
    channels = [max(1, round(factor * block.width)) for block in local_blocks(architecture)]
    blocks = tuple(block.with_width(c) for block, c in zip(local_blocks(architecture), channels, strict=True))
    return replace(architecture, blocks=blocks)


def deepened(architecture: Architecture, depth: int) -> Architecture:
    """The first `depth` blocks; beyond the last block, it is repeated without pooling."""
    blocks = local_blocks(architecture)
    further = blocks[-1].with_settings(pool=None)
    return replace(architecture, blocks=(blocks + (further,) * depth)[:depth])


def until(network: Network, depth: int) -> nn.Sequential:
    """A network without the blocks above `depth`, but with the modules that follow all blocks."""
    kept = {f"block{number}" for number in range(1, depth + 1)}
    children = network.named_children()
    return nn.Sequential(*(child for name, child in children if name in kept or not name.startswith("block")))


def softhebb_blocks(architecture: Architecture, seed: int = 0) -> Network:
    """Blocks of SoftHebb-2023's depth 3 that learn by the local losses of an architecture, at its channels.

    Batch norm, convolution 5x5, then 3x3, without bias, triangle with its power, its pools; blocks above the third are
    like the third, and a block that did not pool does not.  Projections stay as they are; a residual there is not.
    """
    configs = {f"block{number}": (number, block) for number, block in enumerate(local_blocks(architecture), 1)}
    children = dict(architecture.build(seed).named_children())
    x = torch.zeros(1, *architecture.input_shape)
    for name, block in children.items():
        if (local := as_local_loss(block)) is not None:
            number, config = configs[name]
            like = _softhebb_like(number)
            body = like.with_settings(
                channels=config.width, pool=like.setting("pool") if config.setting("pool") else None
            ).build(x.shape[1:])
            kernel = like.setting("kernel_size")
            body.layer = nn.Conv2d(
                x.shape[1], config.width, kernel, padding=kernel // 2, padding_mode="reflect", bias=False
            )
            children[name] = LocalLossBlock(body, local.auxiliary, local.loss)
        with torch.no_grad():
            x = children[name].eval()(x)
    network = Network({name: child.train() for name, child in children.items()})
    network.reset_parameters(torch.Generator().manual_seed(seed))
    return network


@torch.no_grad()
def start_from_softhebb(network: Network, images: Images, *, seed: int, task: str, **learning: Any) -> None:
    """Set the convolutions of local-loss blocks to weights that SoftHebb learns in one pass in batches of 10.

    SoftHebb's network has the same convolutions and pools, with SoftHebb-2023's batch norm, triangles, temperatures and
    rates.  Each neuron's weights are scaled to the radius that the block's own are drawn with; biases stay as drawn.
    """
    architecture = network.architecture
    assert architecture is not None
    blocks = tuple(
        _softhebb_like(number).with_settings(kernel_size=3, channels=block.width, pool=block.setting("pool"))
        for number, block in enumerate(local_blocks(architecture), 1)
    )
    device = next(network.parameters()).device
    soft = replace(architecture, blocks=blocks).build(seed)
    soft.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    learn_images(soft, images, Learning(), seed=seed, task=task, **learning)
    for number in range(1, len(blocks) + 1):
        weight = soft.get_parameter(f"block{number}.layer.weight")
        directions = F.normalize(weight.flatten(1), dim=1).view(weight.shape)
        network.get_parameter(f"block{number}.body.conv.weight").copy_(_DRAWN_RADIUS * directions)


def _softhebb_like(number: int) -> Block:
    """SoftHebb-2023's block of that number at depth 3; its third block for larger numbers."""
    blocks = depth3((3, 32, 32)).blocks
    return blocks[min(number, len(blocks)) - 1]
