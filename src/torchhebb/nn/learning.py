"""How a batch travels through a network that learns without feedback."""

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
