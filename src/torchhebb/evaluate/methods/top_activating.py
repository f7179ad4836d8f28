"""The images that activate neurons most, from one pass with a running list for every neuron on the device."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from torchhebb.data import Batches
from torchhebb.evaluate.methods.receptive_field import Field, block_layers, unrectified
from torchhebb.nn import HebbConv2d, HebbLinear, Network
from torchhebb.train.device import Precision, autocast

NAMES = ("value", "image", "row", "column")


@dataclass(frozen=True, eq=False)
class TopActivating:
    """The `count` strongest images of n neurons: value, image, row and column of the map, each (n, count).

    The strongest image comes first; ties are in the order of the data.
    """

    value: Tensor
    image: Tensor
    row: Tensor
    column: Tensor

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name).tolist() for name in NAMES}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "TopActivating":
        return cls(*(torch.tensor(data[name]) for name in NAMES))

    def of(self, places: Sequence[int]) -> "TopActivating":
        """The images of some of the neurons, by their indices."""
        return TopActivating(self.value[places], self.image[places], self.row[places], self.column[places])


@torch.no_grad()
def top_activating(
    network: Network,
    images: Tensor,
    neurons: Mapping[str, Sequence[int]],
    count: int,
    *,
    batch_size: int,
    device: torch.device,
    precision: Precision = "float32",
    advance: Callable[[int], None] = lambda _: None,
) -> dict[str, TopActivating]:
    """The images with the highest pre-activations, over all positions, for neurons of several blocks.

    It takes one pass over the images, and keeps `count` images per neuron, each with its strongest position.

    Args: network, frozen, on the device; images (N, C, H, W) uint8, N >= count; neurons, by the block's name.
    """
    best: dict[str, TopActivating] = {}
    begin = 0

    def look(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        rectified = isinstance(module, HebbConv2d | HebbLinear) and module.rule.rectify
        u = unrectified(module).forward(inputs[0]) if rectified else output  # forward: a call would come back here
        u = u[:, list(neurons[name])].float()
        width = u.shape[3] if u.dim() == 4 else 1
        value, place = u.flatten(2).max(2) if u.dim() == 4 else (u, torch.zeros_like(u, dtype=torch.long))
        image = torch.arange(begin, begin + len(u), device=device).unsqueeze(1).expand_as(value)
        parts = [TopActivating(value.mT, image.mT, (place // width).mT, (place % width).mT)]
        best[name] = _merge(([best[name]] if name in best else []) + parts, count)

    layers = block_layers(network)
    handles = [layers[name].register_forward_hook(partial(look, name)) for name in neurons]
    try:
        for x in Batches(images, batch_size, shuffle=False, device=device).epoch(0):
            with autocast(precision, device):
                network(x)
            begin += len(x)
            advance(len(x))
    finally:
        for handle in handles:
            handle.remove()
    return best


def _merge(parts: Sequence[TopActivating], count: int) -> TopActivating:
    """The strongest images of several lists of the same neurons; a stable sort keeps ties in order."""
    every = TopActivating(*(torch.cat([getattr(part, name) for part in parts], 1) for name in NAMES))
    value, order = every.value.sort(dim=1, descending=True, stable=True)
    order = order[:, :count]
    rest = {name: getattr(every, name).gather(1, order) for name in NAMES[1:]}
    return replace(every, value=value[:, :count], **rest)


def clipped(found: TopActivating, field: Field, image_size: tuple[int, int]) -> Tensor:
    """Whether the receptive field reaches outside the image, (n, count)."""
    top, left = found.row * field.jump[0] + field.start[0], found.column * field.jump[1] + field.start[1]
    over = (top + field.size[0] > image_size[0]) | (left + field.size[1] > image_size[1])
    return (top < 0) | (left < 0) | over


def cut(images: Tensor, found: TopActivating, field: Field) -> Tensor:
    """The receptive fields in the images: (n, count, C, h, w) in [0, 1], NaN for pixels outside the image.

    Args: images (N, C, H, W) uint8, those that were searched.
    """
    height, width = images.shape[2:]
    patches = torch.full((*found.image.shape, images.shape[1], *field.size), torch.nan)
    for neuron, rank in torch.cartesian_prod(*(torch.arange(side) for side in found.image.shape)).tolist():
        top, left = field.corner(int(found.row[neuron, rank]), int(found.column[neuron, rank]))
        rows = slice(max(top, 0), min(top + field.size[0], height))
        columns = slice(max(left, 0), min(left + field.size[1], width))
        inside = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
        patches[neuron, rank][:, *inside] = images[int(found.image[neuron, rank]), :, rows, columns] / 255.0
    return patches
