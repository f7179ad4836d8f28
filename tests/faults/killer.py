"""A process that ends by SIGKILL, or whose disk fails, inside a chosen step of writing, or after a chosen time.

The library knows nothing of this: in the child alone, what it writes by is replaced with functions that count.
"""

import builtins
import errno
import io
import os
import signal
import subprocess
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors.torch

import torchhebb.nn.tensors

STEPS = ("fsync", "replace", "rename", "truncate", "unlink", "rmdir", "mkdir", "posix_fallocate")
"""Functions of `os`, before each of which a process may die."""


class Killer:
    """Counts steps of writing and kills its own process at the `moment`-th; of a write, after a part of its bytes."""

    def __init__(self, moment: int | None, part: float = 0.5) -> None:
        self.moment, self.part, self.count, self.what = moment, part, 0, ""

    def install(self) -> None:
        """Replace what this process writes by, for good."""
        for name in STEPS:
            setattr(os, name, self._stepping(getattr(os, name), name))
        opened = builtins.open
        builtins.open = io.open = self._opening(opened)  # type: ignore[assignment]
        torchhebb.nn.tensors.save_file = self._saving(opened)  # type: ignore[assignment]

    def step(self, what: str) -> bool:
        """Whether this is the step to act in."""
        self.count += 1
        self.what = what
        return self.count == self.moment

    def act(self) -> None:
        """End the process."""
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)

    def _stepping(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def stepped(*arguments: Any, **named: Any) -> Any:
            if self.step(name):
                self.act()
            return function(*arguments, **named)

        return stepped

    def _opening(self, opened: Callable[..., Any]) -> Callable[..., Any]:
        def opening(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
            handle = opened(file, mode, *arguments, **named)
            writes = isinstance(file, str | os.PathLike) and set(mode) & set("wax+")
            return _Torn(handle, self) if writes else handle

        return opening

    def _saving(self, opened: Callable[..., Any]) -> Callable[..., Any]:
        """`save_file` writes outside Python: the same bytes, written here."""

        def save(tensors: Any, path: Any, metadata: Any = None) -> None:
            data = safetensors.torch.save(tensors, metadata)
            with opened(path, "wb") as file:
                done = 0
                if self.step("save"):
                    done = int(self.part * len(data))
                    file.write(data[:done])
                    file.flush()
                    self.act()
                file.write(data[done:])

        return save


class _Torn:
    """A file of which the killer may leave a part of what is written."""

    def __init__(self, file: Any, killer: Killer) -> None:
        self._file, self._killer = file, killer

    def write(self, data: Any) -> Any:
        whole, done = data if isinstance(data, str) else bytes(data), 0
        if self._killer.step("write"):
            done = int(self._killer.part * len(whole))
            self._file.write(whole[:done])
            self._file.flush()
            self._killer.act()
        return done + self._file.write(whole[done:])

    def __enter__(self) -> "_Torn":
        self._file.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._file.__exit__(*exception)

    def __iter__(self) -> Any:
        return iter(self._file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class FailingDisk(Killer):
    """From the moment on every step fails, as on a disk that is full or became read-only."""

    def __init__(self, moment: int, part: float, error: int) -> None:
        super().__init__(moment, part)
        self.error = error

    def step(self, what: str) -> bool:
        super().step(what)
        frees = what in ("unlink", "rmdir", "truncate")
        return self.count >= (self.moment or 0) and not (frees and self.error in (errno.ENOSPC, errno.EDQUOT))

    def act(self) -> None:
        raise OSError(self.error, os.strerror(self.error))


class Remover(Killer):
    """A folder is gone from the moment on; what happens to the process is its own affair."""

    def __init__(self, moment: int, part: float, folder: Path) -> None:
        super().__init__(moment, part)
        self.folder = folder

    def act(self) -> None:
        subprocess.run(["rm", "-rf", str(self.folder)], check=True)


def count_moments(call: Callable[[], Any], folder: Path) -> tuple[int, float]:
    """How many steps of writing a call has, and the seconds that it takes; it must end well."""
    counted = folder / "moments"

    def count() -> None:
        killer = Killer(None)
        killer.install()
        call()
        moments = killer.count
        counted.write_text(str(moments))

    started = time.monotonic()
    code, said = in_process(count, folder)
    if code != 0:
        raise RuntimeError(f"it ended with exit code {code}: {said}")
    return int(counted.read_text()), time.monotonic() - started


def killed(call: Callable[[], Any], folder: Path, *, moment: int | None, part: float, seconds: float | None) -> int:
    """The exit code of a process killed at a moment of writing, or after so many seconds; 0 where it was over."""

    def work() -> None:
        Killer(moment, part).install()
        call()

    return in_process(work, folder, seconds)[0]


def in_process(call: Callable[[], Any], folder: Path, seconds: float | None = None) -> tuple[int, str]:
    """Exit code and last words of a call in a process forked from this one, killed after so many seconds."""
    words = folder / "words"
    descriptor = os.open(words, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)  # before the disk fails
    if (child := os.fork()) == 0:
        code = 1
        try:
            call()
            code = 0
        except BaseException:
            with suppress(BaseException), os.fdopen(descriptor, "w", closefd=False) as file:
                file.write(traceback.format_exc())
        finally:
            os._exit(code)
    os.close(descriptor)
    timer = None if seconds is None else threading.Timer(seconds, _kill, (child,))
    try:
        if timer is not None:
            timer.start()
        _, status = os.waitpid(child, 0)
    except BaseException:  # the time of the case is over
        _kill(child)
        os.waitpid(child, 0)
        raise
    finally:
        if timer is not None:
            timer.cancel()
    said = words.read_text()
    words.unlink(missing_ok=True)
    return os.waitstatus_to_exitcode(status), said


def _kill(child: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
