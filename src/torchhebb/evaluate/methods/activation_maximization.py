"""Activation maximisation: the image that activates a neuron most, for many neurons at once."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

NEAR_ZERO = 1e-2
"""Norm of the initial image, as a factor of the norm after every step."""


def maximize_activation(
    unit: nn.Module,
    neurons: Tensor,
    shape: tuple[int, int, int],
    generator: torch.Generator,
    *,
    steps: int = 500,
    rate: float = 0.1,
    norm: float = 1.0,
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[Tensor, Tensor]:
    """Images (N, C, h, w) that each maximise a neuron's pre-activation at a fixed norm, and the pre-activations (N,).

    From Gaussian noise near zero, every step is

        x <- norm * unit(x + rate * norm * unit(d u_k / d x))        unit(x) = x / ||x||

    for all neurons as one batch: u_k of image k depends on that image alone, so that one backward pass of their sum
    gives all gradients.  For a neuron that is linear in the pixels, the image converges to its weights at the norm.

    Args: unit, pixels (N, C, h, w) -> pre-activations (N, K); neurons (N,), on its device.
    Source: SoftHebb-2023, receptive fields by gradient ascent, 500 steps, the image renormalised at each.
    """
    x = torch.randn(len(neurons), *shape, generator=generator).to(neurons.device)
    x = _scaled(x, NEAR_ZERO * norm)
    for _ in range(steps):
        x.requires_grad_()
        (slope,) = torch.autograd.grad(_of(unit(x), neurons).sum(), x)
        x = _scaled(x.detach() + _scaled(slope, rate * norm), norm)
        advance(1)
    with torch.no_grad():
        return x, _of(unit(x), neurons)


def _of(u: Tensor, neurons: Tensor) -> Tensor:
    """u (N, K) -> the pre-activation of neuron n of image n, (N,)."""
    return u.gather(1, neurons.unsqueeze(1))[:, 0]


def _scaled(x: Tensor, norm: float) -> Tensor:
    return norm * normalize(x.flatten(1), dim=1).view_as(x)
