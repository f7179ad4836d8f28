"""What all tests share."""

import os
import sys
from collections.abc import Iterator

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # beside another busy process two threads wait for each other
os.environ["TORCHHEBB_MEASURE"] = "0"  # what is fastest differs from run to run on a busy machine, and numbers with it


@pytest.fixture(autouse=True)
def no_pause_after_streams() -> Iterator[None]:
    """`datasets` sleeps for five seconds after every pass over a stream; tests make many passes over few images."""
    if "tests.data.made" not in sys.modules:  # only those who stream need so large an import
        yield
        return
    import datasets

    before = datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN
    datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN = 0
    yield
    datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN = before


@pytest.fixture(autouse=True)
def denormals() -> Iterator[None]:
    """The command line flushes denormal floats in its process; where a test called it, others must not see that."""
    yield
    if "torchhebb.cli" in sys.modules:
        import torch

        torch.set_flush_denormal(False)
