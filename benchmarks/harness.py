"""Speed and memory, side by side: what every claim in this folder is measured with.

Time: the variants take turns (A B A B ...) after a warm-up, so that drift of the machine meets all of them alike; a
ratio is that of the medians, its 95 % interval a bootstrap over whole rounds.
Memory: a fresh process for every number, and the growth of its peak over where it stood when `PeakGrowth` began.
"""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from torchhebb.train.result import Measure, Result, device_name

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER.parent / "results"
RESAMPLES = 2000
MEBIBYTE = 1 << 20
MATRIX, COPIED = 2048, 32 * MEBIBYTE

Samples = tuple[float, ...]


def alternate(
    variants: Mapping[str, Callable[[], Any]], *, steps: int, warmup: int, device: torch.device
) -> dict[str, Samples]:
    """Milliseconds of every timed call of each variant, `steps` of them after `warmup` that are not kept."""
    samples: dict[str, list[float]] = {name: [] for name in variants}
    for step in range(-warmup, steps):
        for name, call in variants.items():
            synchronize(device)
            started = time.perf_counter()
            call()
            synchronize(device)
            if step >= 0:
                samples[name].append(1e3 * (time.perf_counter() - started))
    return {name: tuple(values) for name, values in samples.items()}


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Remote:
    """A variant that must live in a process of its own, called like any other: its script calls `serve`.

    Raises RuntimeError if that process ends.
    """

    def __init__(self, script: str, *arguments: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(FOLDER / script), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._expect("ready")

    def __call__(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("step\n")
        self._process.stdin.flush()
        self._expect("done")

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=60)

    def _expect(self, word: str) -> None:
        assert self._process.stdout is not None
        if (line := self._process.stdout.readline().strip()) != word:
            raise RuntimeError(f"{self._process.args!r} should have said {word!r}, got {line!r}")


def serve(step: Callable[[], Any], device: torch.device) -> None:
    """The other end of `Remote`: one step for every line that comes in."""
    print("ready", flush=True)
    for _ in sys.stdin:
        step()
        synchronize(device)
        print("done", flush=True)


@dataclass
class PeakGrowth:
    """By how many bytes memory grew at its highest: the allocator's on a GPU, the resident set's on a CPU."""

    bytes: int = 0

    @classmethod
    @contextmanager
    def of(cls, device: torch.device) -> Iterator["PeakGrowth"]:
        """Measures the block it surrounds.  Raises OSError on a CPU whose system has no /proc (Linux has)."""
        peak = cls()
        synchronize(device)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
            yield peak
            synchronize(device)
            peak.bytes = torch.cuda.max_memory_allocated(device) - before
            return
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark falls to what is resident now
        before = _status("VmRSS")
        yield peak
        peak.bytes = _status("VmHWM") - before


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def fresh(script: str, *arguments: object) -> Any:
    """What a script prints as the JSON of its last line, run in a process of its own."""
    command = [sys.executable, str(FOLDER / script), *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@dataclass(frozen=True)
class Ratio:
    """median(of) / median(to) with its 95 % interval, and the most it should be."""

    of: str
    to: str
    value: float
    low: float
    high: float
    target: float | None = None

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        return "PASS" if self.value <= self.target else "FAIL"


def compare(samples: Mapping[str, Samples], of: str, to: str, *, target: float | None = None, seed: int = 0) -> Ratio:
    """The ratio of two variants that took turns: round i of one is paired with round i of the other."""
    pairs = np.array([samples[of], samples[to]])
    rounds = np.random.default_rng(seed).integers(pairs.shape[1], size=(RESAMPLES, pairs.shape[1]))
    medians = np.median(pairs[:, rounds], axis=2)
    low, high = np.quantile(medians[0] / medians[1], (0.025, 0.975))
    value = np.median(pairs[0]) / np.median(pairs[1])
    return Ratio(of, to, float(value), float(low), float(high), target)


def summarize(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    q1, median, q3 = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return {"median": median, "q1": q1, "q3": q3}


def make_result(
    name: str,
    samples: Mapping[str, Samples],
    unit: str,
    ratios: Sequence[Ratio],
    *,
    device: torch.device,
    seconds: float,
    **notes: Any,
) -> Result:
    """Samples and ratios with their provenance, for results/bench/<name>-<cpu or gpu>.json.

    A CPU without AVX-512 has a file of its own, <name>-cpu-avx2.json for one with AVX2.
    """
    if device.type == "cpu" and (instructions := torch.backends.cpu.get_cpu_capability()) != "AVX512":
        notes["instructions"] = instructions
    return Result(
        recipe="bench",
        question=name,
        measures=tuple(Measure(variant, unit, values) for variant, values in samples.items()),
        seeds=(),
        seconds=seconds,
        device=device_name(device),
        command=_command(sys.argv),
        data={},
        notes={
            "summaries": {variant: summarize(values) for variant, values in samples.items()},
            "ratios": [{**asdict(ratio), "verdict": ratio.verdict} for ratio in ratios],
            **notes,
        },
    )


def _command(words: Sequence[str]) -> str:
    """How a script was called, but for the folder of its results, which has no part in them.

    >>> _command(["some/where/bench_step.py", "--results", "some/where/else", "--steps", "9"])
    'python benchmarks/bench_step.py --steps 9'
    """
    kept = [word for word in words[1:] if not word.startswith("--results=")]
    if "--results" in kept:
        place = kept.index("--results")
        del kept[place : place + 2]
    return shlex.join(["python", f"benchmarks/{Path(words[0]).name}", *kept])


def rates(repeats: int = 20) -> dict[str, float]:
    """What this CPU reaches: GFLOP/s of a large float32 matrix product, GB/s of a large copy in both directions."""
    a, b, product = (torch.randn(MATRIX, MATRIX) for _ in range(3))
    source, copy = (torch.zeros(COPIED // 4) for _ in range(2))
    calls = {"product": lambda: torch.mm(a, b, out=product), "copy": lambda: copy.copy_(source)}
    took = {name: np.median(ms) for name, ms in alternate(calls, steps=repeats, warmup=2, device=a.device).items()}
    return {
        "matrix_gflops": float(2 * MATRIX**3 / took["product"] / 1e6),
        "bandwidth_gbytes": float(2 * COPIED / took["copy"] / 1e6),
    }


def keep(result: Result, folder: Path) -> None:
    """Write the JSON under `folder`/bench and print what it says as a plain table."""
    path = folder / "bench" / result.file_name
    result.write(path)
    print(f"{result.question} on {result.device}, torch {result.versions['torch']}, {result.seconds:.0f} s")
    for table in tables(result):
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
        for row in table:
            print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for note in remarks(result):
        print(f"  {note}")
    print(f"  kept in {path}")


def remarks(result: Result) -> list[str]:
    """What a reader of the numbers should know besides."""
    notes, said = result.notes, []
    if (native := notes.get("bfloat16_hardware")) is not None:
        said.append(f"bfloat16 is {'' if native else 'not '}native to this hardware")
    if "extrapolated" in notes:
        spans = ", ".join(f"{name} {seconds:,.0f} s" for name, seconds in notes["pipeline_seconds"].items())
        said.append(f"extrapolated {notes['extrapolated']}: {spans}, {notes['faster']:.1f} times faster")
    if "matrix_gflops" in notes:
        shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in notes["share_of_matrix_rate"].items())
        rate = f"{notes['matrix_gflops']:.0f} GFLOP/s"
        said.append(f"of the measured matrix rate, {rate}, counting a direct convolution's operations: {shares}")
    if "adds" in notes:
        adds = notes["adds"]
        interval = f"95 % interval {adds['low']:.0f} to {adds['high']:.0f}"
        said.append(
            f"it adds {adds['milliseconds']:.0f} ms ({interval}), at most {adds['limit']:.0f}: {adds['verdict']}"
        )
    if "images_per_second" in notes:
        speeds = "; ".join(f"{point}: {speed:.0f}" for point, speed in notes["images_per_second"].items())
        peaks = ", ".join(f"{method} {min(peak):.0f}" for method, peak in notes["peak_mebibytes"].items() if peak)
        said += [f"images per second of torchhebb: {speeds}", f"peak memory at batch 10 in MiB: {peaks}"]
    return said


def tables(result: Result) -> list[list[tuple[str, ...]]]:
    """Rows of text under a header: what was measured, and the ratios; or the table that the script made of them."""
    if (own := result.notes.get("table")) is not None:
        return [[tuple(row) for row in own]]
    unit = result.measures[0].unit
    measured: list[tuple[str, ...]] = [("variant", f"median, {unit}", "quartiles", "runs")]
    for measure in result.measures:
        s = result.notes["summaries"][measure.name]
        spread = f"{s['q1']:.1f} to {s['q3']:.1f}"
        measured.append((measure.name, f"{s['median']:.1f}", spread, str(len(measure.values))))
    ratios: list[tuple[str, ...]] = [("ratio", "of medians", "95 % interval", "target", "")]
    for r in result.notes["ratios"]:
        target = "" if r["target"] is None else f"at most {r['target']:.3g}"
        interval = f"{r['low']:.3f} to {r['high']:.3f}"
        ratios.append((f"{r['of']} / {r['to']}", f"{r['value']:.3f}", interval, target, r["verdict"]))
    return [measured, ratios]
