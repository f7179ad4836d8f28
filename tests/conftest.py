"""What all tests share."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

gc.disable()  # until all is imported and collected, see pytest_collection_finish
os.environ.setdefault("OMP_NUM_THREADS", "1")  # beside another busy process two threads wait for each other
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # a pool of compilers imports torch once more
os.environ["TORCHHEBB_MEASURE"] = "0"  # what is fastest differs from run to run on a busy machine, and numbers with it


LONG = (
    "ops/test_kernels.py",
    "faults/test_quick.py",
    "test_numbers.py",
    "train/test_distributed.py",
    "runs/test_kill.py",
    "embedding/test_embed.py",
    "benchmarks/test_campaign.py",
    "train/test_lost_worker.py",
    "test_examples.py",
    "export/test_export.py",
    "report/test_page.py",
    "test_documentation.py",
    "test_own_project.py",
    "evaluate/test_commands.py",
    "train/test_numerics.py",
    "test_contributing.py",
    "faults/test_questions.py",
    "test_peer_rules.py",
    "train/test_supervised.py",
    "test_memory.py",
)
"""The files that take longest: processes that share the tests begin with them, and so end together."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    place = {here / name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


def pytest_collection_finish() -> None:
    """Searches for garbage leave aside what was imported and collected; they would take a tenth of the tests' time."""
    gc.freeze()
    gc.enable()


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
def figures_of_pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page has six figures of a fifth of a second each; only the tests of reports look at them."""
    if Path(__file__).parent / "report" not in request.path.parents:
        monkeypatch.setattr("torchhebb.report.figures._svg", lambda figure, name: b'<svg viewBox="0 0 1 1"></svg>')


@pytest.fixture(autouse=True)
def denormals() -> Iterator[None]:
    """The command line flushes denormal floats in its process; where a test called it, others must not see that."""
    yield
    if "torchhebb.cli" in sys.modules:
        import torch

        torch.set_flush_denormal(False)
