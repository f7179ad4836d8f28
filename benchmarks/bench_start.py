"""Cold start: what the import of torchhebb's public names adds to that of torch, and how long `torchhebb --help` takes.

    python benchmarks/bench_start.py

Every number is the wall-clock time of a fresh process from its start to its end; the variants take turns.  Bytecode is
kept between the processes, as in an installed package, also where the environment says otherwise.
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

TORCH, LIBRARY, HELP = "import torch", "from torchhebb import *", "torchhebb --help"
BOTH = f"{LIBRARY}; import sys; sys.modules['torch']"  # `import torchhebb` alone would not import torch
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
    variants: dict[str, Callable[[], object]] = {
        TORCH: partial(fresh_process, "-c", "import torch"),
        LIBRARY: partial(fresh_process, "-c", BOTH),
        HELP: partial(fresh_process, "-m", "torchhebb", "--help"),
    }
    cpu = torch.device("cpu")
    samples = alternate(variants, steps=settings.runs, warmup=settings.warmup, device=cpu)
    result = make_result(
        "start",
        samples,
        "ms",
        [compare(samples, LIBRARY, TORCH), compare(samples, HELP, TORCH)],
        device=cpu,
        seconds=time.perf_counter() - started,
        adds=added(samples),
    )
    keep(result, settings.results)


def fresh_process(*arguments: str) -> None:
    """Run Python with these arguments to its end.  Raises CalledProcessError if it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment)


def added(samples: dict[str, Samples], *, seed: int = 0) -> dict[str, float | str]:
    """Milliseconds that the library adds: the difference of medians, its 95 % interval over rounds, and the verdict."""
    with_it, without = np.array(samples[LIBRARY]), np.array(samples[TORCH])
    drawn = np.random.default_rng(seed).integers(len(without), size=(RESAMPLES, len(without)))
    spread = np.median(with_it[drawn], 1) - np.median(without[drawn], 1)
    low, high = np.quantile(spread, (0.025, 0.975)).tolist()
    value = float(np.median(with_it) - np.median(without))
    verdict = "PASS" if value <= LIMIT_MS else "FAIL"
    return {"milliseconds": value, "low": low, "high": high, "limit": LIMIT_MS, "verdict": verdict}


if __name__ == "__main__":
    main(parse(Settings))
