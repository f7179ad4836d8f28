"""Weights that are rounded to a grid of few bits while a network learns."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from torchhebb.functional.quantize import Rounding, power_of_two_scale, quantize
from torchhebb.nn import Network


@torch.no_grad()
def quantize_weights(
    network: Network,
    bits: int,
    *,
    scale: Literal["neuron", "layer"] = "neuron",
    rounding: Rounding = "nearest",
    generator: torch.Generator | None = None,
) -> None:
    """Round every weight of a network to the grid of its neuron or layer, in place; biases are not changed."""
    for weight in network.parameters():
        if weight.dim() > 1:
            level = power_of_two_scale(weight, bits, per=scale)
            weight.copy_(quantize(weight, bits, scale=level, rounding=rounding, generator=generator))


@contextmanager
def kept_quantized(network: Network, bits: int, **how: Any) -> Iterator[None]:
    """Quantise the weights at the start of the context, and in it after every step of an optimizer on them.

    Args: how, the other arguments of `quantize_weights`.
    """
    own = {id(weight) for weight in network.parameters()}

    def round_again(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if any(id(weight) in own for group in optimizer.param_groups for weight in group["params"]):
            quantize_weights(network, bits, **how)

    quantize_weights(network, bits, **how)
    handle = register_optimizer_step_post_hook(round_again)
    try:
        yield
    finally:
        handle.remove()
