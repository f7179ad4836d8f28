"""Peak memory against depth, method beside method: what the two memory benchmarks share."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from harness import MEBIBYTE, compare, fresh, keep, make_result


class Settings(Protocol):
    """What a memory benchmark is told."""

    @property
    def depths(self) -> tuple[int, ...]: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def runs(self) -> int: ...
    @property
    def device(self) -> str: ...
    @property
    def results(self) -> Path: ...


def compare_memory(
    question: str, script: str, methods: Sequence[str], settings: Settings, device: torch.device
) -> None:
    """Measure every method at every depth in processes of their own, and keep the result.

    Args: script, the benchmark's own file, which prints the growth in bytes of `--method` at the first of `--depths`.
    """
    started = time.perf_counter()
    samples = {}
    for depth in settings.depths:
        for method in methods:
            flags = {"batch-size": settings.batch_size, "channels": settings.channels, "device": settings.device}
            arguments = [part for name, value in flags.items() for part in (f"--{name}", value)]
            cell = ["--method", method, "--depths", depth, *arguments]
            growths = [fresh(script, *cell) for _ in range(settings.runs)]
            samples[_label(method, depth)] = tuple(growth / MEBIBYTE for growth in growths)
    first, last = settings.depths[0], settings.depths[-1]
    ratios = [compare(samples, *(_label(method, depth) for method in methods)) for depth in settings.depths]
    ratios += [compare(samples, _label(method, last), _label(method, first)) for method in methods]
    result = make_result(
        question,
        samples,
        "MiB",
        ratios,
        device=device,
        seconds=time.perf_counter() - started,
        batch_size=settings.batch_size,
        channels=settings.channels,
    )
    keep(result, settings.results)


def _label(method: str, depth: int) -> str:
    return f"{method}, depth {depth}"
