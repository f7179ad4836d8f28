"""First-layer weights under different rules, with their radii."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from torchhebb.bounds import at_least, distinct
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Figure, Finding, Note
from torchhebb.evaluate.figures.filters import draw_filters
from torchhebb.evaluate.figures.tiles import TilePanel
from torchhebb.evaluate.methods.filters import appearance, colour_shares, full_colour, nearest_cosine
from torchhebb.evaluate.methods.receptive_field import block_layers
from torchhebb.evaluate.methods.subsample import evenly_spaced
from torchhebb.evaluate.study import Cell, Quantity, Study
from torchhebb.nn import Network
from torchhebb.runs.baselines import COMPARED, BaselineName, baseline, baseline_label
from torchhebb.runs.run import Run


@dataclass(frozen=True)
class Filters(Study[BaselineName]):
    """First-layer weights of several networks as images, with a histogram of the radii of each network.

    All filters of a network share one colour scale, so that strong and weak filters can be told apart; full colour is
    the 99.5 % quantile of their absolute weights, and zero is mid grey.  Grey filters come first, then coloured ones,
    each from low to high spatial frequency.  If a block normalises its input, the weights are those on the normalised
    input.  Measures, with one value per seed:

        <baseline>_radius_mean       mean L2 norm of a neuron's weights
        <baseline>_nearest_cosine    mean over neurons of the largest cosine with another neuron's weights
        <baseline>_colour_share      share of the filters' energy in differences between channels, for images of
                                     several channels only

    The figure shows the first seed.
    Raises UserError for settings out of range, or a baseline that the run's blocks cannot have.
    Source: SoftHebb-2023, first-layer filters of hard WTA, SoftHebb and backpropagation.

    Example:
        >>> Filters(neurons=24, columns=6).question
        'filters'
    """

    question: ClassVar[str] = "filters"
    needs_labels: ClassVar[bool] = False
    keeps_cells: ClassVar[bool] = False
    quantities: ClassVar[dict[str, Quantity]] = {
        "radius_mean": Quantity("mean radius"),
        "nearest_cosine": Quantity("cosine with the nearest other neuron"),
        "colour_share": Quantity("energy in differences between channels"),
    }

    baselines: tuple[BaselineName, ...] = field(default=("own", "hard", "random"), metadata=distinct())
    """Networks whose filters are shown; backpropagation takes long to train on a CPU."""
    neurons: int = field(default=96, metadata=at_least(1))
    """Largest number of neurons to show of each network, evenly spaced over all."""
    columns: int = field(default=8, metadata=at_least(1))
    """Number of filters in a row."""

    def variants(self, run: Run) -> dict[str, BaselineName]:
        return {name: name for name in self.baselines}

    def cell(self, run: Run, variant: BaselineName, seed: int) -> Cell:
        weight = first_filters(baseline(run, seed, variant, readout=False), run)
        found = {"radius_mean": weight.flatten(1).norm(dim=1).mean().item(), "nearest_cosine": nearest_cosine(weight)}
        if weight.shape[1] > 1:
            energy = weight.flatten(1).square().sum(1)
            found["colour_share"] = ((colour_shares(weight) * energy).sum() / energy.sum().clamp_min(1e-24)).item()
        return found

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        yield from self.measures(run, cells)
        shown = {name: first_filters(baseline(run, run.seeds[0], name, readout=False), run) for name in self.baselines}
        picked = {name: weight[evenly_spaced(self.neurons, len(weight))] for name, weight in shown.items()}
        scales = {name: full_colour(weight) for name, weight in picked.items()}
        yield Note("full_colour", scales)
        caption = (
            "First-layer weights, with zero as mid grey; the filters of a network share one scale, whose full colour "
            "is the 99.5 % quantile of their absolute weights. Grey filters come first, coloured ones last. Below, "
            "the radii of all its neurons."
        )
        panels = [self._panel(run, name, weight, scales[name]) for name, weight in picked.items()]
        radii = [weight.flatten(1).norm(dim=1) for weight in shown.values()]
        yield Figure("weights", caption, draw_filters(panels, radii))

    def _panel(self, run: Run, name: BaselineName, weight: Tensor, scale: float) -> TilePanel:
        """The filters of a network on their scale, grey and smooth ones first."""
        title = baseline_label(run, name)
        if name == "own" and title in map(COMPARED.get, self.baselines):
            title = COMPARED["own"]  # if the run's own network has the same name as a baseline that is shown
        tiles = 0.5 + weight[appearance(weight)] / (2 * scale)
        return TilePanel(title, tiles, min(self.columns, len(tiles)), 1.0)


def first_filters(network: Network, run: Run) -> Tensor:
    """The weights of the first block as images (K, C, h, w), as large as the input if fully connected."""
    weight = block_layers(network)["block1"].weight.detach().float().cpu()
    weight = weight if weight.dim() == 4 else weight.view(-1, run.data.in_channels, *run.data.image_size)
    if weight.shape[1] != run.data.in_channels:
        raise UserError("filters need weights on pixels, and block1 learns on whitened patches: use receptive_fields")
    return weight
