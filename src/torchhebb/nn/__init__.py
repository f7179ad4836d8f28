"""Modules that own weights."""

from torchhebb.nn.activation import Power, SoftWTA, Triangle
from torchhebb.nn.architecture import Architecture, ConvBlock, LinearBlock, Read, WhitenedBlock
from torchhebb.nn.conv import HebbConv2d
from torchhebb.nn.learning import learn, prepare
from torchhebb.nn.linear import HebbLinear
from torchhebb.nn.local import LocalLossBlock
from torchhebb.nn.network import Network
from torchhebb.nn.norm import BatchNorm, BatchNorm2d, Standardize, UnitNorm
from torchhebb.nn.pool import Pool
from torchhebb.nn.readout import LinearReadout, NeuronLabels
from torchhebb.nn.saving import load, save
from torchhebb.nn.sphere import LocalConvBlock, SPHeReBlock
from torchhebb.nn.whiten import PatchWhitening

__all__ = [
    "Architecture",
    "BatchNorm",
    "BatchNorm2d",
    "ConvBlock",
    "HebbConv2d",
    "HebbLinear",
    "LinearBlock",
    "LinearReadout",
    "LocalConvBlock",
    "LocalLossBlock",
    "Network",
    "NeuronLabels",
    "PatchWhitening",
    "Pool",
    "Power",
    "Read",
    "SPHeReBlock",
    "SoftWTA",
    "Standardize",
    "Triangle",
    "UnitNorm",
    "WhitenedBlock",
    "learn",
    "load",
    "prepare",
    "save",
]
