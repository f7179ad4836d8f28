"""How a batch travels through a network that learns without feedback."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn


@torch.no_grad()
def learn(model: nn.Module, x: Tensor) -> Tensor:
    """One forward pass in which every plastic layer in train mode leaves its own update in its own .grad.

    Calls `.learn` where a module has one, walks an nn.Sequential child by child, and calls plain modules.
    Nothing flows back: what a layer learns is the same whatever stands above it.

    Args: model; x, what the model takes.  Returns: the model's output, detached.
    Raises TypeError naming a module that contains a learning one but is neither sequential nor defines `.learn`.

    >>> from torchhebb.nn import HebbLinear, Triangle
    >>> model = nn.Sequential(HebbLinear(4, 3), Triangle(), HebbLinear(3, 2))
    >>> learn(model, torch.randn(5, 4)).shape, model[2].weight.grad.shape
    (torch.Size([5, 2]), torch.Size([2, 3]))
    """
    if learns(model):
        return model.learn(x)  # type: ignore[operator]
    if isinstance(model, nn.Sequential):
        for module in model:
            x = learn(module, x)
        return x
    inside = [name for name, module in model.named_modules() if learns(module)]
    if inside:
        raise TypeError(
            f"{type(model).__name__} contains a learning module ({inside[0]!r}) but is not an nn.Sequential: "
            "it must define .learn(x)"
        )
    return model(x)


def learns(module: nn.Module) -> bool:
    """Whether a module learns by itself."""
    return callable(getattr(module, "learn", None))


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
    modules = list(_in_order(model))
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
    """Whether a module, in train mode, takes something of its own inputs; a layer does if its weights are samples.

    >>> from torchhebb.nn import HebbLinear
    >>> needs_data(HebbLinear(4, 3)), needs_data(HebbLinear(4, 3, init="patches"))
    (False, True)
    """
    return module.training and hasattr(module, "init_from_data") and getattr(module, "init", "patches") == "patches"


def _in_order(model: nn.Module) -> Iterator[nn.Module]:
    """What a sequence computes one after another, sequences inside it taken apart."""
    if isinstance(model, nn.Sequential):
        for child in model:
            yield from _in_order(child)
    else:
        yield model
