"""Properties of filters: colour, spatial frequency and similarity."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

BRIGHTEST = 0.995
"""Quantile of a network's absolute weights that is shown as full colour."""


def full_colour(weight: Tensor) -> float:
    """The absolute weight that is shown as full colour, for all of weight (K, C, h, w)."""
    return max(weight.abs().flatten().double().quantile(BRIGHTEST).item(), 1e-12)


def colour_shares(weight: Tensor) -> Tensor:
    """The share (K,) of a filter's energy in differences between its channels, for weight (K, C, h, w).

    >>> red, grey = torch.tensor([1.0, 0.0, 0.0]), torch.ones(3)
    >>> colour_shares(torch.stack([red, grey]).view(2, 3, 1, 1))
    tensor([0.6667, 0.0000])
    """
    grey = weight.mean(1, keepdim=True).expand_as(weight)
    energy = weight.flatten(1).square().sum(1).clamp_min(1e-24)
    return (weight - grey).flatten(1).square().sum(1) / energy


def frequencies(weight: Tensor) -> Tensor:
    """The mean spatial frequency (K,) of weight (K, C, h, w) in cycles per pixel, weighted by power, without the mean.

    >>> row = torch.arange(8) * (2 * torch.pi / 8)
    >>> frequencies(torch.sin(2 * row).expand(1, 1, 8, 8))
    tensor([0.2500])
    """
    power = torch.fft.fft2(weight.double()).abs().square().sum(1).flatten(1)
    height, width = weight.shape[2:]
    down, across = torch.fft.fftfreq(height).double(), torch.fft.fftfreq(width).double()
    radius = torch.hypot(down.unsqueeze(1), across).flatten()
    return ((power @ radius) / power[:, 1:].sum(1).clamp_min(1e-24)).float()


def appearance(weight: Tensor) -> Tensor:
    """The order (K,) in which filters are shown: grey before coloured, each from low to high spatial frequency."""
    colourful = colour_shares(weight) > 0.5
    return (colourful * 1000.0 + frequencies(weight)).argsort(stable=True)


def nearest_cosine(weight: Tensor) -> float:
    """Mean over neurons of the largest cosine between their weights and another neuron's; 0 for a single neuron."""
    rows = normalize(weight.flatten(1), dim=1)
    cosines = rows @ rows.mT
    return cosines.fill_diagonal_(-1.0).amax(1).mean().item() if len(rows) > 1 else 0.0
