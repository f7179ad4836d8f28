"""Modules that learn by local rules, networks of them, and saving."""

from torchhebb.nn.activation import Power, SoftWTA, Triangle
from torchhebb.nn.blocks import (
    Block,
    ConvBlock,
    LinearBlock,
    LocalLossBlock,
    SPHeReBlock,
    SPHeReConvBlock,
    WhitenedBlock,
    as_local_loss,
)
from torchhebb.nn.conv import HebbConv2d
from torchhebb.nn.learning import LearningModule, init_from_data, learn
from torchhebb.nn.linear import HebbLinear
from torchhebb.nn.network import Architecture, Network, Tap
from torchhebb.nn.norm import BatchNorm, BatchNorm2d, Standardize, UnitNorm
from torchhebb.nn.pool import Pool
from torchhebb.nn.readout import LinearReadout, NeuronLabels, ReadoutModule
from torchhebb.nn.saving import load, save
from torchhebb.nn.whiten import PatchWhitening

__all__ = [
    "Architecture",
    "BatchNorm",
    "BatchNorm2d",
    "Block",
    "ConvBlock",
    "HebbConv2d",
    "HebbLinear",
    "LearningModule",
    "LinearBlock",
    "LinearReadout",
    "LocalLossBlock",
    "Network",
    "NeuronLabels",
    "PatchWhitening",
    "Pool",
    "Power",
    "Tap",
    "ReadoutModule",
    "SPHeReBlock",
    "SPHeReConvBlock",
    "SoftWTA",
    "Standardize",
    "Triangle",
    "UnitNorm",
    "WhitenedBlock",
    "as_local_loss",
    "learn",
    "load",
    "init_from_data",
    "save",
]
