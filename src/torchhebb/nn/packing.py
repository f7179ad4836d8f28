"""Tensors of modules and optimizers by name, as checkpoints store them."""

from typing import Any

import torch
from torch import Tensor


def pack(**objects: Any) -> dict[str, Tensor]:
    """The tensors of modules and optimizers under prefixed names: {"network.block1.layer.weight": ...}."""
    packed: dict[str, Tensor] = {}
    for prefix, owner in objects.items():
        for name, value in _state(owner).items():
            packed[f"{prefix}.{name}"] = torch.as_tensor(value)
    return packed


def unpack(tensors: dict[str, Tensor], **objects: Any) -> None:
    """Restore what `pack` returned."""
    for prefix, owner in objects.items():
        mine = {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}
        if not isinstance(owner, torch.optim.Optimizer):
            owner.load_state_dict(mine)
            continue
        parameters = [parameter for group in owner.param_groups for parameter in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in mine.items():
            index, key = name.split(".", 1)
            parameter = parameters[int(index)]
            if tensor.shape == parameter.shape:
                # Fused steps walk through both in the order of memory, so both must lie in the same one.
                tensor = torch.empty_like(parameter, dtype=tensor.dtype, device=tensor.device).copy_(tensor)
            state.setdefault(int(index), {})[key] = tensor
        owner.load_state_dict({"state": state, "param_groups": owner.state_dict()["param_groups"]})


def _state(owner: Any) -> dict[str, Any]:
    if not isinstance(owner, torch.optim.Optimizer):
        return owner.state_dict()
    return {
        f"{index}.{key}": value
        for index, entry in owner.state_dict()["state"].items()
        for key, value in entry.items()
        if value is not None
    }
