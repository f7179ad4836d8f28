"""Recipes as values: frozen dataclasses whose fields are the flags of the command line."""

import math
import re
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from torchhebb.bounds import RATE, SIZE, Checked, above, at_least, each
from torchhebb.data import Augment
from torchhebb.errors import UserError
from torchhebb.nn import Architecture
from torchhebb.readouts.adam import Readout
from torchhebb.readouts.base import ReadoutPlan


@dataclass(frozen=True)
class NormAdaptive(Checked):
    """NormAdaptiveSGD for plastic layers: the rate of each block, scaled by the distance of the radius from 1."""


@dataclass(frozen=True)
class AdamW(Checked):
    """AdamW for blocks that learn by a local loss, with one learning rate for all."""

    lr: float = field(default=1e-3, metadata=RATE)
    """Learning rate."""
    weight_decay: float = field(default=0.05, metadata=RATE)
    """Decoupled weight decay."""


@dataclass(frozen=True)
class Learning(Checked):
    """The unsupervised phase: how the training images pass through the plastic blocks.

    Example:
        >>> Learning(batch_size=10, epochs=2, schedule="cosine").epochs
        2
    """

    batch_size: int = field(default=10, metadata=SIZE)
    """Number of images in a batch."""
    epochs: int = field(default=1, metadata=at_least(0))
    """Passes over the images; 0 keeps the initial weights."""
    order: Literal["joint", "greedy", "pipeline"] = "joint"
    """joint: all blocks in the same pass; greedy: one block after the other, those below in eval mode; pipeline: the
    joint pass with every block one batch behind the one below, so that all can compute at the same time."""
    optimizer: NormAdaptive | AdamW = field(default_factory=NormAdaptive)
    """The optimizer: NormAdaptive, with the rates of the blocks, or AdamW for blocks with local losses."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Schedule of the learning rates, from their value to final_lr_fraction of it."""
    final_lr_fraction: float = field(default=0.0, metadata=RATE)
    """Fraction of the learning rates at the end of the schedule."""
    images: Literal["train", "unlabelled"] = "train"
    """Which images to learn from: the training images, or the unlabelled ones that some data sets have."""
    fraction: float = field(default=1.0, metadata=above(0, up_to=1))
    """Fraction of these images to learn from; the seed decides which."""
    augment: Augment = field(default_factory=Augment)
    """Augmentation of the images while the blocks learn."""
    samples: int = field(default=1000, metadata=SIZE)
    """Number of images, the first of the pass, from which whitening and weights of init "patches" are computed."""

    def lr_factor(self, progress: float) -> float:
        """The factor of the rates after a fraction `progress` of the steps.

        >>> Learning(schedule="linear").lr_factor(0.25)
        0.75
        >>> Learning(schedule="cosine", final_lr_fraction=0.5).lr_factor(0.5)
        0.75
        """
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        left = {"constant": 1.0, "linear": 1 - progress, "cosine": cosine}[self.schedule]
        return left + (1 - left) * self.final_lr_fraction


@dataclass(frozen=True)
class Supervised(Checked):
    """Supervised training of a baseline by gradients: AdamW on the cross-entropy.

    With `warmup` and `cosine` the learning rate makes one cycle (Smith and Topin 2019): it rises linearly to `lr` in
    the first `warmup` of the steps, and falls by a half cosine to zero in the others.  Dropout zeroes entries of what
    the last linear layer reads, and scales the others by 1 / (1 - dropout) (Srivastava et al. 2014).

    Example:
        >>> Supervised(epochs=12, lr=3e-3).epochs
        12
    """

    epochs: int = field(default=20, metadata=at_least(0))
    """Passes over the training images."""
    batch_size: int = field(default=64, metadata=SIZE)
    """Number of images in a batch."""
    lr: float = field(default=1e-3, metadata=RATE)
    """Initial learning rate."""
    weight_decay: float = field(default=0.0, metadata=RATE)
    """Decoupled weight decay."""
    cosine: bool = True
    """Decrease the learning rate to zero by a half cosine; otherwise only `halve_at` lowers it."""
    warmup: float = field(default=0.0, metadata=at_least(0, below=1))
    """The fraction of the steps in which the learning rate first rises to `lr`."""
    halve_at: tuple[float, ...] = field(default=(), metadata=each(at_least(0, up_to=1), empty=True))
    """Fractions of the steps after which the learning rate is halved."""
    dropout: float = field(default=0.0, metadata=at_least(0, below=1))
    """Probability of dropout on what the last linear layer reads, as a readout has it on features."""
    augment: Augment = field(default_factory=Augment)
    """Augmentation of the training images."""
    init: Literal["he", "pytorch"] = "he"
    """Initial weights of Hebbian blocks: He's (2015), or those of PyTorch's own layers, U(-1, 1) / sqrt(fan_in)."""

    def lr_at(self, step: int, total: int) -> float:
        """The learning rate of step number `step`, counted from 0, of `total` steps.

        >>> [round(Supervised(lr=1.0, warmup=0.5).lr_at(step, 4), 2) for step in range(4)]
        [0.5, 1.0, 1.0, 0.5]
        >>> [Supervised(lr=1.0, cosine=False, halve_at=(0.5, 0.75)).lr_at(step, 4) for step in range(4)]
        [1.0, 1.0, 0.5, 0.25]
        """
        rising = round(self.warmup * total)
        if step < rising:
            return self.lr * (step + 1) / rising
        lr = self.lr * 0.5 ** sum(step >= share * total for share in self.halve_at)
        return lr * (0.5 * (1 + math.cos(math.pi * (step - rising) / (total - rising))) if self.cosine else 1.0)


