"""The interface of a block config: the methods that training, searches and questions call on any block."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar, Self

import torch
from torch import nn

from torchhebb.bounds import Checked
from torchhebb.errors import UserError
from torchhebb.remembered import remembered
from torchhebb.rules import Rule, StatefulRule


@remembered
def _output_shape(block: "Block", shape: tuple[int, ...]) -> torch.Size:
    with torch.device("meta"), torch.no_grad():
        return block.build(shape).eval()(torch.empty(1, *shape)).shape[1:]


@remembered
def _state_bytes(block: "Block", shape: tuple[int, ...], dtype: torch.dtype) -> int:
    """`dtype` is the default one, in which blocks are built."""
    with torch.device("meta"):
        return sum(tensor.numel() * tensor.element_size() for tensor in block.build(shape).state_dict().values())


class Block(Checked, ABC):
    """The config of a block: a frozen dataclass that builds a module and describes how it learns.

    A kind of block is one file with its config and, where it needs one, its module.  The config implements `build`;
    everything else has a default that follows from its fields: `rule`, `lr`, `lr_power`, `groups`, `bias_lr`, `power`,
    and the field that `width_field` names.  A block without one of them does not have to declare it.  Equal blocks must
    build alike: the shape of an output is found once for all blocks that are equal.

    >>> from torchhebb.nn import ConvBlock
    >>> ConvBlock(16, 3).output_shape((1, 8, 8))
    torch.Size([16, 8, 8])
    """

    rule: Rule | None = None
    """The learning rule of its layer; None for a block without a rule."""
    lr: float | None = None
    """Its learning rate under `NormAdaptiveSGD`; None for a block without its own rate."""
    lr_power: float = 0.5
    bias_lr: float | None = None
    """Learning rate of the log priors; None for that of the weights."""
    groups: int = 1

    width_field: ClassVar[str] = "channels"
    """The field that holds the number of neurons."""
    puts_out_maps: ClassVar[bool] = True
    """Whether its output has the shape (B, C, H, W), not (B, features)."""
    has_local_loss: ClassVar[bool] = False
    """Whether it learns by gradients of its own loss, which compares the samples of a batch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rule is not None and self.has_setting(self.width_field):
            if self.width % self.groups:
                raise UserError(f"groups must divide the {self.width} neurons, got {self.groups}")
            self.rule.check_neurons(self.width // self.groups)
        if self.groups > 1 and isinstance(self.rule, StatefulRule):
            raise UserError(f"groups must be 1 for {self.label}, whose state is of all neurons, got {self.groups}")
        if self.groups > 1 and getattr(self, "init", None) == "patches":
            raise UserError(f"groups must be 1 where init is patches, got {self.groups}")

    @abstractmethod
    def build(self, shape: Sequence[int]) -> nn.Module:
        """The module, for inputs of `shape` without the batch; its weights are drawn again by `reset_parameters`."""

    def output_shape(self, shape: Sequence[int]) -> torch.Size:
        """The shape of the output for inputs of `shape`, both without the batch; no memory is taken.

        >>> from torchhebb.nn import ConvBlock, Pool
        >>> ConvBlock(8, 5, pool=Pool("max", 2, 2)).output_shape((3, 32, 32))
        torch.Size([8, 16, 16])
        """
        return _output_shape(self, tuple(shape))

    def state_bytes(self, shape: Sequence[int]) -> int:
        """The bytes of the parameters and buffers for inputs of `shape` without the batch; no memory is taken.

        >>> from torchhebb.nn import LinearBlock
        >>> LinearBlock(8, normalize=False).state_bytes((64,)) == 8 * 64 * 4
        True
        """
        return _state_bytes(self, tuple(shape), torch.get_default_dtype())

    @property
    def width(self) -> int:
        """The number of neurons."""
        return int(self.setting(self.width_field))

    @property
    def label(self) -> str:
        """The name of its learning rule in figures and tables."""
        return type(self).__name__ if self.rule is None else self.rule.label

    @property
    def learns_from_single_samples(self) -> bool:
        """Whether a batch of one sample is enough for an update."""
        return not self.has_local_loss

    @property
    def is_local_to_synapses(self) -> bool:
        """Whether an update needs what one synapse and its neurons know, and not all inputs or neurons of the block."""
        return not self.has_local_loss

    def setting(self, name: str) -> Any:
        """The value of a field.  Raises UserError where a block of this kind has no such field."""
        self._check(name)
        return getattr(self, name)

    def has_setting(self, name: str) -> bool:
        """Whether a block of this kind has the field.

        >>> from torchhebb.nn import ConvBlock, LinearBlock
        >>> ConvBlock(8, 5).has_setting("pool"), LinearBlock(8).has_setting("pool")
        (True, False)
        """
        return name in {field.name for field in fields(self)}  # type: ignore[arg-type]  # a block is a dataclass

    def with_settings(self, **settings: Any) -> Self:
        """The block with other values.  Raises UserError where a block of this kind has no such field.

        >>> from torchhebb.nn import SPHeReConvBlock
        >>> SPHeReConvBlock(8).with_settings(lr=0.1)
        Traceback (most recent call last):
        torchhebb.errors.UserError: SPHeReConvBlock has no setting lr
        """
        for name in settings:
            self._check(name)
        return replace(self, **settings)  # type: ignore[type-var]  # a block is a dataclass

    def with_rule(self, rule: Rule) -> Self:
        """The block that learns by another rule.  Raises UserError where it does not learn by a rule."""
        if self.rule is None:
            raise UserError(f"{type(self).__name__} does not learn by a rule that {rule} could replace")
        return self.with_settings(rule=rule)

    def with_width(self, width: int) -> Self:
        """The block with this many neurons."""
        return self.with_settings(**{self.width_field: width})

    def narrowed(self, width: int) -> Self:
        """The block with at most this many neurons, in a network whose other blocks are narrowed in the same way."""
        return self.with_width(min(self.width, width))

    def for_gradients(self) -> "Block":
        """The block that a backpropagation baseline trains instead.  Raises UserError where there is none."""
        raise UserError(f"{type(self).__name__} has no form that learns by backpropagation")

    def parameter_groups(self, module: nn.Module) -> list[dict[str, Any]]:
        """Groups for `NormAdaptiveSGD`: the weights of `module`, which this config built, and its log priors.

        Raises UserError for a block without a rate of its own.
        """
        if self.lr is None:
            how = "learns by a local loss and has" if self.has_local_loss else "has"
            raise UserError(f"{type(self).__name__} {how} no rate of its own: choose AdamW")
        rates = {"lr": self.lr, "power": self.lr_power, "groups": self.groups}
        parameters = list(module.parameters())
        groups = [{"params": [parameter for parameter in parameters if parameter.dim() > 1], **rates}]
        if biases := [parameter for parameter in parameters if parameter.dim() == 1]:
            groups.append({"params": biases, **rates, "lr": self.lr if self.bias_lr is None else self.bias_lr})
        return groups

    def search_factors(self) -> dict[str, float]:
        """The default settings of a search, each with the factor by which to vary it up and down.

        >>> from torchhebb.nn import ConvBlock
        >>> ConvBlock(8, 5).search_factors()
        {'lr': 10.0, 'rule.inverse_temperature': 4.0, 'power': 2.0}
        """
        found = {}
        if self.lr is not None:
            found["lr"] = 10.0
        if hasattr(self.rule, "inverse_temperature"):
            found["rule.inverse_temperature"] = 4.0
        if self.has_setting("power") and getattr(self, "activation", "triangle") == "triangle":
            found["power"] = 2.0
        return found

    def _check(self, name: str) -> None:
        if not self.has_setting(name):
            raise UserError(f"{type(self).__name__} has no setting {name}")
