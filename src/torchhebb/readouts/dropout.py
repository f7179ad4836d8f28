"""Dropout with masks from packed random bits, since a mask of floats takes more time than a layer on a CPU."""

import torch
from torch import Tensor

_BYTE_VALUES = 256


class PackedDropout:
    """x * m / (1 - p) with every m_i drawn from Bernoulli(1 - p), in place.

    For p = 1/2, a random 64-bit word gives 64 mask entries through a table of byte -> 8 entries.  For another p, a
    random byte gives one entry, and p is rounded to a multiple of 1/256, at most 255/256.

    Args: p in [0, 1); generator, on the device of the features.
    Raises ValueError for another p.
    Source: Srivastava et al. 2014.

    >>> dropout = PackedDropout(0.5, torch.Generator().manual_seed(0))
    >>> sorted(set(dropout(torch.ones(4, 64)).flatten().tolist()))
    [0.0, 2.0]
    """

    def __init__(self, p: float, generator: torch.Generator) -> None:
        if not 0 <= p < 1:
            raise ValueError(f"p must lie in [0, 1), got {p}")
        self.generator = generator
        self.threshold = min(round(p * _BYTE_VALUES), _BYTE_VALUES - 1)
        self.p = self.threshold / _BYTE_VALUES
        bits = torch.arange(_BYTE_VALUES, device=generator.device).unsqueeze(1) >> torch.arange(
            8, device=generator.device
        )
        self.table = (bits & 1) * 2.0

    def __call__(self, x: Tensor) -> Tensor:
        if self.threshold == 0:
            return x
        if self.p == 0.5:
            mask = torch.nn.functional.embedding(self._bytes(-(-x.numel() // 8)).int(), self.table.to(x.dtype))
            return x.mul_(mask.view(-1)[: x.numel()].view_as(x))
        mask = self._bytes(x.numel()) >= self.threshold
        return x.mul_(mask.view_as(x)).mul_(1 / (1 - self.p))

    def _bytes(self, n: int) -> Tensor:
        words = torch.empty(-(-n // 8), dtype=torch.int64, device=self.generator.device)
        return words.random_(-(2**63), None, generator=self.generator).view(torch.uint8)[:n]
