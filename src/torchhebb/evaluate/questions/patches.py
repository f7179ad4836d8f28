"""The patches of real images that drive the neurons of every block most."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from torchhebb.bounds import SIZE, at_least, each
from torchhebb.data import Images
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Figure, Finding, Note
from torchhebb.evaluate.figures.tiles import TilePanel, checkered, side_of, stack, stretched
from torchhebb.evaluate.methods.receptive_field import block_layers, choose_neurons
from torchhebb.evaluate.methods.subsample import evenly_spaced_images
from torchhebb.evaluate.methods.top_activating import TopActivating, clipped, cut, top_activating
from torchhebb.evaluate.questions.receptive_fields import ReceptiveFields, field_title, fields_of
from torchhebb.evaluate.statistics import percent
from torchhebb.evaluate.study import NOT_IN_CELLS, Cell, Quantity, Study
from torchhebb.nn import Network
from torchhebb.runs.baselines import BaselineName, baseline, baseline_label
from torchhebb.runs.run import Run
from torchhebb.train import Measure
from torchhebb.train.features import batch_size_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

INCHES = 0.62  # of a tile of the largest field


@dataclass(frozen=True)
class Patches(Study[None]):
    """The image patches that activate single neurons most, over all images and positions, at most one per image.

    A patch is the receptive field of a neuron in the image; the part outside the image, where the network pads, is
    shown as a chequerboard.  The neurons are those that `receptive_fields` shows.  Measures in %, with one value per
    seed:

        <block>_same_class    share of pairs of a neuron's patches whose images have the same class, over `measured`
                              neurons of the block
        chance_same_class     the same for images drawn at random
        <block>_clipped       share of patches that reach outside the image

    The figure and the note `neurons` are of the first seed.
    Raises UserError for settings out of range, a missing block, or a block whose receptive field is not known.
    Source: SoftHebb-2023, the patches that activate a neuron most.

    Example:
        >>> Patches(neurons=12, patches=5).question
        'patches'
    """

    question: ClassVar[str] = "patches"
    quantities: ClassVar[dict[str, Quantity]] = {
        "same_class": Quantity("pairs of one class, %", "%"),
        "clipped": Quantity("patches over the border, %", "%"),
    }

    neurons: int = field(default=6, metadata=at_least(1))
    """Largest number of neurons to show of each block."""
    patches: int = field(default=10, metadata=at_least(2))
    """Number of patches of each neuron, the strongest first."""
    learned: bool = True
    """Whether to choose neurons at radius 1, or nearest to it; otherwise they are evenly spaced over all."""
    blocks: tuple[int, ...] = field(default=(), metadata=each(SIZE, empty=True))
    """Numbers of the blocks, counted from 1; an empty list takes all."""
    baseline: BaselineName = "own"
    """Network whose neurons are shown: the run's own, or a baseline."""
    split: Literal["test", "train"] = "test"
    """Split of the data to search."""
    images: int = field(default=0, metadata=at_least(0))
    """Number of images to search, evenly spaced over all; 0 takes all."""
    measured: int = field(default=96, metadata=at_least(1))
    """Largest number of neurons of each block that are measured."""
    steps: int = field(default=0, metadata=at_least(0) | NOT_IN_CELLS)
    """Steps of gradient ascent for a first column with the receptive fields of the neurons; 0 draws none."""

    def check(self, run: Run) -> None:
        most = len(self._all(run))
        if self.images > most:
            raise UserError(f"images must be from 0 to {most}, as many as {self.split} has, got {self.images}")
        if self.patches > (looked := len(self._images(run))):
            raise UserError(f"patches must be from 2 to {looked}, one of an image, got {self.patches}")
        if self.steps:
            self._ascent().check(run)
        else:
            fields_of(baseline(run, run.seeds[0], self.baseline, readout=False), self.blocks, run)

    def variants(self, run: Run) -> dict[str, None]:
        return {"": None}

    def cell(self, run: Run, variant: None, seed: int) -> Cell:
        """The quantities of every block, and by block the `neurons` to show and their `strongest` patches."""
        images, network = self._images(run), baseline(run, seed, self.baseline, readout=False)
        layers, fields = block_layers(network), fields_of(network, self.blocks, run)
        shown = {name: choose_neurons(layers[name], self.neurons, learned=self.learned) for name in fields}
        asked = {name: choose_neurons(layers[name], self.measured, learned=self.learned) for name in fields}
        every = {name: sorted({*shown[name], *asked[name]}) for name in fields}
        found = self._top_activating(run, network, every, images, seed)
        measured = {name: found[name].of(list(map(every[name].index, asked[name]))) for name in fields}
        cell: Cell = {f"{name}_same_class": same_class(images.labels[best.image]) for name, best in measured.items()}
        for name, best in measured.items():
            outside = clipped(best, fields[name], run.data.image_size)
            cell[f"{name}_clipped"] = percent(outside)
        kept = {name: found[name].of(list(map(every[name].index, shown[name]))).to_json() for name in fields}
        return cell | {"neurons": shown, "strongest": kept}

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        images = self._images(run)
        yield from self.measures(run, cells)
        yield Measure("chance_same_class", "%", (chance(images.labels),))
        yield Note("images", len(images))
        yield Note("neurons", cells[""][0]["neurons"])
        column = (
            f"First column: the image that activates the neuron most, by {self.steps} steps of gradient ascent. "
            if self.steps
            else ""
        )
        caption = (
            f"{column}The patches that activate single neurons of {baseline_label(run, self.baseline)} most, one row "
            f"per neuron, the strongest first, at most one per image, among {len(images):,} {self.split} images. A "
            "patch is the receptive field; the part outside the image is a chequerboard."
        )
        yield Figure("strongest", caption, self._figure(run, images, cells[""][0]))

    def _all(self, run: Run) -> Images:
        return run.data.test if self.split == "test" else run.data.train

    def _images(self, run: Run) -> Images:
        """The images to search."""
        return evenly_spaced_images(self._all(run), self.images)

    def _ascent(self) -> ReceptiveFields:
        """The question behind the first column, which shares its kept cells."""
        return ReceptiveFields(self.neurons, self.learned, self.blocks, self.baseline, self.steps)

    def _top_activating(
        self, run: Run, network: Network, neurons: dict[str, list[int]], images: Images, seed: int
    ) -> dict[str, TopActivating]:
        run.progress.start(f"seed {seed}: strongest patches", len(images), "images")
        found = top_activating(
            network,
            images.images,
            neurons,
            self.patches,
            batch_size=batch_size_for(network, images, run.device),
            device=run.device,
            precision=run.precision,
            advance=run.progress.advance,
        )
        run.progress.finish()
        return found

    def _figure(self, run: Run, images: Images, cell: Cell) -> "Canvas":
        """One panel per block: one row of patches per neuron, after its receptive field if there are steps."""
        network = baseline(run, run.seeds[0], self.baseline, readout=False)
        layers, fields = block_layers(network), fields_of(network, self.blocks, run)
        ascended = self._ascent().kept_cell(run, None, run.seeds[0])["images"] if self.steps else {}
        largest, panels = max(max(seen.size) for seen in fields.values()), []
        for name, seen in fields.items():
            best = TopActivating.from_json(cell["strongest"][name])
            tiles = checkered(cut(images.images, best, seen))
            if self.steps:
                tiles = torch.cat([stretched(torch.tensor(ascended[name])).unsqueeze(1), tiles], 1)
            title, side = field_title(name, seen.size, layers[name]), side_of(seen.size, largest, INCHES)
            panels.append(TilePanel(title, tiles.flatten(0, 1), tiles.shape[1], side, int(self.steps > 0)))
        return stack(panels)


def same_class(labels: Tensor) -> float:
    """The share in % of pairs of a neuron's images with the same class, over neurons; labels (n, count).

    >>> same_class(torch.tensor([[3, 3, 3], [3, 3, 5]])) == 100 * 4 / 6
    True
    """
    count = labels.shape[1]
    equal = (labels.unsqueeze(1) == labels.unsqueeze(2)).sum((1, 2)) - count
    return 100 * equal.double().mean().item() / (count * (count - 1))


def chance(labels: Tensor) -> float:
    """The share in % of pairs of different images with the same class; labels (N,)."""
    counts = torch.bincount(labels).double()
    return 100 * ((counts * (counts - 1)).sum() / (len(labels) * (len(labels) - 1))).item()
