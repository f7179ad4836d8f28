"""Which parts of real images drive a neuron most? The strongest patches for neurons of every block."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from torchhebb.data import Images
from torchhebb.errors import UserError, unknown_name
from torchhebb.evaluate.evaluator import Evaluator, Figure, Finding, Note
from torchhebb.evaluate.figures.tiles import Panel, checkered, side_of, stack, stretched
from torchhebb.evaluate.methods.receptive_field import (
    OnField,
    block_layers,
    choose_blocks,
    choose_neurons,
    receptive_field,
)
from torchhebb.evaluate.methods.subsample import evenly_spaced_images
from torchhebb.evaluate.methods.top_activating import Strongest, clipped, cut, strongest
from torchhebb.evaluate.questions.receptive_fields import ReceptiveFields, field_title, maximised
from torchhebb.nn import Network
from torchhebb.runs.baselines import CONTENDERS, ContenderName, contender, contender_label
from torchhebb.runs.run import Run
from torchhebb.train import Measure
from torchhebb.train.features import batch_size_for

INCHES = 0.62  # of a tile of the largest field
ASCENT = ReceptiveFields()  # how far and how fast receptive fields climb


@dataclass(frozen=True)
class Patches(Evaluator):
    """The patches of images that drive single neurons most, over all images and positions, one an image.

    A patch is cut at the neuron's true receptive field; what reaches over the border of the image, where the network
    pads, is chequered.  The same neurons are shown as by `receptive_fields` with as many.  Measures, in %, a value a
    seed:

        <block>_same_class    share of the pairs of one neuron's patches whose images are of one class, over `measured`
                              neurons of the block
        chance_same_class     the same for images drawn at random
        <block>_clipped       share of patches that reach over the border

    The figure and the note `neurons` are of the first seed.
    Raises UserError for settings out of range, a block that is not there, or one whose field is not known.
    Source: SoftHebb-2023, the patches that activate a neuron most.
    """

    question: ClassVar[str] = "patches"

    neurons: int = 6
    """At most how many neurons of each block are shown."""
    patches: int = 10
    """How many patches of each neuron, the strongest first."""
    learned: bool = True
    """Those that have come to radius 1, or nearest to it; otherwise evenly spread over all."""
    blocks: tuple[int, ...] = ()
    """Which blocks, from 1; by default all."""
    contender: ContenderName = "own"
    """Whose neurons: the run's own, or those of what stands beside it."""
    split: Literal["test", "train"] = "test"
    """The images that are looked through."""
    images: int = 0
    """How many of them, evenly spread over all; 0 for all."""
    measured: int = 96
    """At most how many neurons of each block are measured."""
    steps: int = 0
    """Steps of gradient ascent for the receptive fields of the same neurons, as a first column; 0 for none."""

    def run(self, run: Run) -> Iterator[Finding]:
        images = self._images(run)
        network = contender(run, run.seeds[0], self.contender)
        names = choose_blocks(network, self.blocks)
        fields = {name: receptive_field(network, name, run.data.image_size) for name in names}
        if self.steps:
            for name in names:
                OnField(network, name)
        shares: dict[str, list[float]] = {f"{name}_{what}": [] for what in ("same_class", "clipped") for name in names}
        panels: list[Panel] = []
        first: dict[str, list[int]] = {}
        for seed in run.seeds:
            network = contender(run, seed, self.contender)
            layers = block_layers(network)
            shown = {name: choose_neurons(layers[name], self.neurons, learned=self.learned) for name in names}
            asked = {name: choose_neurons(layers[name], self.measured, learned=self.learned) for name in names}
            every = {name: sorted({*shown[name], *asked[name]}) for name in names}
            found = self._found(run, seed, network, every, images)
            for name in names:
                measured = found[name].of([every[name].index(neuron) for neuron in asked[name]])
                shares[f"{name}_same_class"].append(same_class(images.labels[measured.image]))
                outside = clipped(measured, fields[name], run.data.image_size)
                shares[f"{name}_clipped"].append(100 * outside.double().mean().item())
                if seed == run.seeds[0]:
                    best = found[name].of([every[name].index(neuron) for neuron in shown[name]])
                    tiles = checkered(cut(images.images, best, fields[name]))
                    first[name] = shown[name]
                    panels.append(self._panel(run, network, name, shown[name], tiles, fields))
        for quantity, values in shares.items():
            yield Measure(quantity, "%", tuple(values))
        yield Measure("chance_same_class", "%", (chance(images.labels),))
        yield Note("images", len(images))
        yield Note("neurons", first)
        column = (
            f"First column: the image that drives the neuron most, by {self.steps} steps of gradient ascent. "
            if self.steps
            else ""
        )
        caption = (
            f"{column}The patches that drive single neurons of {contender_label(run, self.contender)} most, a row a "
            f"neuron, the strongest first, one of an image, among {len(images):,} {self.split} images. A patch is what "
            "the neuron sees; what lies outside the image is chequered."
        )
        yield Figure("strongest", caption, stack(panels))

    def _images(self, run: Run) -> Images:
        for setting in ("neurons", "measured"):
            if getattr(self, setting) < 1:
                raise UserError(f"{setting} must be at least 1, got {getattr(self, setting)}")
        if self.steps < 0:
            raise UserError(f"steps must be at least 0, got {self.steps}")
        if self.contender not in CONTENDERS:
            raise unknown_name("contender", self.contender, CONTENDERS)
        images = run.data.test if self.split == "test" else run.data.train
        if not 0 <= self.images <= len(images):
            raise UserError(f"images must be from 0 to {len(images)}, as many as {self.split} has, got {self.images}")
        images = evenly_spaced_images(images, self.images)
        if not 2 <= self.patches <= len(images):
            raise UserError(f"patches must be from 2 to {len(images)}, one of an image, got {self.patches}")
        return images

    def _found(
        self, run: Run, seed: int, network: Network, neurons: dict[str, list[int]], images: Images
    ) -> dict[str, Strongest]:
        def work() -> dict[str, Any]:
            run.progress.start(f"seed {seed}: strongest patches", len(images), "images")
            found = strongest(
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
            return {name: value.to_json() for name, value in found.items()}

        looked = {"split": self.split, "images": len(images), "precision": run.precision}
        kept = run.once(
            work,
            question=self.question,
            seed=seed,
            contender=self.contender,
            neurons=neurons,
            patches=self.patches,
            **looked,
        )
        return {name: Strongest.from_json(kept[name]) for name in neurons}

    def _panel(
        self, run: Run, network: Network, name: str, neurons: list[int], tiles: Tensor, fields: dict[str, Any]
    ) -> Panel:
        """The patches (n, count, C, h, w) of a block's neurons, with their receptive fields before them if asked."""
        if self.steps:
            seed = run.seeds[0]
            best = maximised(run, network, name, neurons, seed, self.contender, self.steps, ASCENT.rate, ASCENT.norm)
            tiles = torch.cat([stretched(best).unsqueeze(1), tiles], 1)
        largest = max(max(field.size) for field in fields.values())
        title = field_title(name, fields[name].size, block_layers(network)[name])
        return Panel(
            title, tiles.flatten(0, 1), tiles.shape[1], side_of(fields[name].size, largest, INCHES), int(self.steps > 0)
        )


def same_class(labels: Tensor) -> float:
    """The share in % of pairs of one neuron's images that are of one class, over neurons; labels (n, count).

    >>> same_class(torch.tensor([[3, 3, 3], [3, 3, 5]])) == 100 * 4 / 6
    True
    """
    count = labels.shape[1]
    equal = (labels.unsqueeze(1) == labels.unsqueeze(2)).sum((1, 2)) - count
    return 100 * equal.double().mean().item() / (count * (count - 1))


def chance(labels: Tensor) -> float:
    """The share in % of pairs of different images that are of one class; labels (N,)."""
    counts = torch.bincount(labels).double()
    return 100 * ((counts * (counts - 1)).sum() / (len(labels) * (len(labels) - 1))).item()
