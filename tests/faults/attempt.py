"""One hostile input: what came of it, how long it took."""

import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from torchhebb.errors import UserError

LIMIT = 20.0
"""Seconds after which an input counts as a hang."""
LONGEST = 1000
"""Characters of a line that a terminal can still show."""

Attempt = tuple[str, Callable[[], Any]]
"""What is tried, in words, and the call."""


class Hang(BaseException):
    """Not an Exception, so that what is tried cannot catch it."""


@dataclass
class Outcomes:
    """How often each outcome came, and the inputs whose outcome is a fault."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[str, str]] = field(default_factory=list)
    slowest: float = 0.0

    @property
    def tried(self) -> int:
        return self.counts.total()

    def add(self, what: str, outcome: str, seconds: float) -> None:
        """Count an outcome; one that is neither "accepted" nor "refused" is a fault."""
        kind = outcome.splitlines()[0]
        self.counts[kind if kind in ("accepted", "refused") else "fault"] += 1
        self.slowest = max(self.slowest, seconds)
        if kind not in ("accepted", "refused"):
            self.faults.append((what, outcome))


def attempt_all(attempts: Iterable[Attempt], allowed: tuple[type[Exception], ...] = (UserError,)) -> Outcomes:
    """Try every input.  Allowed errors of one printable line count as refused."""
    outcomes = Outcomes()
    for what, call in attempts:
        started = time.monotonic()
        outcome = attempt(call, allowed)
        outcomes.add(what, outcome, time.monotonic() - started)
    return outcomes


def attempt(call: Callable[[], Any], allowed: tuple[type[Exception], ...] = (UserError,)) -> str:
    """The outcome of a call: "accepted", "refused", or what is wrong."""
    try:
        with limited(LIMIT):
            call()
    except allowed as error:
        return "refused" if (wrong := bad_line(str(error))) is None else f"{wrong}\n{_where(error)}"
    except Hang as hang:
        return f"a hang of more than {LIMIT:g} s\n{_where(hang)}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:300]}\n{_where(error)}"
    return "accepted"


def bad_line(message: str) -> str | None:
    """What is wrong with a message for one line of a terminal; None if nothing is."""
    if not message.strip():
        return "an error without words"
    if "\n" in message.strip():
        return f"a message of several lines: {message[:300]!r}"
    if len(message) > LONGEST:
        return f"a message of {len(message)} characters: {message[:300]!r}"
    return None


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise Hang after so many seconds; in the main thread alone."""

    def stop(_: int, __: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _where(error: BaseException) -> str:
    """The last places of the library and of the test in a traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "torchhebb" in frame.filename or "site-packages" in frame.filename]
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(own[-4:]))
