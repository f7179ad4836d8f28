"""The activations that may follow a plastic layer, by name."""

import math
from typing import Literal

from torch import nn

from torchhebb.errors import UserError
from torchhebb.nn.activation import SoftWTA, Triangle
from torchhebb.nn.linear import HebbLinear
from torchhebb.rules import Rule, SoftHebb

Activation = Literal["triangle", "relu", "soft_wta"]

HE_RADIUS = math.sqrt(2.0)  # the radius at which relu keeps the variance: He et al. 2015


def build_activation(
    name: Activation, *, power: float, inverse_temperature: float, layer: HebbLinear | None = None
) -> nn.Module:
    """The module of that name; `power` is the triangle's, the other arguments are those of `SoftWTA`."""
    match name:
        case "relu":
            return nn.ReLU()
        case "soft_wta":
            return SoftWTA(inverse_temperature, layer=layer)
        case "triangle":
            return Triangle(power)
        case other:
            raise UserError(f"activation must be triangle, relu or soft_wta, got {other!r}")


def unrectified(rule: Rule) -> Rule:
    """The rule for a layer that learns by gradients, where all that it does is to rectify the output, or not."""
    return SoftHebb() if rule.rectify else rule
