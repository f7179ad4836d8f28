"""A network as one function of pixels with its own copies of tensors, for export."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

SMALLEST = 256  # tensors of fewer numbers are left as they are: they are no weights, or weigh nothing


class Frozen(nn.Module):
    """pixels (B, C, H, W) in [0, 1] -> outputs (B, K) of a module in eval mode.

    Args: module; int8, whether its matrices and kernels are kept as 8-bit integers with one factor for every row,
    w ~ scale q, q = round(w / scale), scale = max |w| / 127, and are multiplied out when they are used.

    >>> frozen = Frozen(nn.Sequential(nn.Flatten(), nn.Linear(64, 8)), int8=True)
    >>> frozen(torch.rand(2, 1, 8, 8)).shape, frozen.get_buffer("1_weight").dtype
    (torch.Size([2, 8]), torch.int8)
    """

    def __init__(self, module: nn.Module, *, int8: bool = False) -> None:
        super().__init__()
        self._inside = (module.eval(),)  # in a tuple: the tensors that it holds itself are not exported
        self.tensors: dict[str, str] = {}
        for name, tensor in {**dict(module.named_parameters()), **dict(module.named_buffers())}.items():
            own = name.replace(".", "_")
            self.tensors[name] = own
            tensor = tensor.detach().clone(memory_format=torch.contiguous_format)
            if int8 and tensor.is_floating_point() and tensor.dim() > 1 and tensor.numel() >= SMALLEST:
                tensor, scale = _rounded(tensor)
                self.register_buffer(f"{own}_scale", scale)
            self.register_buffer(own, tensor)

    def forward(self, pixels: Tensor) -> Tensor:
        values: dict[str, Any] = {name: self._value(own) for name, own in self.tensors.items()}
        outputs: Tensor = functional_call(self._inside[0], values, (pixels,))
        return outputs.flatten(1)

    def _value(self, own: str) -> Tensor:
        tensor, scale = getattr(self, own), getattr(self, f"{own}_scale", None)
        return tensor if scale is None else tensor.to(scale.dtype) * scale


def _rounded(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Integers from -127 to 127 and the factor of every row."""
    largest = weight.flatten(1).abs().amax(1).view(-1, *[1] * (weight.dim() - 1))
    scale = largest.clamp_min(torch.finfo(weight.dtype).tiny) / 127
    return (weight / scale).round().to(torch.int8), scale
