"""Products of int8 matrices with exact int32 sums."""

import logging

import torch
from torch import Tensor

_LOG = logging.getLogger(__name__)
_EXACT = 1024  # terms of at most 128 * 128 whose sums are exact in float32: 2^24 of them
_told: list[bool] = []


def int8_products(a: Tensor, b: Tensor) -> Tensor:
    """a b^T of int8 matrices (m, k) and (n, k) as int32 (m, n), exact: k < 2^17, so that no sum overflows.

    It is `torch._int_mm` where this torch has it.  That function is private, so where it is missing the same numbers
    are computed by float32 products of 1,024 columns at a time, which are exact too; the log says so once.
    Raises ValueError for other dtypes, shapes that do not fit, or more columns.

    >>> int8_products(torch.tensor([[1, 2]], dtype=torch.int8), torch.tensor([[3, -4]], dtype=torch.int8))
    tensor([[-5]], dtype=torch.int32)
    """
    if a.dtype != torch.int8 or b.dtype != torch.int8:
        raise ValueError(f"a and b must be int8, got {a.dtype} and {b.dtype}")
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[1] or a.shape[1] >= 2**17:
        raise ValueError(f"a and b must be matrices of one width below 2^17, got {tuple(a.shape)} and {tuple(b.shape)}")
    has_own = a.device.type == "cpu" and hasattr(torch, "_int_mm")
    if has_own and a.shape[1] > 1:  # of one column it returns memory that nobody wrote
        return torch._int_mm(a, b.T)
    if not has_own and not _told and a.device.type == "cpu":
        _told.append(True)
        _LOG.warning("this torch has no _int_mm: int8 products are computed in float32, which takes longer")
    return float_products(a, b)


def float_products(a: Tensor, b: Tensor) -> Tensor:
    """The same by float32 products of so few columns that their sums are exact."""
    total = torch.zeros(len(a), len(b), dtype=torch.int32, device=a.device)
    for left, right in zip(a.split(_EXACT, 1), b.split(_EXACT, 1), strict=True):
        total += (left.float() @ right.float().T).to(torch.int32)
    return total
