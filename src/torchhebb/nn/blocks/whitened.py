"""The block whose neurons compete for whitened patches."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import nn

from torchhebb.bounds import EXPONENT, POWER, RADIUS, RATE, SIZE, at_least
from torchhebb.errors import UserError
from torchhebb.nn.activation import Triangle
from torchhebb.nn.blocks.base import Block
from torchhebb.nn.conv import HebbConv2d
from torchhebb.nn.plastic import Init
from torchhebb.nn.pool import Pool
from torchhebb.nn.whiten import PatchWhitening
from torchhebb.rules import Rule, SoftHebb


@dataclass(frozen=True)
class WhitenedBlock(Block):
    """Whitened patches on the unit sphere, neurons that compete for them, triangle, pool.

    The patches' whitening and the neurons' first weights, patches themselves, come from samples of the block's own
    input (`init_from_data`).  `project` puts a projection of the channels on their principal components before it.

    Example:
        >>> import torch
        >>> WhitenedBlock(16, kernel_size=3).output_shape((3, 8, 8))
        torch.Size([16, 6, 6])
    """

    channels: int = field(metadata=SIZE)
    """Number of neurons."""
    kernel_size: int = field(metadata=SIZE)
    """Side of the patches."""
    rule: Rule = SoftHebb(150.0, anti_hebbian=False)
    """The learning rule of the layer."""
    power: float = field(default=1.0, metadata=POWER)
    """Power of the triangle."""
    threshold: float = 0.0
    """Threshold of the triangle, in standard deviations over the neurons."""
    split: bool = False
    """Add a second half of the triangle for pre-activations below the mean: twice as many maps."""
    pool: Pool | None = None
    """Pooling after the activation; None for no pooling."""
    padding: int = field(default=0, metadata=at_least(0))
    """Padding with zeros on each side."""
    project: int | None = field(default=None, metadata=SIZE)
    """Project the channels onto this many principal components before whitening; None for no projection."""
    components: int | None = field(default=None, metadata=SIZE)
    """Principal components that whitening keeps; None keeps all."""
    shrinkage: float = field(default=0.1, metadata=RATE)
    """Regularisation added to the variances before whitening, in units of their mean."""
    floor: float = field(default=0.0, metadata=RATE)
    """Whitened patches with a norm below this are not scaled up to norm 1."""
    remove_mean: bool = True
    """Subtract the mean of every patch."""
    lateral: bool = False
    """Learn the whitening with an anti-Hebbian rule."""
    init: Init = "patches"
    """Initial weights: normal, uniform (positive), or patches of the input."""
    init_radius: float = field(default=1.0, metadata=RADIUS)
    """Radius (L2 norm) of the initial weights."""
    lr: float = field(default=0.01, metadata=RATE)
    """Learning rate under NormAdaptiveSGD."""
    lr_power: float = field(default=0.0, metadata=EXPONENT)
    """Power of the radius's distance from 1 in the learning rate; at radius 1 use 0, others give a rate of zero."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lateral and self.components is not None:
            raise UserError(f"components must be None where lateral is True, got {self.components}")
        if self.project is not None and self.components is not None:
            most = self.project * self.kernel_size**2
            if self.components > most:
                raise UserError(f"components must be at most {most}, the numbers of a patch, got {self.components}")

    def build(self, shape: Sequence[int]) -> nn.Sequential:
        block = nn.Sequential()
        channels = shape[0]
        if self.project is not None:
            block.add_module(
                "project",
                PatchWhitening(channels, 1, components=self.project, shrinkage=0.0, floor=None, remove_mean=False),
            )
            channels = self.project
        whiten = PatchWhitening(
            channels,
            self.kernel_size,
            components=self.components,
            shrinkage=self.shrinkage,
            floor=self.floor,
            remove_mean=self.remove_mean,
            padding=self.padding,
            lateral=self.lateral,
        )
        block.add_module("whiten", whiten)
        layer = HebbConv2d(
            whiten.out_channels, self.channels, 1, rule=self.rule, init=self.init, init_radius=self.init_radius
        )
        block.add_module("layer", layer)
        block.add_module("activation", Triangle(self.power, threshold=self.threshold, split=self.split))
        if self.pool is not None:
            block.add_module("pool", self.pool.build())
        return block

    @property
    def is_local_to_synapses(self) -> bool:
        return False  # whitening takes all inputs of a patch

    def narrowed(self, width: int) -> "WhitenedBlock":
        project = None if self.project is None else min(self.project, width)
        components = self.components
        if components is not None and project is not None:
            components = min(components, project * self.kernel_size**2)
        return replace(self, channels=min(self.channels, width), project=project, components=components)

    def for_gradients(self) -> Block:
        raise UserError("a whitened block has no form that learns by gradients: its whitening is its own statistics")
