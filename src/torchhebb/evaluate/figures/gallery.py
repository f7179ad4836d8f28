"""Figures of the smallest changes of images that make networks misclassify them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from torchhebb.evaluate.evaluator import Figure
from torchhebb.evaluate.figures.text import plain
from torchhebb.evaluate.figures.tiles import show_image
from torchhebb.nn import HebbLinear, Network, SoftWTA
from torchhebb.train.perturb import Norm, fooled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NORMS: dict[Norm, tuple[str, str]] = {"inf": ("linf", "L-inf"), "2": ("l2", "L2")}
"""The name of a norm in measures and in text."""

GRID: dict[Norm, tuple[float, ...]] = {
    "inf": tuple(round(0.02 * k, 2) for k in range(1, 31)),
    "2": tuple(round(0.2 * k, 1) for k in range(1, 41)),
}
"""The radii that are tried, from the smallest one on."""


class Attack(Protocol):
    """model, x, labels, norm, eps -> adversarial x."""

    def __call__(self, model: nn.Module, x: Tensor, labels: Tensor, *, eps: float) -> Tensor: ...


def gallery(
    networks: Mapping[str, Network],
    judge: nn.Module,
    x: Tensor,
    labels: Tensor,
    classes: Sequence[str],
    attack: Attack,
    *,
    norm: Norm,
) -> Figure:
    """The smallest change found of each image that makes each network misclassify it, one column per network.

    For each image there is a row with the changed image, a row with the change, and for a single layer of competing
    neurons two rows with the prototype (the weights) of the winner before and after.  The text under an image has eps
    and the classes that the network and the judge predict.

    Args: networks by their names; x (B, C, H, W), which all networks classify rightly; labels (B,).
    """
    from matplotlib.figure import Figure as Canvas

    found = {name: smallest(network.classifier, x, labels, attack, norm) for name, network in networks.items()}
    winners = {name: winning_prototypes(network, x) for name, network in networks.items()}
    competing = any(before is not None for before in winners.values())
    rows = 4 if competing else 2
    canvas = Canvas(figsize=(1.55 * (len(networks) + 1), 1.5 * rows * len(x)), layout="constrained")
    grid = canvas.subplots(rows * len(x), len(networks) + 1, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[], frame_on=False)
    with torch.no_grad():
        for image in range(len(x)):
            block = grid[rows * image : rows * (image + 1)]
            reach = max(float((moved[image] - x[image]).abs().amax()) for moved, _ in found.values())
            show_image(block[0, 0], x[image])
            block[0, 0].set_title("clean image", fontsize=9)
            block[0, 0].set_xlabel(f"true class {plain(classes[int(labels[image])])}", fontsize=8)
            _say(block[1, 0], f"the change\nred brighter\nblue darker\n(full colour: {reach:.2f})")
            if competing:
                _say(block[2, 0], "prototype of\nthe winner\non the clean image")
                _say(block[3, 0], "prototype of\nthe winner\non the attacked image")
            for column, (name, network) in enumerate(networks.items(), 1):
                moved, radii = found[name][0][image : image + 1], found[name][1]
                answer, read = network.classifier(moved).argmax(1)[0], judge(moved).argmax(1)[0]
                show_image(block[0, column], moved[0])
                block[0, column].set_title(name, fontsize=9)
                block[0, column].set_xlabel(
                    f"eps {radii[image]:g}: says {plain(classes[int(answer)])}\njudge: {plain(classes[int(read)])}"
                    if radii[image] is not None
                    else f"not fooled up to eps {GRID[norm][-1]:g}\njudge: {plain(classes[int(read)])}",
                    fontsize=8,
                )
                change = (moved - x[image : image + 1])[0].mean(0)
                block[1, column].imshow(change.cpu().numpy(), cmap="RdBu_r", vmin=-reach, vmax=reach)
                before, after = winners[name], winning_prototypes(network, moved)
                if before is not None and after is not None:
                    _show_weights(block[2, column], before[image])
                    _show_weights(block[3, column], after[0])
                elif competing:
                    _say(block[2, column], "no competition")
    caption = (
        f"Every column shows the smallest {NORMS[norm][1]} change, in steps of {GRID[norm][0]:g}, by which a gradient "
        "attack makes that network misclassify the image; eps is its size. The judge is another network that was not "
        "trained on attacked images: where both predict the same class, the image itself shows that class."
    )
    return Figure(f"gallery-{NORMS[norm][0]}", caption, canvas)


def smallest(
    model: nn.Module, x: Tensor, labels: Tensor, attack: Attack, norm: Norm
) -> tuple[Tensor, list[float | None]]:
    """The adversarial image of the smallest successful radius of the grid for each image, and that radius.

    If no radius is successful, the image is that of the last attack, with None.
    """
    moved = x.clone()
    radii: list[float | None] = [None] * len(x)
    for eps in GRID[norm]:
        left = [image for image, radius in enumerate(radii) if radius is None]
        if not left:
            break
        moved[left] = attack(model, x[left], labels[left], eps=eps)
        for image, turned in zip(left, fooled(model, moved[left], labels[left]).tolist(), strict=True):
            radii[image] = eps if turned else None
    return moved, radii


@torch.no_grad()
def winning_prototypes(network: Network, x: Tensor) -> Tensor | None:
    """The weights (B, C, H, W) of the neuron that wins on each image; None unless a single layer competes on pixels."""
    block = network.get_submodule("block1")
    layer, activation = getattr(block, "layer", None), getattr(block, "activation", None)
    if not isinstance(layer, HebbLinear) or not isinstance(activation, SoftWTA) or hasattr(network, "block2"):
        return None
    return layer.weight.detach().unflatten(1, x.shape[1:])[network(x).argmax(1)]


def _show_weights(axes: "Axes", weight: Tensor) -> None:
    tile = weight.cpu()
    low, high = tile.amin(), tile.amax()
    show_image(axes, (tile - low) / (high - low).clamp_min(1e-12))


def _say(axes: "Axes", text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=8, transform=axes.transAxes)
