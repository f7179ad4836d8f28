"""Radii of the plastic layers of a network, by the names of their blocks."""

from torch import nn

from torchhebb.nn import HebbConv2d, HebbLinear
from torchhebb.train.diagnostics import plastic_layers, radii


def plastic_blocks(network: nn.Module) -> dict[str, HebbConv2d | HebbLinear]:
    """The plastic layers of a network by the names of their blocks, from the input up."""
    return {name.removesuffix(".layer"): layer for name, layer in plastic_layers(network).items()}


def mean_radii(network: nn.Module) -> dict[str, float]:
    """`<block>_radius`: the mean radius of each plastic layer."""
    return {f"{block}_radius": radii(layer).mean().item() for block, layer in plastic_blocks(network).items()}
