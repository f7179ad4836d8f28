"""Products of int8 matrices with exact int32 sums."""

import logging
from functools import cache, partial

import torch
from torch import Tensor

from torchhebb.ops.timing import fastest_calls

_LOG = logging.getLogger(__name__)
_EXACT = 1024  # terms of at most 128 * 128 whose sums are exact in float32: 2^24 of them


def int8_products(a: Tensor, b: Tensor) -> Tensor:
    """a b^T of int8 matrices (m, k) and (n, k) as int32 (m, n), exact: k < 2^17, so that no sum overflows.

    It is `torch._int_mm`, a private function, where that is faster than float32 products of 1,024 columns at a time,
    which are exact too: with instructions for int8 it is several times faster, without them many times slower.  Both
    are measured, once a process, and the log says where float32 is taken.
    Raises ValueError for other dtypes, shapes that do not fit, or more columns.

    >>> int8_products(torch.tensor([[1, 2]], dtype=torch.int8), torch.tensor([[3, -4]], dtype=torch.int8))
    tensor([[-5]], dtype=torch.int32)
    """
    if a.dtype != torch.int8 or b.dtype != torch.int8:
        raise ValueError(f"a and b must be int8, got {a.dtype} and {b.dtype}")
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[1] or a.shape[1] >= 2**17:
        raise ValueError(f"a and b must be matrices of one width below 2^17, got {tuple(a.shape)} and {tuple(b.shape)}")
    # of one column the private function returns memory that nobody wrote
    if a.shape[1] > 1 and a.device.type == "cpu" and own_products():
        return torch._int_mm(a, b.T)
    return float_products(a, b)


@cache
def own_products() -> bool:
    """Whether `torch._int_mm` is there, and faster on this CPU than float32 products; the numbers are the same."""
    if not hasattr(torch, "_int_mm"):
        _LOG.warning("this torch has no _int_mm: int8 products are computed in float32, on most processors more slowly")
        return False
    a = torch.zeros(256, _EXACT, dtype=torch.int8)
    taken = fastest_calls(
        {"_int_mm": partial(torch._int_mm, a, a.T), "float32": partial(float_products, a, a)}, rounds=3, patience=0.1
    )
    times = taken["_int_mm"] / taken["float32"]
    if times > 1:
        _LOG.info("int8 products are computed in float32, %.3g times as fast here as by torch._int_mm", times)
    return times <= 1


def float_products(a: Tensor, b: Tensor) -> Tensor:
    """The same by float32 products of so few columns that their sums are exact."""
    total = torch.zeros(len(a), len(b), dtype=torch.int32, device=a.device)
    for left, right in zip(a.split(_EXACT, 1), b.split(_EXACT, 1), strict=True):
        total += (left.float() @ right.float().T).to(torch.int32)
    return total
