"""Kill a run at many moments, resume it each time, and compare what it leaves with a run that was never stopped.

    python -m tests.kill_campaign --kills 50 --seed 0

A moment is a random time, a time in the readout, or the sight of a file that is half written: a checkpoint, a model,
an entry of the store.
"""

import argparse
import fnmatch
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

import torchhebb.runs.training
from tests.tiny import few_digits, learned, tiny_recipe, untimed
from torchhebb.data import Store
from torchhebb.nn.tensors import read_tensors
from torchhebb.process import tune_process
from torchhebb.runs import TrainOptions, read_config, run_recipe
from torchhebb.train import Learning, Readout, read_result

RECIPE = tiny_recipe(
    learning=Learning(order="greedy"), readout=Readout(epochs=8, batch_size=100), baselines=("random",), seeds=2
)
OPTIONS = TrainOptions(device="cpu", precision="float32", checkpoint_seconds=0.0)
KILLS_A_RUN = 12

# New processes are forked from one that has imported all of this, so that a kill costs no import.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.tiny", "torchhebb.cli", "sklearn.datasets"])


def run(folder: Path, store: Path) -> None:
    """What is killed: the run of a folder, from where it stands."""
    torch.set_num_threads(1)
    tune_process()
    torchhebb.runs.training.load_data = lambda *_, **__: few_digits()
    recipe, options = read_config(folder) if (folder / "config.json").exists() else (RECIPE, OPTIONS)
    run_recipe(recipe, options, folder=folder, store=Store(store))


def start(target: Callable[..., Any], *arguments: Any) -> BaseProcess:
    process = CONTEXT.Process(target=target, args=arguments)
    process.start()
    return process


def outcome(folder: Path) -> dict[str, Any]:
    """All that a run leaves but times: weights, readouts, metrics, measures."""
    files: dict[str, Any] = dict(learned(folder))
    files.pop("checkpoint.safetensors")
    return {
        **files,
        "metrics": untimed(folder / "metrics.jsonl"),
        "result": read_result(folder / "result.json").measures,
    }


def half_written(root: Path, pattern: str) -> set[tuple[str, int]]:
    """Temporary files or entries, told apart by their inode from those of an earlier kill."""
    found = set()
    for place, folders, files in os.walk(root):
        for name in fnmatch.filter(folders + files, pattern):
            with suppress(FileNotFoundError):  # it was renamed into place meanwhile
                found.add((name, os.stat(os.path.join(place, name)).st_ino))
    return found


class Campaign:
    """Runs until `kills` have landed; `phases` counts where, `differences` what came out otherwise."""

    def __init__(self, folder: Path, *, kills: int, seed: int) -> None:
        self.folder, self.kills, self.random = folder, kills, random.Random(seed)
        self.phases: Counter[str] = Counter()
        self.differences: list[str] = []
        self.runs = 0
        started = time.monotonic()
        self.finish(start(run, folder / "whole", folder / "store-whole"))
        self.seconds = time.monotonic() - started
        self.expected = outcome(folder / "whole")

    def finish(self, process: BaseProcess) -> None:
        process.join()
        if process.exitcode != 0:
            raise RuntimeError(f"a run ended with exit code {process.exitcode}, see above")

    def carry_out(self) -> "Campaign":
        while self.phases.total() < self.kills:
            self.runs += 1
            run_folder, store = self.folder / f"run-{self.runs}", self.folder / f"store-{self.runs}"
            self._kill_until_done(run_folder, store)
            found = outcome(run_folder)
            self.differences += [
                f"run {self.runs}: {name}"
                for name in sorted(self.expected.keys() | found.keys())
                if self.expected.get(name) != found.get(name)
            ]
        return self

    def _kill_until_done(self, folder: Path, store: Path) -> None:
        for _ in range(min(KILLS_A_RUN, self.kills - self.phases.total())):
            old = half_written(folder, ".*.safetensors.*") | half_written(store, ".new-*")
            process = start(run, folder, store)
            self._wait(process, folder, store, old)
            process.kill()
            process.join()
            if process.exitcode == 0:
                return
            if process.exitcode != -9:
                raise RuntimeError(f"a run ended with exit code {process.exitcode}, see above")
            self.phases[phase(folder, store, old)] += 1
        self.finish(start(run, folder, store))

    def _wait(self, process: BaseProcess, folder: Path, store: Path, old: set[tuple[str, int]]) -> None:
        """Until the moment to kill, or the end of the process."""
        moment = self.random.choice(["time", "time", "checkpoint", "model", "store", "readout", "readout"])
        sights = self.random.randint(1, 20) if moment == "checkpoint" else 1
        begun, later = time.time(), self.random.uniform(0.0, 0.1)
        until = time.monotonic() + self.random.uniform(0.0, self.seconds)
        places = {
            "checkpoint": (folder, ".checkpoint.safetensors.*"),
            "model": (folder, ".[mr]*.safetensors.*"),
            "store": (store, ".new-*"),
        }
        seen = set(old)
        while process.is_alive():
            if moment == "time":
                if time.monotonic() >= until:
                    return
                time.sleep(0.001)
            elif moment == "readout":
                time.sleep(later)
                if reads_out(folder / "metrics.jsonl", begun):
                    return
            elif new := half_written(*places[moment]) - seen:
                seen |= new
                sights -= 1
                if sights <= 0:
                    return


def reads_out(metrics: Path, since: float) -> bool:
    """Whether the last line of a log is of a readout and was written, or cut back to, after `since`."""
    if not metrics.exists() or metrics.stat().st_mtime < since:
        return False
    return b'"kind": "readout"' in metrics.read_bytes()[-200:]


def phase(folder: Path, store: Path, old: set[tuple[str, int]]) -> str:
    """What a killed process was doing, by the task that its last checkpoint was in and the file it was writing."""
    new, task = half_written(folder, ".*.safetensors.*") - old, "learning"
    if (folder / "checkpoint.safetensors").exists():
        _, header = read_tensors(folder / "checkpoint.safetensors")
        task = "between tasks" if header["task"] is None else header["task"].split(": ")[1]
    if new:
        return f"{task}, writing a {new.pop()[0].split('.')[1]}"
    return "feature caching" if half_written(store, ".new-*") - old else task


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(Path(folder), kills=flags.kills, seed=flags.seed).carry_out()
    for name, count in campaign.phases.most_common():
        print(f"{count:4d}  {name}")
    print(f"{campaign.phases.total()} kills in {campaign.runs} runs, {len(campaign.differences)} differences")
    print(*campaign.differences, sep="\n", end="")
    return bool(campaign.differences)


if __name__ == "__main__":
    sys.exit(main())
