"""First-layer weights under different rules, with their radii."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from torchhebb.bounds import at_least, distinct
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Figure, Finding, Note
from torchhebb.evaluate.figures.tiles import Panel, show
from torchhebb.evaluate.methods.receptive_field import block_layers
from torchhebb.evaluate.methods.subsample import evenly_spaced
from torchhebb.evaluate.study import Cell, Quantity, Study
from torchhebb.nn import Network
from torchhebb.runs.baselines import CONTENDERS, ContenderName, contender, contender_label
from torchhebb.runs.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

WIDTH, TOP, BOTTOM, GAP = 2.5, 0.45, 1.0, 0.3  # inches: of a sheet, above it, below it with radii, between columns
BRIGHTEST = 0.995
"""The quantile of a network's absolute weights that is shown as full colour."""


@dataclass(frozen=True)
class Filters(Study[ContenderName]):
    """First-layer weights of several networks as images around mid grey, and a histogram of radii under each.

    All filters of one network share one scale, so that strong and weak ones can be told apart; its full colour is the
    99.5 % quantile of their absolute weights.  Grey filters come first and colourful ones last, both from smooth to
    fine.  Weights are shown as they are, on the normalised input where the block has a norm.  Measures, a value a seed:

        <contender>_radius_mean       mean L2 norm of a neuron's weights
        <contender>_nearest_cosine    mean over neurons of the largest cosine with another neuron: 1 where all have a
                                      twin
        <contender>_colour_share      share of the filters' energy that is a difference between channels; images of
                                      several channels only

    The figure shows the first seed.
    Raises UserError for settings out of range, or a contender that the run's blocks cannot have.
    Source: SoftHebb-2023, first-layer filters of hard WTA, SoftHebb and backpropagation.
    """

    question: ClassVar[str] = "filters"
    needs_labels: ClassVar[bool] = False
    keeps_cells: ClassVar[bool] = False
    quantities: ClassVar[dict[str, Quantity]] = {
        "radius_mean": Quantity("mean radius"),
        "nearest_cosine": Quantity("cosine with the nearest other neuron"),
        "colour_share": Quantity("energy in differences between channels"),
    }

    contenders: tuple[ContenderName, ...] = field(default=("own", "hard", "random"), metadata=distinct())
    """Whose filters, side by side; backpropagation takes long to train on a CPU."""
    neurons: int = field(default=96, metadata=at_least(1))
    """How many neurons of each, evenly spread over all where there are more."""
    columns: int = field(default=8, metadata=at_least(1))
    """Filters a row."""

    def variants(self, run: Run) -> dict[str, ContenderName]:
        return {name: name for name in self.contenders}

    def cell(self, run: Run, variant: ContenderName, seed: int) -> Cell:
        weight = first_filters(contender(run, seed, variant), run)
        found = {"radius_mean": weight.flatten(1).norm(dim=1).mean().item(), "nearest_cosine": nearest_cosine(weight)}
        if weight.shape[1] > 1:
            energy = weight.flatten(1).square().sum(1)
            found["colour_share"] = ((colour_shares(weight) * energy).sum() / energy.sum().clamp_min(1e-24)).item()
        return found

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        yield from self.measures(run, cells)
        shown = {name: first_filters(contender(run, run.seeds[0], name), run) for name in self.contenders}
        picked = {name: weight[evenly_spaced(self.neurons, len(weight))] for name, weight in shown.items()}
        scales = {name: full_colour(weight) for name, weight in picked.items()}
        yield Note("full_colour", scales)
        caption = (
            "First-layer weights around mid grey, all of a network on one scale whose full colour is the 99.5 % "
            "quantile of its absolute weights; grey filters first, colourful ones last. Below, the radii of all its "
            "neurons."
        )
        yield Figure("weights", caption, self._figure(run, picked, scales, shown))

    def _figure(
        self,
        run: Run,
        picked: Mapping[ContenderName, Tensor],
        scales: Mapping[ContenderName, float],
        every: Mapping[ContenderName, Tensor],
    ) -> "Canvas":
        from matplotlib.figure import Figure as Canvas
        from matplotlib.ticker import NullFormatter

        panels = []
        for name, weight in picked.items():
            tiles = 0.5 + weight[appearance(weight)] / (2 * scales[name])
            title = contender_label(run, name)
            if name == "own" and title in map(CONTENDERS.get, picked):
                title = CONTENDERS["own"]  # of a hard network beside another hard one
            panels.append(Panel(title, tiles, min(self.columns, len(tiles)), 1.0))
        sides = [WIDTH / panel.inches()[0] for panel in panels]
        tallest = max(side * panel.inches()[1] for side, panel in zip(sides, panels, strict=True))
        width, height = len(panels) * (WIDTH + GAP) + GAP, TOP + tallest + BOTTOM
        canvas = Canvas(figsize=(width, height))
        radii = [weight.flatten(1).norm(dim=1) for weight in every.values()]
        low, high = min(map(_least, radii)), max(float(radius.max()) for radius in radii)
        bins = torch.logspace(math.log10(low / 1.3), math.log10(high * 1.3), 41).tolist()
        for number, (panel, side, radius) in enumerate(zip(panels, sides, radii, strict=True)):
            left, tall = GAP + number * (WIDTH + GAP), side * panel.inches()[1]
            canvas.text(left / width, 1 - 0.3 / height, panel.title, fontsize=10)
            bottom = height - TOP - tall
            show(canvas.add_axes((left / width, bottom / height, WIDTH / width, tall / height)), panel.pixels())
            axes = canvas.add_axes((left / width, 0.42 / height, WIDTH / width, (BOTTOM - 0.52) / height))
            axes.hist(radius.clamp_min(low).tolist(), bins=bins, color="#0072B2")
            axes.axvline(1.0, color="#D55E00", linewidth=0.8, linestyle="--")
            axes.set(xscale="log", xlim=(bins[0], bins[-1]), yticks=[])
            axes.spines[["top", "right", "left"]].set_visible(False)
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.tick_params(labelsize=7, pad=1)
            axes.set_xlabel(f"radius {radius.mean():.3g} \u00b1 {radius.std(correction=0):.2g}", fontsize=8, labelpad=1)
        return canvas


