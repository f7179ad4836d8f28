"""Process settings that make computation on a CPU faster; programs call them first, importing does not."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

MEASURE = "TORCHHEBB_MEASURE"
"""The environment variable that, at 0, keeps runs from measuring how this machine computes fastest."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP_BELOW = 32 << 20  # glibc's largest: blocks up to this size come from a heap that is kept
_TRIM_ABOVE = 1 << 30


def tune_process() -> None:
    """Flush denormal floats to zero, and keep freed memory instead of giving it back to the system.

    A softmax over very different pre-activations has many denormals, which slow the convolutions that follow.  glibc
    returns each large temporary to the system, so that the next one causes page faults.  Both settings apply to
    threads started afterwards: call this before the first tensor operation.
    """
    torch.set_flush_denormal(True)
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _KEEP_BELOW)
            mallopt(_M_TRIM_THRESHOLD, _TRIM_ABOVE)


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Within it torch computes by so many threads; None leaves their number as it is."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
