"""The images that activate the neurons of every block most, by gradient ascent."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from torchhebb.bounds import SIZE, above, at_least, each
from torchhebb.evaluate.evaluator import Figure, Finding, Note
from torchhebb.evaluate.figures.tiles import TilePanel, side_of, stack, stretched
from torchhebb.evaluate.methods.activation_maximization import maximize_activation
from torchhebb.evaluate.methods.receptive_field import (
    Field,
    Layer,
    OnField,
    block_layers,
    choose_blocks,
    choose_neurons,
    learned_neurons,
    receptive_field,
)
from torchhebb.evaluate.study import Cell, Quantity, Study, values
from torchhebb.nn import Network
from torchhebb.runs.baselines import BaselineName, baseline, baseline_label
from torchhebb.runs.run import Run

COLUMNS = 8
INCHES = 0.85  # of a tile of the largest field


@dataclass(frozen=True)
class ReceptiveFields(Study[None]):
    """The images, as large as the receptive field, that activate neurons of every block most at a given norm.

    All neurons of a block are maximised as one batch on the frozen network; see `maximize_activation`.  The neurons are
    evenly spaced over those at radius 1 or, if these are too few, are those nearest to radius 1; `patches` shows the
    same ones.  A title tells how many neurons are at radius 1.  Measures, with one value per seed:

        <block>_field_size    longer side of the receptive field in pixels
        <block>_waves         the mean number of plane waves that an image consists of, (sum P)^2 / (2 sum P^2) over its
                              discrete Fourier spectrum P without the mean, summed over channels: 1 for a grating,
                              more for more complex images and for larger fields

    The figure and the note `neurons` are of the first seed.
    Raises UserError for settings out of range, a missing block, a block above a residual, or a block whose receptive
    field is not known.
    Source: SoftHebb-2023, receptive fields by gradient ascent.

    Example:
        >>> ReceptiveFields(neurons=8, blocks=(1,)).question
        'receptive_fields'
    """

    question: ClassVar[str] = "receptive_fields"
    needs_labels: ClassVar[bool] = False
    quantities: ClassVar[dict[str, Quantity]] = {
        "field_size": Quantity("side of the receptive field", "pixels"),
        "waves": Quantity("plane waves"),
    }

    neurons: int = field(default=24, metadata=at_least(1))
    """Largest number of neurons of each block."""
    learned: bool = True
    """Whether to choose neurons at radius 1, or nearest to it; otherwise they are evenly spaced over all."""
    blocks: tuple[int, ...] = field(default=(), metadata=each(SIZE, empty=True))
    """Numbers of the blocks, counted from 1; an empty list takes all."""
    baseline: BaselineName = "own"
    """Network whose neurons are shown: the run's own, or a baseline."""
    steps: int = field(default=500, metadata=at_least(1))
    """Steps of gradient ascent."""
    rate: float = field(default=0.1, metadata=above(0))
    """Length of a step, as a factor of the norm of the image."""
    norm: float = field(default=1.0, metadata=above(0))
    """The L2 norm to which the image is scaled after every step."""

    def check(self, run: Run) -> None:
        network = baseline(run, run.seeds[0], self.baseline, readout=False)
        for block in fields_of(network, self.blocks, run):
            OnField(network, block)

    def variants(self, run: Run) -> dict[str, None]:
        return {"": None}

    def cell(self, run: Run, variant: None, seed: int) -> Cell:
        """`<block>_waves`, and by block the `neurons` and their `images` (N, C, h, w)."""
        network = baseline(run, seed, self.baseline, readout=False)
        layers, found = block_layers(network), Cell(neurons={}, images={})
        for block, size in fields_of(network, self.blocks, run).items():
            neurons = choose_neurons(layers[block], self.neurons, learned=self.learned)
            images = self._maximised(run, network, block, size.size, neurons, seed)
            found[f"{block}_waves"] = plane_waves(images).mean().item()
            found["neurons"][block] = neurons
            found["images"][block] = images.tolist()
        return found

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        first, layers = cells[""][0], block_layers(baseline(run, run.seeds[0], self.baseline, readout=False))
        images = {block: torch.tensor(of_block) for block, of_block in first["images"].items()}
        sizes = {block: (of_block.shape[2], of_block.shape[3]) for block, of_block in images.items()}
        for block, size in sizes.items():
            yield self.measure(run, f"{block}_field_size", (max(size),), "field_size")
            yield self.measure(run, f"{block}_waves", values(cells[""], f"{block}_waves"), "waves")
        yield Note("neurons", first["neurons"])
        largest = max(map(max, sizes.values()))
        panels = [
            TilePanel(
                field_title(block, sizes[block], layers[block]),
                stretched(of_block),
                COLUMNS,
                side_of(sizes[block], largest, INCHES),
            )
            for block, of_block in images.items()
        ]
        caption = (
            f"Images that activate single neurons of {baseline_label(run, self.baseline)} most, at a norm of "
            f"{self.norm:g}, after {self.steps} steps of gradient ascent from near zero. Each has the size of the "
            "neuron's receptive field and is stretched to its own contrast."
        )
        yield Figure("images", caption, stack(panels))

    def _maximised(
        self, run: Run, network: Network, block: str, size: tuple[int, int], neurons: list[int], seed: int
    ) -> Tensor:
        """Images (N, C, h, w) that activate these neurons most, to five digits."""
        run.progress.start(f"seed {seed}: {block}, receptive fields", self.steps, "steps")
        x, _ = maximize_activation(
            OnField(network, block),
            torch.tensor(neurons, device=run.device),
            (run.data.in_channels, *size),
            torch.Generator().manual_seed(seed),
            steps=self.steps,
            rate=self.rate,
            norm=self.norm,
            advance=run.progress.advance,
        )
        run.progress.finish()
        return torch.tensor([float(f"{value:.5g}") for value in x.flatten().tolist()]).view(x.shape)


def fields_of(network: Network, blocks: tuple[int, ...], run: Run) -> dict[str, Field]:
    """The receptive fields of the neurons of these blocks, by default of all.

    Raises UserError if one is not known.
    """
    return {name: receptive_field(network, name, run.data.image_size) for name in choose_blocks(network, blocks)}


def plane_waves(images: Tensor) -> Tensor:
    """The number of plane waves (N,) that each of images (N, C, H, W) without its mean consists of.

    (sum P)^2 / (2 sum P^2) over the discrete spectrum P, summed over channels; a wave has two of its points.

    >>> row = torch.arange(8) * (2 * torch.pi / 8)
    >>> grating = torch.sin(2 * row).expand(1, 1, 8, 8)
    >>> round(plane_waves(grating).item(), 3)
    1.0
    """
    power = torch.fft.fft2(images.double()).abs().square().sum(1).flatten(1)[:, 1:]
    return (power.sum(1).square() / (2 * power.square().sum(1)).clamp_min(1e-300)).float()


def field_title(block: str, size: tuple[int, int], layer: Layer) -> str:
    """The title above the images of a block.

    >>> from torchhebb.nn import HebbConv2d
    >>> field_title("block2", (12, 12), HebbConv2d(3, 8, 5))
    'block 2: 12 × 12 pixels; 0 of 8 neurons at radius 1'
    """
    words = f"{len(learned_neurons(layer))} of {len(layer.weight)} neurons at radius 1"
    return f"{block.replace('block', 'block ')}: {size[1]} × {size[0]} pixels; {words}"
