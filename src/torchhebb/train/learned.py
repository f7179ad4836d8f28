"""Detection of runs that learned little, with advice in one line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from torchhebb.data import Images
from torchhebb.nn import Network
from torchhebb.train.calibrate import init_from_images
from torchhebb.train.diagnostics import plastic_layers, radii
from torchhebb.train.recipe import Learning
from torchhebb.train.result import Measure
from torchhebb.train.stages import enter_stage, stages_of

TURNED_LEAST = 5.0
RADIUS_OFF = 0.5


@dataclass(frozen=True)
class LayerChange:
    """How far the weight vectors of a layer turned, in degrees, and their radius: means over its neurons."""

    name: str
    turned: float
    radius: float


@torch.no_grad()
def initial_weights(network: Network, images: Images, plan: Learning, seed: int) -> dict[str, Tensor]:
    """The weights that every layer of a learned network began with, drawn or taken from the images once more.

    Blocks that learned one after another began on top of those that had learned.
    """
    assert network.architecture is not None
    device = next(network.parameters()).device
    fresh = network.architecture.build(seed).to(device)
    found: dict[str, Tensor] = {}
    for learning in stages_of(fresh, plan):
        below, part = enter_stage(fresh, learning)
        init_from_images(torch.nn.Sequential(*below, *part), images, plan.samples, seed, device)
        inside = tuple(f"{name}." for name in learning)
        layers = plastic_layers(fresh).items()
        found |= {name: layer.weight.flatten(1).clone() for name, layer in layers if name.startswith(inside)}
        for name in learning:
            fresh.get_submodule(name).load_state_dict(network.get_submodule(name).state_dict())
    return found


@torch.no_grad()
def layer_changes(network: Network, initial: Mapping[str, Tensor]) -> list[LayerChange]:
    """The change of every layer whose initial weights are known.

    >>> from torchhebb.nn import Architecture, ConvBlock
    >>> network = Architecture((1, 8, 8), (ConvBlock(4, 3),)).build()
    >>> layer_changes(network, {"block1.layer": network.get_parameter("block1.layer.weight").flatten(1)})[0].turned
    0.0
    """
    found = []
    for name, layer in plastic_layers(network).items():
        if name in initial:
            one, other = layer.weight.flatten(1).double(), initial[name].double()
            cosine = torch.cosine_similarity(one, other).clamp(-1, 1)
            # Below this the rounding of float32 weights would show as an angle.
            turned = torch.where(cosine > 1 - 1e-12, 0.0, torch.rad2deg(torch.arccos(cosine)))
            found.append(LayerChange(name, turned.mean().item(), radii(layer).mean().item()))
    return found


def change_measures(seeds: Sequence[Sequence[LayerChange]]) -> tuple[Measure, ...]:
    """The changes of every layer as measures over the seeds."""
    by_layer = zip(*seeds, strict=True)
    return tuple(
        Measure(f"{what}_{layer[0].name.replace('.', '_')}", unit, tuple(getattr(change, what) for change in layer))
        for layer in by_layer
        for what, unit in (("turned", "degrees"), ("radius", ""))
    )


def nothing_learned(
    changes: Sequence[LayerChange], accuracies: Mapping[str, float] = MappingProxyType({})
) -> str | None:
    """One line that says why little was learned and what to try; None where something was.

    Args: accuracies, in percent by the names of measures, of the features and of those of random weights.

    >>> nothing_learned([LayerChange("block1.layer", 0.5, 1.0)])
    'little was learned: the weights of block1.layer turned by 0.5 degrees; try more --learning.epochs, or a higher lr'
    >>> nothing_learned([LayerChange("block1.layer", 40.0, 1.0)], {"test_accuracy": 80.0, "random_test_accuracy": 70.0})
    """
    if still := [change for change in changes if change.turned < TURNED_LEAST]:
        layer = min(still, key=lambda change: change.turned)
        said = f"the weights of {layer.name} turned by {layer.turned:.1f} degrees"
        return f"little was learned: {said}; try more --learning.epochs, or a higher lr"
    if off := [change for change in changes if abs(change.radius - 1) > RADIUS_OFF]:
        layer = max(off, key=lambda change: abs(change.radius - 1))
        said = f"the radii of {layer.name} are {layer.radius:.1f}, and 1 once it has learned"
        return f"little was learned: {said}; try more --learning.epochs, or a smaller init-radius"
    learned, random = accuracies.get("test_accuracy"), accuracies.get("random_test_accuracy")
    if learned is not None and random is not None and learned <= random:
        said = f"the features reach {learned:.1f} % on held-out images, random weights {random:.1f} %"
        return f"learning gained nothing: {said}; try more images, more --learning.epochs, or another patch size"
    return None
