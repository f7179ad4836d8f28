"""`Network`, a sequence of blocks with a readout, and `Architecture`, its description as a value."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchhebb.bounds import POWER, SIZE, Checked, above, each
from torchhebb.config import from_json, to_json
from torchhebb.errors import UserError
from torchhebb.memory import free_bytes
from torchhebb.nn.blocks import Block
from torchhebb.nn.flatten import flatten_maps
from torchhebb.nn.hub import OnHub
from torchhebb.nn.norm import Standardize, UnitNorm
from torchhebb.nn.readout import ReadoutModule
from torchhebb.nn.saving import Portable, class_names
from torchhebb.nn.wrappers import state_without_wrappers


class NoReadoutError(UserError, AttributeError):
    """Logits were requested from a network without a readout."""


@dataclass(frozen=True)
class Tap(Checked):
    """The maps of one block, averaged to `pool` x `pool`, as a part of the features.

    Example:
        >>> Tap(block=1, pool=4)  # the maps of the first block, averaged to 4 x 4
        Tap(block=1, pool=4)
    """

    block: int = field(metadata=SIZE)
    """Number of the block, from 1."""
    pool: int = field(metadata=SIZE)
    """Height and width to which its maps are averaged."""


@dataclass(frozen=True)
class Architecture(Checked):
    """The network as a value: input shape (C, H, W), preprocessing of pixels in [0, 1], blocks and features.

    Example:
        >>> from torchhebb.nn import ConvBlock
        >>> architecture = Architecture((1, 8, 8), (ConvBlock(16, 3), ConvBlock(32, 3)))
        >>> architecture.output_shape()
        torch.Size([32, 8, 8])
        >>> architecture.build()(torch.rand(2, 1, 8, 8)).shape
        torch.Size([2, 32, 8, 8])
    """

    input_shape: tuple[int, int, int] = field(metadata=each(SIZE))
    """Channels, height and width of the images."""
    blocks: tuple[Block, ...]
    """The blocks, starting at the input."""
    mean: tuple[float, ...] | None = None
    """Mean of every channel, subtracted from the pixels; None subtracts nothing."""
    std: tuple[float, ...] | None = field(default=None, metadata=each(above(0)))
    """Standard deviation of every channel, by which the pixels are divided; None does not divide."""
    unit_norm: bool = False
    """Scale every image to unit norm."""
    feature_pool: int | None = field(default=None, metadata=SIZE)
    """Average the last maps to this height and width; None keeps them."""
    taps: tuple[Tap, ...] = ()
    """Take the features from the maps of these blocks instead of the last block's output."""
    tap_power: float = field(default=1.0, metadata=POWER)
    """Power applied to the maps of taps; 0.5 is the square root, as is usual for counts."""
    flip_average: bool = False
    """Average the features of an image and of its mirror image."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_standardization()
        depths = [tap.block for tap in self.taps]
        if len({*depths}) < len(depths) or not all(1 <= depth <= len(self.blocks) for depth in depths):
            raise UserError(f"taps must name blocks from 1 to {len(self.blocks)}, each once, got {depths}")
        if flat := [depth for depth in depths if not self.blocks[depth - 1].puts_out_maps]:
            raise UserError(f"taps must name blocks that put out maps, got {flat}, which are linear")
        if self.tap_power != 1 and not self.taps:
            raise UserError(f"tap_power must be 1 where taps is empty, got {self.tap_power}")
        if self.taps and self.feature_pool is not None:
            raise UserError("feature_pool is for the last block alone: give its pool to taps instead")
        if self.feature_pool is not None and self.blocks and not self.blocks[-1].puts_out_maps:
            raise UserError(f"feature_pool must be None where the last block puts out no maps, got {self.feature_pool}")

    def _check_standardization(self) -> None:
        channels = self.input_shape[0]
        for name, other in (("mean", "std"), ("std", "mean")):
            values = getattr(self, name)
            if (values is None) != (getattr(self, other) is None):
                raise UserError(f"mean and std must be given together, got no {name if values is None else other}")
            if values is not None and len(values) not in (1, channels):
                raise UserError(f"{name} must have 1 number or {channels}, one a channel, got {len(values)}")

    def with_blocks(self, change: Callable[[Block], Block]) -> "Architecture":
        """The architecture with every block changed; a UserError of a block is raised with its number.

        >>> from torchhebb.nn import ConvBlock
        >>> architecture = Architecture((3, 8, 8), (ConvBlock(4, 3), ConvBlock(8, 3)))
        >>> architecture.with_blocks(lambda block: block.with_settings(lr=2 * block.setting("lr"))).blocks[1].lr
        0.02
        """
        blocks = []
        for number, block in enumerate(self.blocks, 1):
            try:
                blocks.append(change(block))
            except UserError as error:
                raise UserError(f"block{number}: {error}") from None
        return replace(self, blocks=tuple(blocks))

    def output_shape(self) -> torch.Size:
        """The shape of the features of one image; no memory is taken."""
        with torch.device("meta"), torch.no_grad():
            return self.build().eval()(torch.empty(1, *self.input_shape)).shape[1:]

    def build(self, seed: int = 0) -> "Network":
        """The network with weights drawn from `seed`: the same on every machine and device."""
        if torch.get_default_device().type != "meta":
            self._check_memory()
        modules: dict[str, nn.Module] = {}
        if self.mean is not None and self.std is not None:
            modules["standardize"] = Standardize(self.mean, self.std)
        if self.unit_norm:
            modules["unit_norm"] = UnitNorm()
        for number, (config, shape) in enumerate(self._inputs(), 1):
            modules[f"block{number}"] = config.build(shape)
        if self.feature_pool is not None:
            modules["feature_pool"] = nn.AdaptiveAvgPool2d(self.feature_pool)
        network = Network(
            modules,
            taps={f"block{tap.block}": tap.pool for tap in self.taps},
            tap_power=self.tap_power,
            flip_average=self.flip_average,
            architecture=self,
        )
        network.reset_parameters(torch.Generator().manual_seed(seed))
        return network

    def _check_memory(self) -> None:
        """Raise UserError before memory is taken that the machine does not have: Linux would end the process."""
        needed = sum(config.state_bytes(shape) for config, shape in self._inputs())
        free = free_bytes(torch.device("cpu"))
        if needed > free:
            raise UserError(
                f"the network needs {needed / 1e9:.1f} GB of memory for its weights and {free / 1e9:.1f} GB are free: "
                "lower the sizes of its blocks"
            )

    def _inputs(self) -> Iterator[tuple[Block, torch.Size]]:
        """Each block and the shape of its input."""
        shape = torch.Size(self.input_shape)
        for block in self.blocks:
            yield block, shape
            shape = block.output_shape(shape)


class Network(Portable, OnHub, nn.Sequential):
    """A sequence of blocks: pixels in [0, 1] -> features.

    `attach(readout)` adds what was trained on its frozen features; `classifier` is then pixels -> logits.
    The readout is no block, so features stay what they were.

    With `taps`, features are the maps of the blocks it names, each averaged to its size and flattened, concatenated
    and raised to the power `tap_power`, signs kept.  With `flip_average`, they are the mean of the features of an image
    and of its mirror image, and so the same for both.

    Args: blocks, modules or named modules; taps, name of a block -> height and width of its maps; architecture, what
    the blocks were built from: with it the network knows its learning rates and can be loaded from its file alone.

    >>> from torchhebb.nn import HebbLinear, learn
    >>> network = Network([nn.Flatten(), HebbLinear(64, 10)])
    >>> learn(network, torch.rand(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    """

    architecture: Architecture | None
    readout: nn.Module | None
    classes: tuple[str, ...]
    """The names of the classes, in the order of the logits; empty where they are not known."""

    def __init__(
        self,
        blocks: Iterable[nn.Module] | Mapping[str, nn.Module],
        *,
        taps: Mapping[str, int] | None = None,
        tap_power: float = 1.0,
        flip_average: bool = False,
        architecture: Architecture | None = None,
    ) -> None:
        super().__init__()
        self.taps, self.tap_power, self.flip_average = dict(taps or {}), tap_power, flip_average
        named = blocks.items() if isinstance(blocks, Mapping) else ((str(i), b) for i, b in enumerate(blocks))
        for name, block in named:
            self.add_module(name, block)
        self.architecture, self.classes = architecture, ()
        object.__setattr__(self, "readout", None)

    def forward(self, x: Tensor) -> Tensor:
        if not self.flip_average:
            return self._features(x)
        return (self._features(x) + self._features(x.flip(-1))) / 2

    def _features(self, x: Tensor) -> Tensor:
        if not self.taps:
            return super().forward(x)
        parts = []
        for name, block in self.named_children():
            x = block(x)
            if name in self.taps:
                parts.append(flatten_maps(F.adaptive_avg_pool2d(x, self.taps[name])))
        features = torch.cat(parts, 1)
        if self.tap_power == 1.0:
            return features
        # A root of a negative number would be NaN; ONNX knows no copysign.
        return features.sign() * features.abs().pow(self.tap_power)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw new weights for every layer, in order."""
        for child in self.children():
            _reset(child, generator)

    def learning_groups(self) -> list[dict[str, Any]]:
        """Parameter groups for an optimizer, one a block and one for its log priors, with the architecture's rates.

        Raises ValueError for a network that was not built from an Architecture, UserError for one with a block that
        has no rate of its own.
        """
        if self.architecture is None:
            raise ValueError("the network has no architecture, so no learning rates: build it by Architecture.build()")
        groups: list[dict[str, Any]] = []
        for number, block in enumerate(self.architecture.blocks, 1):
            try:
                groups += block.parameter_groups(self.get_submodule(f"block{number}"))
            except UserError as error:
                raise UserError(f"block{number}: {error}") from None
        return groups

    def attach(self, readout: nn.Module, classes: Sequence[str] = ()) -> Self:
        """Attach a trained readout (features -> logits) and, if known, the names of its classes.

        Raises UserError for one that takes another number of features than a network of known architecture has, or
        has another number of classes than names.
        """
        if isinstance(readout, ReadoutModule) and self.architecture is not None:
            needed = readout.features_in(self.architecture.output_shape())
            if readout.in_features != needed:
                raise UserError(f"readout must take the {needed} features of the network, got {readout.in_features}")
        if isinstance(readout, ReadoutModule) and len(classes) not in (0, readout.classes):
            raise UserError(f"classes must name the {readout.classes} classes of the readout, got {len(classes)} names")
        object.__setattr__(self, "readout", readout)
        self.classes = tuple(classes)
        return self

    @property
    def classifier(self) -> nn.Sequential:
        """Pixels -> logits.  Raises NoReadoutError, an AttributeError, while no readout is attached."""
        if self.readout is None:
            raise AttributeError("classifier")  # from here Python asks __getattr__, which says more
        classifier = nn.Sequential(self, self.readout)
        classifier.training = self.training  # not .train(), which would wake blocks that were frozen by .eval()
        return classifier

    def __getattr__(self, name: str) -> Any:
        if name == "classifier":
            raise NoReadoutError("the network has no readout: train one and attach it first")
        return super().__getattr__(name)

    def header(self) -> dict[str, Any]:
        header = {"architecture": to_json(self.architecture)}
        if self.readout is None:
            return header
        if not isinstance(self.readout, ReadoutModule):
            raise UserError(
                "readout must be LinearReadout, NeuronLabels or another ReadoutModule to be saved, "
                f"got {type(self.readout).__name__}"
            )
        named = {"classes": list(self.classes)} if self.classes else {}
        return header | self.readout.header() | named

    @classmethod
    def from_header(cls, header: dict[str, Any]) -> "Network":
        network = from_json(Architecture, header.get("architecture")).build()
        if "readout" not in header:
            return network
        return network.attach(ReadoutModule.from_header(header), class_names(header.get("classes", [])))

    def tensors(self) -> dict[str, Tensor]:
        readout = {} if self.readout is None else self.readout.state_dict(prefix="readout.")
        return state_without_wrappers(self) | readout

    def fill(self, tensors: dict[str, Tensor]) -> None:
        blocks = {name: tensor for name, tensor in tensors.items() if not name.startswith("readout.")}
        self.load_state_dict(blocks, assign=True)
        if self.readout is not None:
            readout = {name.removeprefix("readout."): tensor for name, tensor in tensors.items() if name not in blocks}
            self.readout.load_state_dict(readout, assign=True)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "Network":
        if self.readout is not None:
            self.readout._apply(fn)
        return super()._apply(fn, recurse)


def _reset(module: nn.Module, generator: torch.Generator | None) -> None:
    """A module with `reset_parameters` resets everything inside it."""
    if hasattr(module, "reset_parameters"):
        module.reset_parameters(generator)  # type: ignore[operator]
    else:
        for child in module.children():
            _reset(child, generator)
