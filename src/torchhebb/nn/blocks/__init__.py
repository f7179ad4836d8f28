"""Blocks: one file for each kind, with its config and its module."""

from torchhebb.nn.blocks.base import Block
from torchhebb.nn.blocks.conv import ConvBlock
from torchhebb.nn.blocks.linear import LinearBlock
from torchhebb.nn.blocks.local import LocalLossBlock, as_local_loss
from torchhebb.nn.blocks.sphere import SPHeReBlock, SPHeReConvBlock
from torchhebb.nn.blocks.whitened import WhitenedBlock

__all__ = [
    "Block",
    "ConvBlock",
    "LinearBlock",
    "LocalLossBlock",
    "SPHeReBlock",
    "SPHeReConvBlock",
    "WhitenedBlock",
    "as_local_loss",
]
