"""Two processes that share each batch: one is killed, one is frozen for a while or for good, one starts late."""

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.faults.campaign import Case, Kind, Outcome, Surface
from tests.faults.kills import leftovers
from tests.kill_campaign import outcome
from tests.pair import agent, start_pair, train

TIMEOUT = 30.0
FLAGS = ("--learning.epochs", "2", "--checkpoint-seconds", "0", "--worker-timeout", str(TIMEOUT))


def prepare(folder: Path) -> tuple[dict[str, object], float]:
    """What two undisturbed workers leave, and how long they take."""
    started = time.monotonic()
    run = folder / "whole" / "run"
    codes: list[int | None] = [0, 0]
    if not (run / "result.json").exists():
        run.parent.mkdir(parents=True, exist_ok=True)
        codes = _finish(start_pair(store := agent(), train, run, *FLAGS, "--out", str(run)))
        del store
    if codes != [0, 0]:
        raise RuntimeError(f"undisturbed workers ended with {codes}: {_said(run, 0)}")
    return outcome(run), max(time.monotonic() - started, 3.0)


def draw(ready: tuple[dict[str, object], float], random: random.Random, folder: Path) -> Case:
    expected, seconds = ready
    kind = random.choice(sorted(DONE))
    victim, after = random.randrange(2), random.uniform(0.0, seconds)
    words = f"rank {victim} {kind} after {after:.1f} s"
    return Case(words, partial(tried, folder, expected, partial(DONE[kind], victim, after)), f"a rank {kind}")


def tried(folder: Path, expected: dict[str, object], disturb: Callable[[list[BaseProcess]], None]) -> Outcome:
    """Both ranks disturbed, then once more where that ended them."""
    run, store = folder / "run", agent()
    ranks = start_pair(store, train, run, *FLAGS, "--out", str(run))
    try:
        disturb(ranks)
        codes = _finish(ranks)
    finally:
        for process in ranks:
            with suppress(ProcessLookupError):
                os.kill(process.pid or 0, signal.SIGKILL)
    line = ""
    for number, code in enumerate(codes):
        if code not in (0, 2, -signal.SIGKILL):
            return Outcome(Kind.TRACEBACK, f"rank {number} ended with {code}: {_said(run, number)[-300:]}")
        if code == 2:
            line = _said(run, number).splitlines()[-1]
            if not line.startswith("torchhebb: "):
                return Outcome(Kind.TRACEBACK, f"rank {number}: {line!r}")
    if codes != [0, 0]:
        again = _finish(start_pair(store, train, run, *FLAGS, "--out", str(run)))
        if again != [0, 0]:
            return Outcome(Kind.TRACEBACK, f"started again, they ended with {again}: {_said(run, 0)[-300:]}")
    if (found := outcome(run)) != expected or leftovers(run):
        changed = [name for name in expected if expected[name] != found.get(name)]
        return Outcome(Kind.DIFFERENCE, f"{', '.join(changed)}; left {leftovers(run)}")
    return Outcome(Kind.LINE, line) if line else Outcome(Kind.RIGHT)


def _killed(victim: int, after: float, ranks: list[BaseProcess]) -> None:
    time.sleep(after)
    ranks[victim].kill()


def _frozen(seconds: float, victim: int, after: float, ranks: list[BaseProcess]) -> None:
    time.sleep(after)
    with suppress(ProcessLookupError):
        os.kill(ranks[victim].pid or 0, signal.SIGSTOP)
        if seconds > TIMEOUT:  # the other one gives up; then it is killed, as torchrun does with what is left
            ranks[1 - victim].join()
            ranks[victim].kill()
            return
        time.sleep(seconds)
        os.kill(ranks[victim].pid or 0, signal.SIGCONT)


def _late(victim: int, after: float, ranks: list[BaseProcess]) -> None:
    with suppress(ProcessLookupError):
        os.kill(ranks[victim].pid or 0, signal.SIGSTOP)
        time.sleep(after)
        os.kill(ranks[victim].pid or 0, signal.SIGCONT)


DONE: dict[str, Callable[[int, float, list[BaseProcess]], None]] = {
    "is killed": _killed,
    "is frozen for two seconds": partial(_frozen, 2.0),
    "is frozen for good": partial(_frozen, 2 * TIMEOUT),
    "starts late": _late,
}


def _finish(ranks: list[BaseProcess]) -> list[int | None]:
    for process in ranks:
        process.join()
    return [process.exitcode for process in ranks]


def _said(run: Path, number: int) -> str:
    path = run.parent / f"said-{number}"
    return path.read_text() if path.exists() else ""


SURFACES = (
    Surface(
        "workers",
        "Workers",
        "Two processes that share each batch (gloo), of which one is killed, frozen or late. Right: the run of two "
        "undisturbed ones, bit for bit; or one line of the rank that is left, and the same run when both start again.",
        prepare,
        draw,
        cases=30,
        quick=0,
        seconds=300.0,
    ),
)
