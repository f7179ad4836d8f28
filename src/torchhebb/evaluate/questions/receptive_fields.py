"""What does a neuron look for? The image that drives it most, by gradient ascent, for neurons of every block."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from torchhebb.errors import UserError, unknown_name
from torchhebb.evaluate.evaluator import Evaluator, Figure, Finding, Note
from torchhebb.evaluate.figures.tiles import Panel, side_of, stack, stretched
from torchhebb.evaluate.methods.activation_maximization import ascend
from torchhebb.evaluate.methods.receptive_field import (
    Layer,
    OnField,
    block_layers,
    choose_blocks,
    choose_neurons,
    learned_neurons,
    receptive_field,
)
from torchhebb.nn import Network
from torchhebb.runs.baselines import CONTENDERS, ContenderName, contender, contender_label
from torchhebb.runs.run import Run
from torchhebb.train import Measure

COLUMNS = 8
INCHES = 0.85  # of a tile of the largest field


@dataclass(frozen=True)
class ReceptiveFields(Evaluator):
    """Images of exactly the receptive field, each of which drives one neuron of a block as far as a given norm allows.

    All neurons of a block climb as one batch, on the frozen network with its running statistics; see `ascend`.
    Neurons are evenly spread over those of their block that have come to radius 1, or where those are too few the ones
    nearest to it; `patches` chooses them so too.  A title says how many have.  Measures, a value a seed:

        <block>_field_size    side of the receptive field in pixels, the longer one
        <block>_waves         the mean number of plane waves that hold an image's power, (sum P)^2 / (2 sum P^2) over
                              its discrete Fourier spectrum P without the mean, summed over channels: 1 for a grating,
                              more for finer forms and for larger fields

    The figure and the note `neurons` are of the first seed.
    Raises UserError for settings out of range, a block that is not there, one that stands on a residual, or one whose
    field is not known.
    Source: SoftHebb-2023, receptive fields by gradient ascent.
    """

    question: ClassVar[str] = "receptive_fields"
    needs_labels = False

    neurons: int = 24
    """At most how many neurons of each block."""
    learned: bool = True
    """Those that have come to radius 1, or nearest to it; otherwise evenly spread over all."""
    blocks: tuple[int, ...] = ()
    """Which blocks, from 1; by default all."""
    contender: ContenderName = "own"
    """Whose neurons: the run's own, or those of what stands beside it."""
    steps: int = 500
    """Steps of gradient ascent."""
    rate: float = 0.1
    """Length of a step over the norm of the image."""
    norm: float = 1.0
    """The L2 norm to which the image is scaled after every step."""

    def run(self, run: Run) -> Iterator[Finding]:
        check_ascent(self.steps, self.rate, self.norm)
        if self.neurons < 1:
            raise UserError(f"neurons must be at least 1, got {self.neurons}")
        if self.contender not in CONTENDERS:
            raise unknown_name("contender", self.contender, CONTENDERS)
        network = contender(run, run.seeds[0], self.contender)
        names = choose_blocks(network, self.blocks)
        fields = {name: receptive_field(network, name, run.data.image_size) for name in names}
        for name in names:
            OnField(network, name)
        waves: dict[str, list[float]] = {name: [] for name in names}
        images: dict[str, Tensor] = {}
        chosen: dict[str, list[int]] = {}
        for seed in run.seeds:
            network = contender(run, seed, self.contender)
            layers = block_layers(network)
            for name in names:
                neurons = choose_neurons(layers[name], self.neurons, learned=self.learned)
                found = maximised(run, network, name, neurons, seed, self.contender, self.steps, self.rate, self.norm)
                waves[name].append(plane_waves(found).mean().item())
                images.setdefault(name, found)
                chosen.setdefault(name, neurons)
        layers = block_layers(contender(run, run.seeds[0], self.contender))
        for name in names:
            yield Measure(f"{name}_field_size", "pixels", (max(fields[name].size),))
            yield Measure(f"{name}_waves", "", tuple(waves[name]))
        yield Note("neurons", chosen)
        largest = max(max(field.size) for field in fields.values())
        panels = [
            Panel(
                field_title(name, fields[name].size, layers[name]),
                stretched(images[name]),
                COLUMNS,
                side_of(fields[name].size, largest, INCHES),
            )
            for name in names
        ]
        caption = (
            f"Images that drive single neurons of {contender_label(run, self.contender)} most, at a norm of "
            f"{self.norm:g}, after {self.steps} steps of gradient ascent from near zero. Each has the size of the "
            "neuron's receptive field and is stretched to its own contrast."
        )
        yield Figure("images", caption, stack(panels))


def maximised(
    run: Run,
    network: Network,
    block: str,
    neurons: list[int],
    seed: int,
    name: ContenderName,
    steps: int,
    rate: float,
    norm: float,
) -> Tensor:
    """Images (N, C, h, w) of the size of a block's field that drive these neurons most; kept with the run.

    Args: network, the contender `name` of this seed, which is part of what they are kept by.
    """
    field = receptive_field(network, block, run.data.image_size)
    shape = (run.data.in_channels, *field.size)

    def work() -> list[Any]:
        run.progress.start(f"seed {seed}: {block}, receptive fields", steps, "steps")
        unit = OnField(network, block)
        index = torch.tensor(neurons, device=run.device)
        generator = torch.Generator().manual_seed(seed)
        x, _ = ascend(unit, index, shape, generator, steps=steps, rate=rate, norm=norm, advance=run.progress.advance)
        run.progress.finish()
        return [float(f"{value:.5g}") for value in x.flatten().tolist()]

    settings = {"block": block, "neurons": neurons, "steps": steps, "rate": rate, "norm": norm}
    kept = run.once(work, question="receptive_fields", seed=seed, contender=name, **settings)
    return torch.tensor(kept).view(len(neurons), *shape)


def check_ascent(steps: int, rate: float, norm: float) -> None:
    """Raise UserError for settings of the ascent out of range."""
    if steps < 1:
        raise UserError(f"steps must be at least 1, got {steps}")
    if not rate > 0 or not norm > 0:
        raise UserError(f"rate and norm must be positive, got {rate:g} and {norm:g}")


def plane_waves(images: Tensor) -> Tensor:
    """The number of plane waves (N,) that hold the power of each of images (N, C, H, W), their means apart.

    (sum P)^2 / (2 sum P^2) over the discrete spectrum P, summed over channels; a wave has two of its points.

    >>> row = torch.arange(8) * (2 * torch.pi / 8)
    >>> grating = torch.sin(2 * row).expand(1, 1, 8, 8)
    >>> round(plane_waves(grating).item(), 3)
    1.0
    """
    power = torch.fft.fft2(images.double()).abs().square().sum(1).flatten(1)[:, 1:]
    return (power.sum(1).square() / (2 * power.square().sum(1)).clamp_min(1e-300)).float()


def field_title(block: str, size: tuple[int, int], layer: Layer) -> str:
    """The words above a block's images.

    >>> from torchhebb.nn import HebbConv2d
    >>> field_title("block2", (12, 12), HebbConv2d(3, 8, 5))
    'block 2: 12 × 12 pixels; 0 of 8 neurons at radius 1'
    """
    words = f"{len(learned_neurons(layer))} of {len(layer.weight)} neurons at radius 1"
    return f"{block.replace('block', 'block ')}: {size[1]} × {size[0]} pixels; {words}"
