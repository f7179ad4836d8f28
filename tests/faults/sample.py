"""Cases of every outcome, for the test of the campaign itself."""

import os
import random
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults.campaign import Case, Kind, Outcome, Surface
from torchhebb.errors import UserError


def nothing(folder: Path) -> None:
    pass


def refuse(line: str) -> None:
    raise UserError(line)


def fail() -> None:
    raise KeyError("x")


def grow() -> None:
    bytearray(b"x") * (64 << 20)


def hang_where_python_is_not_asked() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    time.sleep(100)


CASES: list[tuple[Any, Kind]] = [
    (int, Kind.RIGHT),
    (partial(refuse, "x must be 1, got 2"), Kind.LINE),
    (partial(Outcome, Kind.DIFFERENCE, "2 is not 1"), Kind.DIFFERENCE),
    (fail, Kind.TRACEBACK),
    (partial(time.sleep, 100), Kind.HANG),
    (hang_where_python_is_not_asked, Kind.HANG),
    (partial(os._exit, 3), Kind.TRACEBACK),
    (grow, Kind.MEMORY),
    (int, Kind.RIGHT),
]


def draw(ready: Any, random: random.Random, folder: Path) -> Case:
    (folder / "own").touch()
    number = int(folder.name.removeprefix("case-"))
    return Case(f"case {number}", CASES[number][0])


SURFACE = Surface("sample", "Area", "Cases.", nothing, draw, cases=len(CASES), quick=0, seconds=0.5, bytes=32 << 20)
