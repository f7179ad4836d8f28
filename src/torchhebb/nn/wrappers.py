"""Unwrapping of torch's wrappers of a model: `torch.compile`, `DataParallel`, `DistributedDataParallel`."""

from torch import Tensor, nn

_INSIDE = {"OptimizedModule": "_orig_mod", "DataParallel": "module", "DistributedDataParallel": "module"}
# By name, since importing torch._dynamo for the class of compiled modules takes a second.


def inside(module: nn.Module) -> nn.Module | None:
    """The module inside a wrapper of torch; None for a module that is no wrapper.

    >>> inside(nn.DataParallel(nn.Flatten())), inside(nn.Flatten())
    (Flatten(start_dim=1, end_dim=-1), None)
    """
    attribute = _INSIDE.get(type(module).__name__)
    if attribute is None or type(module).__module__.partition(".")[0] != "torch":
        return None
    return module.get_submodule(attribute)


def unwrapped(module: nn.Module) -> nn.Module:
    """The model inside all wrappers."""
    while (held := inside(module)) is not None:
        module = held
    return module


def state_without_wrappers(module: nn.Module) -> dict[str, Tensor]:
    """The state dict with the names of the unwrapped model.

    >>> list(state_without_wrappers(nn.Sequential(nn.DataParallel(nn.Linear(2, 2)))))
    ['0.weight', '0.bias']
    """
    state = dict(module.state_dict())
    wrappers = [(name, _INSIDE[type(child).__name__]) for name, child in module.named_modules() if inside(child)]
    for name, attribute in sorted(wrappers, key=lambda wrapper: -len(wrapper[0])):  # the innermost first
        start = f"{name}." if name else ""
        prefix = f"{start}{attribute}."
        state = {start + key.removeprefix(prefix) if key.startswith(prefix) else key: t for key, t in state.items()}
    return state
