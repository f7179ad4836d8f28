"""A digits run alone, and several at once on the same cores: how much they hold each other up.

    python benchmarks/bench_company.py

Every run is `python -m torchhebb train` in a process of its own, with its data decoded before.  The time of several is
from their common start to the end of the last.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from harness import RESULTS, compare, keep, make_result

from torchhebb.cli.flags import DEFAULT_RECIPE


@dataclass(frozen=True)
class Settings:
    """One run and several at once."""

    recipe: str = DEFAULT_RECIPE
    company: int = 2
    """How many run at once."""
    rounds: int = 3
    """Of both, taking turns."""
    spin: bool = False
    """Also with threads that spin while they wait, as OpenMP has them by itself."""
    results: Path = RESULTS


def main(settings: Settings) -> None:
    started = time.perf_counter()
    policies = ("passive", "active") if settings.spin else ("passive",)
    samples: dict[str, list[float]] = {_label(n, p): [] for p in policies for n in (1, settings.company)}
    _timed(settings.recipe, 1, "passive")  # fills the store
    for _ in range(settings.rounds):
        for policy in policies:
            for count in (1, settings.company):
                samples[_label(count, policy)].append(_timed(settings.recipe, count, policy))
    kept = {name: tuple(values) for name, values in samples.items()}
    ratios = [
        compare(kept, _label(settings.company, policy), _label(1, policy), target=2.5 if policy == "passive" else None)
        for policy in policies
    ]
    result = make_result(
        "company",
        kept,
        "s",
        ratios,
        device=torch.device("cpu"),
        seconds=time.perf_counter() - started,
        cores=len(os.sched_getaffinity(0)),
        recipe=settings.recipe,
    )
    keep(result, settings.results)


def _timed(recipe: str, count: int, policy: str) -> float:
    """Seconds until the last of `count` runs that began together has ended."""
    environment = {**os.environ, "OMP_WAIT_POLICY": policy}
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        runs = [
            subprocess.Popen(
                [sys.executable, "-m", "torchhebb", "train", recipe, "--out", str(Path(folder) / str(number))],
                stdout=subprocess.DEVNULL,
                env=environment,
            )
            for number in range(count)
        ]
        failed = [run.args for run in runs if run.wait() != 0]
        if failed:
            raise RuntimeError(f"{failed[0]!r} failed")
        return time.perf_counter() - began


def _label(count: int, policy: str) -> str:
    waiting = "threads that sleep" if policy == "passive" else "threads that spin"
    return f"{count} at once, {waiting}"


if __name__ == "__main__":
    main(tyro.cli(Settings))
