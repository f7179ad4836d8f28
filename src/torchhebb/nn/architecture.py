"""A network as a value: frozen dataclasses that say what is built and how fast each block learns."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from torchhebb.errors import UserError
from torchhebb.nn.blocks import Block
from torchhebb.nn.network import Network
from torchhebb.nn.norm import Standardize, UnitNorm


@dataclass(frozen=True)
class Tap:
    """The maps of one block, averaged to `pool` x `pool`, as a part of the features."""

    block: int
    pool: int

    def __post_init__(self) -> None:
        if self.pool < 1:
            raise UserError(f"pool must be at least 1, got {self.pool}")


@dataclass(frozen=True)
class Architecture:
    """Pixels in [0, 1] of `input_shape` (C, H, W), what is done to them, and the blocks they pass."""

    input_shape: tuple[int, int, int]
    blocks: tuple[Block, ...]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    unit_norm: bool = False
    feature_pool: int | None = None  # the last maps, averaged to this height and width, are the features
    taps: tuple[Tap, ...] = ()  # the features are the maps of these blocks, not the last block's output
    tap_power: float = 1.0  # of the maps of taps; 0.5 is the root, as is usual for counts
    flip_average: bool = False  # features are the mean of those of an image and of its mirror image

    def __post_init__(self) -> None:
        depths = [tap.block for tap in self.taps]
        if len({*depths}) < len(depths) or not all(1 <= depth <= len(self.blocks) for depth in depths):
            raise UserError(f"taps must name blocks from 1 to {len(self.blocks)}, each once, got {depths}")
        if flat := [depth for depth in depths if not self.blocks[depth - 1].puts_out_maps]:
            raise UserError(f"taps must name blocks that put out maps, got {flat}, which are linear")
        if self.tap_power <= 0 or (self.tap_power != 1 and not self.taps):
            raise UserError(f"tap_power must be positive, and 1 where taps is empty, got {self.tap_power}")
        if self.taps and self.feature_pool is not None:
            raise UserError("feature_pool is for the last block alone: give its pool to taps instead")

    def with_blocks(self, change: Callable[[Block], Block]) -> "Architecture":
        """The architecture with every block changed; a UserError of a block is raised with its number.

        >>> from torchhebb.nn import ConvBlock
        >>> architecture = Architecture((3, 8, 8), (ConvBlock(4, 3), ConvBlock(8, 3)))
        >>> architecture.with_blocks(lambda block: block.with_settings(lr=2 * block.setting("lr"))).blocks[1].lr
        0.02
        """
        blocks = []
        for number, block in enumerate(self.blocks, 1):
            try:
                blocks.append(change(block))
            except UserError as error:
                raise UserError(f"block{number}: {error}") from None
        return replace(self, blocks=tuple(blocks))

    def build(self, seed: int = 0) -> Network:
        """The network, its weights drawn from `seed`: the same on every machine and device."""
        modules: dict[str, nn.Module] = {}
        if self.mean is not None and self.std is not None:
            modules["standardize"] = Standardize(self.mean, self.std)
        if self.unit_norm:
            modules["unit_norm"] = UnitNorm()
        shape = torch.Size(self.input_shape)
        for number, config in enumerate(self.blocks, 1):
            modules[f"block{number}"] = config.build(shape)
            shape = config.output_shape(shape)
        if self.feature_pool is not None:
            modules["feature_pool"] = nn.AdaptiveAvgPool2d(self.feature_pool)
        network = Network(
            modules,
            taps={f"block{tap.block}": tap.pool for tap in self.taps},
            tap_power=self.tap_power,
            flip_average=self.flip_average,
        )
        network.architecture = self
        network.reset_parameters(torch.Generator().manual_seed(seed))
        return network
