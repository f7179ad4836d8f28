"""Matrix products of float32 on a CPU by one of two libraries: the one that torch calls, or oneDNN.

torch calls MKL, which on processors of AMD leaves half of their AVX-512 unused; oneDNN, which torch calls for
convolutions and for bfloat16, does not.  On processors of Intel both take about the same time.  So a run measures
which is faster, see `torchhebb.train.numerics`; elsewhere it is torch's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from torchhebb.errors import UserError
from torchhebb.functional import linear_statistic
from torchhebb.ops.timing import fastest_calls

Products = Literal["torch", "onednn"]

LEAST = 1_500_000  # multiplications from which on oneDNN's longer call pays

_library: Products = "torch"  # of the process: data are loaded, and blocks learn, in several threads


@contextmanager
def products_by(library: Products) -> Iterator[None]:
    """Within it, in all threads, products are the library's.  Raises UserError for oneDNN where torch has none."""
    global _library
    if library == "onednn" and not has_onednn():
        raise UserError("products onednn needs a torch with oneDNN, and this one has none: choose torch")
    before, _library = _library, library
    try:
        yield
    finally:
        _library = before


def has_onednn() -> bool:
    """Whether this torch can multiply by oneDNN."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@cache
def bfloat16_gain() -> float:
    """How many times faster a product of bfloat16 matrices is on this CPU than one of float32, measured once a process.

    2 to 4 on processors of AMD with AVX512-BF16; 0.02 without such instructions, since torch then multiplies number by
    number.
    """
    works = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = torch.ones(128, 128, dtype=dtype), torch.ones(128, 128, dtype=dtype)
        works[dtype] = partial(torch.mm, a, b)
    taken = fastest_calls(works, rounds=5, patience=0.1)
    return taken[torch.float32] / taken[torch.bfloat16]


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """x w^T of x (..., in) and weight (out, in); differentiable."""
    if (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)) or not _by_onednn(
        x, weight, len(weight)
    ):
        return F.linear(x, weight)
    return _onednn(x, weight)


def statistic(x: Tensor, y: Tensor, *, scale: float = 1.0, out: Tensor | None = None) -> Tensor:
    """`functional.linear_statistic`; out is where to put it, if that saves an allocation."""
    if not _by_onednn(x, y, y.shape[1]):
        return linear_statistic(x, y, scale=scale, out=out)
    if len(x) < x.shape[1]:
        return _onednn((scale * y).mT, x.mT)
    return _onednn(y.mT, x.mT).mul_(scale)


def batched(a: Tensor, b: Tensor) -> Tensor:
    """The products of the matrices of a (P, n, k) and b (P, k, m), (P, n, m)."""
    if not _by_onednn(a[0], b[0], b.shape[2]):
        return torch.bmm(a, b)
    out = torch.empty(len(a), a.shape[1], b.shape[2], dtype=a.dtype, device=a.device)
    for one, other, product in zip(a.unbind(), b.mT.unbind(), out.unbind(), strict=True):
        product.copy_(_onednn(one, other))
    return out


def _by_onednn(a: Tensor, b: Tensor, columns: int) -> bool:
    """Whether the product of a, each number of which is multiplied with so many, is oneDNN's."""
    if _library == "torch" or a.dtype != torch.float32 or b.dtype != torch.float32 or a.device.type != "cpu":
        return False
    large = a.numel() * columns >= LEAST
    return large and not torch.compiler.is_compiling() and not torch.is_autocast_enabled("cpu")


def _onednn(a: Tensor, b: Tensor) -> Tensor:
    """a b^T; where the rows of b lie apart, oneDNN is a hundred times slower than a copy takes."""
    b = b if b.is_contiguous() or b.mT.is_contiguous() else b.contiguous()
    product: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
    return product