def first_filters(network: Network, run: Run) -> Tensor:
    """The weights of the first block as images (K, C, h, w), as large as the input if fully connected."""
    weight = block_layers(network)["block1"].weight.detach().float().cpu()
    weight = weight if weight.dim() == 4 else weight.view(-1, run.data.in_channels, *run.data.image_size)
    if weight.shape[1] != run.data.in_channels:
        raise UserError("filters need weights on pixels, and block1 learns on whitened patches: ask receptive_fields")
    return weight


def full_colour(weight: Tensor) -> float:
    """The absolute weight that is shown as full colour, for all of weight (K, C, h, w)."""
    return max(weight.abs().flatten().double().quantile(BRIGHTEST).item(), 1e-12)


def colour_shares(weight: Tensor) -> Tensor:
    """The share (K,) of a filter's energy in weight (K, C, h, w) that is a difference between its channels.

    >>> red, grey = torch.tensor([1.0, 0.0, 0.0]), torch.ones(3)
    >>> colour_shares(torch.stack([red, grey]).view(2, 3, 1, 1))
    tensor([0.6667, 0.0000])
    """
    grey = weight.mean(1, keepdim=True).expand_as(weight)
    energy = weight.flatten(1).square().sum(1).clamp_min(1e-24)
    return (weight - grey).flatten(1).square().sum(1) / energy


def frequencies(weight: Tensor) -> Tensor:
    """The mean spatial frequency (K,) of weight (K, C, h, w) in cycles a pixel, weighted by power, the mean apart.

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
    """The order (K,) in which filters are shown: grey before colourful, then from smooth to fine."""
    colourful = colour_shares(weight) > 0.5
    return (colourful * 1000.0 + frequencies(weight)).argsort(stable=True)


def nearest_cosine(weight: Tensor) -> float:
    """Mean over neurons of the largest cosine between their weights and another neuron's; 0 for a single neuron."""
    rows = normalize(weight.flatten(1), dim=1)
    cosines = rows @ rows.mT
    return cosines.fill_diagonal_(-1.0).amax(1).mean().item() if len(rows) > 1 else 0.0


def _least(radius: Tensor) -> float:
    """The least radius for a logarithmic axis: that of the neurons that are not extinct."""
    return max(float(radius.min()), 1e-3)
