"""Cold start: what the import of torchhebb's public names adds to that of torch, and how long `torchhebb --help` takes.

    python benchmarks/bench_start.py

Every process is a fresh one, and they take turns.  The import of the public names is timed within its process, after
that of torch, whose own time varies by more; the others are the wall-clock time from the start of a process to its end.
Bytecode is kept between the processes, as in an installed package, also where the environment says otherwise.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from arguments import parse
from harness import RESAMPLES, RESULTS, Samples, alternate, compare, keep, make_result

TORCH, LIBRARY, HELP = "import torch", "from torchhebb import *, after torch", "torchhebb --help"
TIMED = """import time, torch
start = time.perf_counter()
from torchhebb import *
print(1e3 * (time.perf_counter() - start))"""
LIMIT_MS = 300.0


@dataclass(frozen=True)
class Settings:
    """Cold start in fresh processes."""

    runs: int = 20
    """Fresh processes of each kind."""
    warmup: int = 2
    """Processes of each kind before them, which write the bytecode and fill the system's file cache."""
    results: Path = RESULTS


def main(settings: Settings) -> None:
    started = time.perf_counter()
    within: list[float] = []
    variants: dict[str, Callable[[], object]] = {
        TORCH: partial(fresh_process, "-c", "import torch"),
        LIBRARY: lambda: within.append(float(fresh_process("-c", TIMED))),
        HELP: partial(fresh_process, "-m", "torchhebb", "--help"),
    }
    cpu = torch.device("cpu")
    samples = alternate(variants, steps=settings.runs, warmup=settings.warmup, device=cpu)
    samples = {**samples, LIBRARY: tuple(within[settings.warmup :])}
    result = make_result(
        "start",
        samples,
        "ms",
        [compare(samples, HELP, TORCH)],
        device=cpu,
        seconds=time.perf_counter() - started,
        adds=added(samples[LIBRARY]),
    )
    keep(result, settings.results)


def fresh_process(*arguments: str) -> str:
    """Run Python with these arguments to its end, and return what it prints.  Raises CalledProcessError if it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


def added(taken: Samples, *, seed: int = 0) -> dict[str, float | str]:
    """The median of the milliseconds of the library's import, its 95 % interval over processes, and the verdict."""
    drawn = np.random.default_rng(seed).integers(len(taken), size=(RESAMPLES, len(taken)))
    low, high = np.quantile(np.median(np.array(taken)[drawn], 1), (0.025, 0.975)).tolist()
    value = float(np.median(taken))
    verdict = "PASS" if value <= LIMIT_MS else "FAIL"
    return {"milliseconds": value, "low": low, "high": high, "limit": LIMIT_MS, "verdict": verdict}


if __name__ == "__main__":
    main(parse(Settings))
