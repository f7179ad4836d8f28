"""The dtype that functions compute in, and the flag for forms that Inductor compiles better."""

import torch
from torch import Tensor

compiling = False
"""Whether kernels are compiled, set by `ops.kernels.compiled_kernels`.  Dynamo reads globals, not context variables."""


def in_kernel() -> bool:
    """Whether this call is compiled as part of a kernel, so that a function may use the form that suits Inductor."""
    return compiling and torch.compiler.is_compiling()


def widened(dtype: torch.dtype) -> torch.dtype:
    """The dtype to compute in: float32 for float16 and bfloat16, in which sums and powers overflow or lose precision.

    >>> widened(torch.float16), widened(torch.float64)
    (torch.float32, torch.float64)
    """
    return torch.promote_types(dtype, torch.float32)


def under_autocast(device: torch.device) -> bool:
    """Whether autocast chooses the dtype of operations on a device; never on one without autocast, such as meta."""
    return torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)


def falling_order(count: int, device: torch.device) -> Tensor:
    """0, -1, -2, ...: among equal maxima, the first has the largest of these numbers.

    Inductor vectorises maxima, but not their indices.  In a kernel this is a constant, once.

    >>> falling_order(3, torch.device("cpu"))
    tensor([ 0., -1., -2.])
    """
    return torch.arange(0.0, -count, -1, dtype=torch.float32, device=device)
