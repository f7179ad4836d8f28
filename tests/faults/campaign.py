"""A campaign of faults: numbered cases, each drawn from its number, tried in a process that may hang or die, counted.

A file of this folder that holds a tuple `SURFACES` is found by name. `python -m tests.faults` tries all its cases and
keeps a record; `tests/faults/test_quick.py` tries the first ones.
"""

import multiprocessing
import os
import random
import resource
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from pkgutil import iter_modules
from types import FrameType
from typing import Any, TypeVar

import torch

from torchhebb.errors import UserError

LIMIT_SECONDS = 20.0
"""Longer than this is a hang, where a surface says nothing else."""
GRACE_SECONDS = 10.0
"""A case that does not end itself by then is killed."""
DRAWING, DRAWING_SECONDS = "drawing the case", 900.0
"""What a case is compared with is found out before its time begins."""
LIMIT_BYTES = 2 << 30
"""A case that adds more than this to the peak memory of its process is a fault."""
LONGEST_LINE = 1000
"""Characters of a message that a terminal can still show."""

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}  # read when its package is imported: it tries again
# New processes are forked from one that has imported all of this, so that a case costs no import.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["tests.tiny", "tests.small_runs", "torchhebb.cli", "torchhebb.report", "sklearn.datasets"]
)


T = TypeVar("T")


class Kind(StrEnum):
    """What a case comes to; the first two are what is promised."""

    RIGHT = "right result"
    LINE = "one line"
    TRACEBACK = "traceback"
    DIFFERENCE = "silent difference"
    HANG = "hang"
    MEMORY = "memory"

    @property
    def promised(self) -> bool:
        return self in (Kind.RIGHT, Kind.LINE)


@dataclass(frozen=True)
class Outcome:
    """What a case came to, and the words for it."""

    kind: Kind
    detail: str = ""


RIGHT = Outcome(Kind.RIGHT)


@dataclass(frozen=True)
class Case:
    """One thing to try."""

    what: str
    """In words, with everything that was drawn."""
    call: Callable[[], Outcome | Any]
    """Returns an outcome, or anything else for the right result; a UserError of one printable line counts as a line."""
    group: str = ""
    """The row of the table that it is counted in, such as a command or a kind of file."""


@dataclass(frozen=True)
class Surface:
    """One way in for faults.

    `prepare(folder)` makes what its cases share, where the folder does not hold it yet; it runs once a process.
    `draw(ready, random, folder)` makes a case of what was prepared; `folder` is empty and the case's own.
    """

    name: str
    area: str
    """The heading that it stands under in docs/reliability.md."""
    title: str
    """A sentence: what is tried, and what counts as the right result."""
    prepare: Callable[[Path], Any]
    draw: Callable[[Any, random.Random, Path], Case]
    cases: int
    """Of a full campaign."""
    quick: int
    """Of the tests."""
    seconds: float = LIMIT_SECONDS
    bytes: int = LIMIT_BYTES
    isolated: bool = False
    """Whether each case has a process of its own, forked after `prepare`; cases that share one are cheaper."""


@dataclass(frozen=True)
class Tried:
    """A case that was tried."""

    number: int
    what: str
    group: str
    kind: Kind
    detail: str
    seconds: float
    peak_bytes: int
    """The largest resident memory of its process meanwhile."""


class Hang(BaseException):
    """Not an Exception, so that what is tried cannot catch it."""


def surfaces() -> list[Surface]:
    """All surfaces of this folder, by name."""
    package = import_module("tests.faults")
    names = [module.name for module in iter_modules(package.__path__) if not module.name.startswith(("test_", "__"))]
    found = [one for name in names for one in getattr(import_module(f"tests.faults.{name}"), "SURFACES", ())]
    return sorted(found, key=lambda surface: surface.name)


def attempt(call: Callable[[], Any], seconds: float = LIMIT_SECONDS) -> Outcome:
    """What a call comes to."""
    try:
        with limited(seconds):
            found = call()
    except UserError as error:
        wrong = bad_line(str(error))
        return Outcome(Kind.LINE, str(error)) if wrong is None else Outcome(Kind.TRACEBACK, f"{wrong}; {where(error)}")
    except Hang as hang:
        return Outcome(Kind.HANG, where(hang))
    except MemoryError as error:
        return Outcome(Kind.MEMORY, where(error))
    except (Exception, SystemExit) as error:
        return Outcome(Kind.TRACEBACK, f"{type(error).__name__}: {str(error)[:300]}; {where(error)}")
    return found if isinstance(found, Outcome) else RIGHT