@dataclass(frozen=True)
class PublishedBeside(Checked):
    """The paper's test accuracies of baselines, in percent."""

    random: float | None = None
    """Of random weights; compared with calibrated and uncalibrated ones, as papers do not always say which."""
    backpropagation: float | None = None
    """Of backpropagation through the same blocks."""


@dataclass(frozen=True)
class Recipe(Checked):
    """One named, complete experiment: data, network, learning plan, readout, expected result.

    Example:
        >>> import torch
        >>> from torchhebb.nn import ConvBlock
        >>> recipe = Recipe("mine", "digits", Architecture((1, 8, 8), (ConvBlock(16, 3),)), seeds=3)
        >>> recipe.architecture.output_shape()
        torch.Size([16, 8, 8])
    """

    name: str
    """Name of the recipe in results and reports."""
    data: str
    """A data set of the catalogue, folder:PATH, parquet:PATH or hub:OWNER/NAME."""
    architecture: Architecture
    """The network: input shape, preprocessing of pixels in [0, 1], blocks and features."""
    learning: Learning = field(default_factory=Learning)
    """The unsupervised phase: how the training images pass through the plastic blocks."""
    readout: ReadoutPlan = field(default_factory=Readout)
    """The readout of the frozen features; only it uses labels."""
    baselines: tuple[Literal["random", "uncalibrated", "raw", "backpropagation"], ...] = ("random",)
    """Baselines: random weights with calibrated batch norm (random) or with its initial running statistics
    (uncalibrated), or raw pixels (raw), all with the same readout; backpropagation through the same blocks, trained end
    to end with labels."""
    supervised: Supervised = field(default_factory=Supervised)
    """How the backpropagation baseline learns."""
    seeds: int = field(default=1, metadata=SIZE)
    """Number of seeds, counted from 0; each has its own initial weights and order of images."""
    published: float | None = None
    """The paper's test accuracy in percent, if it gives one; see `published_for`."""
    published_on: str = field(default="", compare=False)
    """The data set of the published numbers, by default the recipe's own; with other data they are not shown."""
    published_beside: PublishedBeside = field(default_factory=PublishedBeside, compare=False)
    """The paper's accuracies of baselines; not part of the experiment, so runs can be resumed if it changes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(r"[\w][\w.+ -]*", self.name):  # it names folders
            raise UserError(f"name must be letters, digits, and . _ + - within, got {self.name!r}")
        if self.published_on not in ("", self.data):
            object.__setattr__(self, "published", None)
            object.__setattr__(self, "published_beside", PublishedBeside())
        object.__setattr__(self, "published_on", self.data)
        learning = self.learning
        if self.online and not (isinstance(learning.optimizer, AdamW) and learning.order != "greedy"):
            raise UserError("readout.online needs learning.order joint or pipeline and learning.optimizer AdamW")
        if self.online and (self.architecture.taps or self.architecture.flip_average):
            raise UserError(
                "readout.online reads the last block: leave out architecture.taps and architecture.flip_average"
            )
        if self.online and learning.images != "train":
            raise UserError("readout.online needs labels: learning.images must be train")
        if "backpropagation" in self.baselines:
            try:
                self.architecture.with_blocks(lambda block: block.for_gradients())
            except UserError as error:
                raise UserError(f"baselines must leave out backpropagation: {error}") from None
        if learning.order == "greedy" and learning.augment.active:
            raise UserError("learning.augment needs learning.order joint or pipeline: greedy blocks keep their inputs")
        self._check_sizes()

    def _check_sizes(self) -> None:
        side = min(self.architecture.input_shape[1:])
        for phase in ("learning", "readout", "supervised"):
            augment = getattr(getattr(self, phase), "augment", None)
            if augment is not None and augment.crop_padding >= side:
                raise UserError(
                    f"{phase}.augment.crop_padding must be below the {side} pixels of the images' shorter side, "
                    f"got {augment.crop_padding}"
                )

    @property
    def online(self) -> bool:
        """Whether a readout learns beside the blocks."""
        return isinstance(self.readout, Readout) and self.readout.online

    def published_for(self, measure: str) -> float | None:
        """What the paper reports of a measure: of the readout that learns beside the blocks where it has one."""
        own = "online_test_accuracy" if self.online else "test_accuracy"
        random, backpropagation = self.published_beside.random, self.published_beside.backpropagation
        return {
            own: self.published,
            "random_test_accuracy": random,
            "uncalibrated_test_accuracy": random,
            "backpropagation_test_accuracy": backpropagation,
        }.get(measure)


Plan = TypeVar("Plan", Learning, Supervised, Readout, ReadoutPlan)


def shortened(plan: Plan, epochs: int | None) -> Plan:
    """A plan with so many epochs, its own for None; raises UserError for a readout in closed form, which has none."""
    if epochs is None:
        return plan
    if isinstance(plan, ReadoutPlan) and not isinstance(plan, Readout):
        raise UserError(f"a readout in closed form has no epochs to set, got readout_epochs {epochs}")
    return replace(plan, epochs=epochs)
