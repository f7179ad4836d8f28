"""`learn` and `LearningModule`: passing a batch through a network that learns without feedback."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from torchhebb.errors import UserError
from torchhebb.nn.plastic import DataInitialised
from torchhebb.nn.wrappers import inside


@torch.no_grad()
def learn(model: nn.Module, x: Tensor) -> Tensor:
    """One forward pass in which every plastic layer in train mode adds its own update to its own .grad.

    Calls `.learn` where a module has one, walks an nn.Sequential child by child, and calls plain modules.  A module
    that was compiled by `torch.compile` learns by the module inside, which is not compiled.
    There is no feedback: what a layer learns does not depend on the layers above it.

    Args: model; x, what the model takes.  Returns: the model's output, detached.
    Raises TypeError naming a module that contains a learning one but is neither sequential nor defines `.learn`,
    and UserError for a layer that is to be initialised from data first.

    >>> from torchhebb.nn import HebbLinear, Triangle
    >>> model = nn.Sequential(HebbLinear(4, 3), Triangle(), HebbLinear(3, 2))
    >>> learn(model, torch.randn(5, 4)).shape, model[2].weight.grad.shape
    (torch.Size([5, 2]), torch.Size([2, 3]))
    """
    if (held := inside(model)) is not None:
        if type(model).__name__ == "OptimizedModule":
            return learn(held, x)
        raise TypeError(
            f"learn does not pass through {type(model).__name__}: give it model.module, and share batches among "
            "processes by torchhebb.distributed"
        )
    if needs_data(model) and not getattr(model, "initialised", True):
        raise UserError(
            f"{type(model).__name__} is to be initialised from its inputs before it learns: call "
            "torchhebb.nn.init_from_data(network, images, torch.Generator().manual_seed(0)) once"
        )
    if learns(model):
        return model.learn(x)  # type: ignore[operator]
    if isinstance(model, nn.Sequential):
        for module in model:
            x = learn(module, x)
        return x
    found = [name for name, module in model.named_modules() if learns(module)]
    if found:
        raise TypeError(
            f"{type(model).__name__} contains a learning module ({found[0]!r}) but is not an nn.Sequential: "
            "it must define .learn(x), as a torchhebb.nn.LearningModule does"
        )
    return model(x)


def learns(module: nn.Module) -> bool:
    """Whether a module learns by itself."""
    return callable(getattr(module, "learn", None))


class LearningModule(nn.Module):
    """A module of any structure whose plastic layers learn while its own `forward` runs: skip connections, branches.

    `learn(x)` is forward(x), in which every module inside that learns by itself, in train mode, adds its update to
    its .grad and returns a detached output.  Derive from it, write `forward` as in any module, and use `learn`.

    >>> from torchhebb.nn import HebbLinear
    >>> class Skipping(LearningModule):
    ...     def __init__(self) -> None:
    ...         super().__init__()
    ...         self.one, self.other = HebbLinear(4, 4), HebbLinear(4, 4)
    ...
    ...     def forward(self, x: Tensor) -> Tensor:
    ...         return self.other(self.one(x)) + x
    >>> model = Skipping()
    >>> learn(model, torch.randn(5, 4)).shape, model.other.weight.grad.shape
    (torch.Size([5, 4]), torch.Size([4, 4]))
    """

    @torch.no_grad()
    def learn(self, x: Tensor) -> Tensor:
        """The output of `forward`, detached; every plastic layer that is called learns from what it is given."""
        with ExitStack() as stack:
            for module in _outermost(self):
                stack.enter_context(_learning_when_called(module))
            output: Tensor = type(self).forward(self, x)
            return output.detach()


def _outermost(model: nn.Module) -> Iterator[nn.Module]:
    """What `learn` is to be called of inside a module: modules that learn by themselves or need data, wrappers."""
    for child in model.children():
        if learns(child) or inside(child) is not None or isinstance(child, DataInitialised):
            yield child
        else:
            yield from _outermost(child)


@contextmanager
def _learning_when_called(module: nn.Module) -> Iterator[None]:
    """Let a call of the module be `learn`, which itself may call the module."""

    def call(x: Tensor) -> Tensor:
        with _with_forward(module, before):
            return learn(module, x) if module.training else module(x)

    before = module.__dict__.get("forward")
    with _with_forward(module, call):
        yield


@contextmanager
def _with_forward(module: nn.Module, forward: Any) -> Iterator[None]:
    """A module whose instance has this `forward`; with None, that of its class."""
    before = module.__dict__.pop("forward", None)
    if forward is not None:
        module.__dict__["forward"] = forward
    try:
        yield
    finally:
        module.__dict__.pop("forward", None)
        if before is not None:
            module.__dict__["forward"] = before


@torch.no_grad()
def init_from_data(model: nn.Sequential, x: Tensor, generator: torch.Generator, *, chunk: int = 32) -> None:
    """Initialise the modules in train mode that need samples of their own inputs, from the input upwards.

    Such a module has `init_from_data(inputs, generator)`: whitening computes statistics, layers of init "patches" draw
    their weights.  The modules below it are initialised by then, and compute its inputs in eval mode, `chunk` samples
    at a time.

    Args: x, samples of what the model takes.

    >>> from torchhebb.nn import HebbLinear
    >>> model = nn.Sequential(HebbLinear(4, 3, init="patches", init_radius=1.0))
    >>> init_from_data(model, torch.eye(4), torch.Generator().manual_seed(0))
    >>> model[0].weight.sum(1)
    tensor([1., 1., 1.])
    """
    modules = list(in_order(model))
    modes, needed = [module.training for module in modules], [needs_data(module) for module in modules]
    try:
        for number, module in enumerate(modules):
            if needed[number]:
                below = nn.Sequential(*modules[:number]).eval()
                inputs = torch.cat([below(part) for part in x.split(chunk)])
                module.init_from_data(inputs, generator)  # type: ignore[operator]
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.train(mode)


def needs_data(module: nn.Module) -> bool:
    """Whether a module, in train mode, takes something of its own inputs; a layer does if its weights are patches.

    >>> from torchhebb.nn import HebbLinear
    >>> needs_data(HebbLinear(4, 3)), needs_data(HebbLinear(4, 3, init="patches"))
    (False, True)
    """
    return module.training and hasattr(module, "init_from_data") and getattr(module, "init", "patches") == "patches"


def in_order(model: nn.Module) -> Iterator[nn.Module]:
    """The modules that a sequential computes one after another, those inside it taken apart."""
    if isinstance(model, nn.Sequential):
        for child in model:
            yield from in_order(child)
    else:
        yield model
