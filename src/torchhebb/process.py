"""Settings of a whole process that pay on a CPU; for programs to call first, never done on import."""

import ctypes
import sys

import torch

MEASURE = "TORCHHEBB_MEASURE"
"""The environment variable that, at 0, keeps runs from measuring how this machine computes fastest."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP_BELOW = 32 << 20  # glibc's largest: blocks up to this size come from a heap that is kept
_TRIM_ABOVE = 1 << 30


def tune_process() -> None:
    """Flush denormal floats to zero, and keep freed memory instead of giving it back to the system.

    A softmax over neurons far apart is full of denormals, which slow the convolutions that follow; glibc
    returns each large temporary to the system, so that the next one is paid for in page faults.  Both hold for
    threads started afterwards: call it before the first tensor operation.
    """
    torch.set_flush_denormal(True)
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _KEEP_BELOW)
            mallopt(_M_TRIM_THRESHOLD, _TRIM_ABOVE)
