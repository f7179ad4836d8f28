"""Diagnostics of plastic layers during learning: radii, win rates, dead neurons."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from torchhebb.nn import HebbConv2d, HebbLinear, Network

CONV_TOLERANCE = 1e-2
LINEAR_TOLERANCE = 5e-3


@dataclass(frozen=True)
class LayerDiagnostics:
    """One layer: radii of its neurons, the share at radius 1 (R1), win rates, the share that never wins."""

    name: str
    radius_mean: float
    radius_std: float
    r1_share: float
    win_rate_max: float
    dead_share: float


def plastic_layers(network: nn.Module) -> dict[str, HebbConv2d | HebbLinear]:
    """The Hebbian layers of a network by name, from the input up."""
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, HebbConv2d | HebbLinear)}


def radii(layer: HebbConv2d | HebbLinear | nn.Conv2d) -> Tensor:
    """The L2 norm of each neuron's weight vector."""
    return torch.linalg.vector_norm(layer.weight.flatten(1), dim=1)


def at_radius_1(layer: HebbConv2d | HebbLinear | nn.Conv2d) -> Tensor:
    """Whether the radius of each neuron is 1 within 1e-2 (convolution) or 5e-3 (linear): the R1 features."""
    tolerance = LINEAR_TOLERANCE if isinstance(layer, HebbLinear) else CONV_TOLERANCE
    return (radii(layer) - 1).abs() <= tolerance


def r1_share(layer: HebbConv2d | HebbLinear) -> Tensor:
    """The fraction of neurons at radius 1."""
    return at_radius_1(layer).float().mean()


@torch.no_grad()
def win_rates(network: Network, x: Tensor) -> dict[str, Tensor]:
    """For each plastic layer, the fraction of samples and positions that each neuron wins, on the images x."""
    rates: dict[str, Tensor] = {}
    layers = plastic_layers(network)

    def count(name: str, u: Tensor) -> None:
        winners = u.argmax(1).flatten()
        rates[name] = torch.bincount(winners, minlength=u.shape[1]) / winners.numel()

    handles = [
        layer.register_forward_hook(lambda _m, _x, u, name=name: count(name, u)) for name, layer in layers.items()
    ]
    training = {module: module.training for module in network.modules()}
    try:
        network.eval()(x)
    finally:
        for module, mode in training.items():
            module.training = mode
        for handle in handles:
            handle.remove()
    return rates


def diagnose(network: Network, x: Tensor) -> list[LayerDiagnostics]:
    """Diagnostics of every plastic layer, its win rates on the images x; one transfer to the host per layer."""
    rates = win_rates(network, x)
    found = []
    for name, layer in plastic_layers(network).items():
        radius, rate = radii(layer), rates[name]
        numbers = [radius.mean(), radius.std(correction=0), r1_share(layer), rate.max(), (rate == 0).float().mean()]
        mean, std, r1, most, dead = torch.stack(numbers).tolist()
        found.append(LayerDiagnostics(name, mean, std, r1, most, dead))
    return found
