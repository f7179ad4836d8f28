"""Maps as flat features, whose gradients come back in the memory format of the maps."""

import torch
from torch import Tensor, nn


def flatten_maps(x: Tensor) -> Tensor:
    """x (B, ...) as (B, features), as x.flatten(1).

    The gradient to channels-last maps is channels-last too.  That of x.flatten(1) is not, and the poolings and
    activations below it would compute in mixed formats, which is slow on a CPU.

    >>> maps = torch.rand(2, 3, 4, 4, requires_grad=True)
    >>> flatten_maps(maps.to(memory_format=torch.channels_last)).shape
    torch.Size([2, 48])
    """
    if x.grad_fn is None or x.dim() != 4 or x.is_contiguous():
        return x.flatten(1)
    if x.is_contiguous(memory_format=torch.channels_last):
        x.register_hook(_channels_last)
    return x.flatten(1)


def _channels_last(gradient: Tensor) -> Tensor:
    # As .contiguous(memory_format=torch.channels_last), which vmap does not know.
    return gradient.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


class Flatten(nn.Flatten):
    """`flatten_maps` as a module, in place of torch.nn.Flatten().

    >>> Flatten()(torch.rand(2, 3, 4, 4)).shape
    torch.Size([2, 48])
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return flatten_maps(x)