def bad_line(message: str) -> str | None:
    """What is wrong with a message for one line of a terminal; None if nothing is."""
    if not message.strip():
        return "an error without words"
    if "\n" in message.strip():
        return f"a message of several lines: {message[:300]!r}"
    if len(message) > LONGEST_LINE:
        return f"a message of {len(message)} characters: {message[:300]!r}"
    return None


def where(error: BaseException) -> str:
    """The last places of the library and of packages in a traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "torchhebb" in frame.filename or "site-packages" in frame.filename]
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(own[-4:]))


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


def carry_out(surface: Surface, numbers: Iterable[int], folder: Path) -> Iterator[Tried]:
    """Try cases of a surface one after another.

    They share a process until one hangs or dies in it.  `folder` keeps what `prepare` makes and the folders of cases
    that came to a fault.
    """
    left = list(numbers)
    while left:
        receive, send = CONTEXT.Pipe(duplex=False)
        process = CONTEXT.Process(target=_work, args=(surface, left, folder, send))
        process.start()
        send.close()
        done = 0
        try:
            for tried in _heard(surface, process, receive):
                done += 1
                yield tried
        finally:
            with suppress(ProcessLookupError):  # its group: children of a case that hangs go with it
                os.killpg(process.pid or 0, signal.SIGKILL)
            process.join()
        if not done:
            raise RuntimeError(f"{surface.name} could not be prepared, see above")
        left = left[done:]


def _heard(surface: Surface, process: BaseProcess, receive: Connection) -> Iterator[Tried]:
    """What a process says of its cases; the case that it hangs or dies in is its last one."""
    begun: tuple[int, str, str] | None = None
    started = time.monotonic()
    while True:
        # A case ends itself when its time is over, unless it hangs where Python does not see the alarm.
        wait = DRAWING_SECONDS if begun is None or begun[1] == DRAWING else surface.seconds + GRACE_SECONDS
        if not receive.poll(wait):
            if begun is None:
                raise RuntimeError(f"{surface.name} was not prepared within {DRAWING_SECONDS:g} s")
            yield Tried(*begun, Kind.HANG, "inside a call", time.monotonic() - started, 0)
            return
        try:
            said = receive.recv()
        except EOFError:
            process.join()
            if begun is not None:
                kind = Kind.MEMORY if process.exitcode == -signal.SIGKILL else Kind.TRACEBACK
                detail = f"the process ended with exit code {process.exitcode}"
                yield Tried(*begun, kind, detail, time.monotonic() - started, 0)
            return
        if isinstance(said, Tried):
            begun = None
            yield said
        else:
            begun, started = said, time.monotonic()


def _work(surface: Surface, numbers: list[int], folder: Path, send: Connection) -> None:
    os.setsid()
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    ready = surface.prepare(folder)
    for number in numbers:
        send.send((number, DRAWING, ""))

        def one(number: int = number) -> Tried:
            return try_case(surface, ready, number, folder / f"case-{number}", send.send)

        send.send(in_child(one) if surface.isolated else one())


def in_child(call: Callable[[], T]) -> T:
    """What a call returns, made in a process forked from this one; ends this process as that one, where it dies.

    Whoever forks must not have started threads; torch's gradients do.
    """
    receive, send = multiprocessing.Pipe(duplex=False)
    if (child := os.fork()) == 0:
        code = 1
        try:
            send.send(call())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    send.close()
    try:
        return receive.recv()
    except EOFError:
        _, status = os.waitpid(child, 0)
        child = 0
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            os.kill(os.getpid(), -code)
        os._exit(code or 1)
    finally:
        receive.close()
        if child:
            os.waitpid(child, 0)


def try_case(
    surface: Surface, ready: Any, number: int, folder: Path, say: Callable[[Any], None] = lambda _: None
) -> Tried:
    """Try one case in this process; `say` is told its number, words and group before it begins."""
    folder.mkdir(parents=True, exist_ok=True)
    case = surface.draw(ready, random.Random(f"{surface.name}-{number}"), folder)
    say((number, case.what, case.group))
    before, started = peak_bytes(reset=True), time.monotonic()
    outcome = attempt(case.call, surface.seconds)
    peak, seconds = peak_bytes(), time.monotonic() - started
    if outcome.kind.promised and peak - before > surface.bytes:
        outcome = Outcome(Kind.MEMORY, f"{(peak - before) >> 20} MiB more than before")
    if outcome.kind.promised:
        shutil.rmtree(folder, ignore_errors=True)
    return Tried(number, case.what, case.group, outcome.kind, outcome.detail, seconds, peak)


def peak_bytes(*, reset: bool = False) -> int:
    """The largest resident memory of this process so far; after a reset, since then, where the system can do that."""
    if reset:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
