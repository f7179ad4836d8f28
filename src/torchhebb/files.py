"""Atomic writing of files (write under another name, sync, rename), and JSON with a checksum."""

import errno
import json
import os
import platform
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

from torchhebb.errors import UserError

_COUNT = count()  # of threads that write the same file, each has a name of its own
_CHECKSUM = "checksum"  # no digit in it: a changed digit is then a changed value


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """The name under which to write a file that is then put in place of `path`, synced first.

    A stop or a power cut leaves either the old or the new one.  What killed processes of this machine left beside it is
    removed.  OSError passes through; the old file is then still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    beside = path.with_name(f".{path.name}.{_machine()}-{os.getpid()}-{next(_COUNT)}")
    try:
        yield beside
        with open(beside, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
        sync_folder(path.parent)
    finally:
        with suppress(OSError):  # renamed already, or in a folder that became read-only
            beside.unlink()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Put a file in place of the one of that name, whole.  Raises UserError where that fails."""
    try:
        with written_beside(path) as beside:
            beside.write_bytes(content.encode(errors="backslashreplace") if isinstance(content, str) else content)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; free space or choose another folder") from error


def read_bytes(path: Path) -> bytes:
    """The content of a file.  Raises OSError also for a device or a pipe, which may have no end."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "it is a device or a pipe", str(path))
    return path.read_bytes()


def _remove_leftovers(path: Path) -> None:
    """Remove what is named like `written_beside` names it for processes of this machine that are no more."""
    begin = f".{path.name}.{_machine()}-"
    for name in os.listdir(path.parent):
        if name.startswith(begin) and not _alive(name.removeprefix(begin).partition("-")[0]):
            with suppress(OSError):
                os.unlink(path.with_name(name))


def _alive(process: str) -> bool:
    if os.name == "nt":  # there os.kill ends the process
        return True
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError):
        return False
    except OSError:  # it is another user's
        return True
    return True


def _machine() -> str:
    """The machine's name, as letters and digits: a folder may be shared by several."""
    return re.sub(r"\W", "", platform.node())[:40]


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can do that."""
    with suppress(OSError):  # Windows opens no folders, and some file systems do not sync them
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_json(path: Path, value: dict[str, Any], *, strict: bool = True) -> None:
    """Write an object as JSON with a checksum.  Where strict, raises UserError for numbers that JSON does not have."""
    try:
        value = json.loads(json.dumps(value, allow_nan=not strict))  # as it will be read: string keys, lists
        text = json.dumps({**value, _CHECKSUM: _checksum(value)}, indent=1)
    except ValueError:
        raise UserError(f"{path} cannot hold numbers that are not finite") from None
    write_atomically(path, text + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """An object that `write_json` wrote, or one without a checksum, as version 0.1 wrote them.

    Raises FileNotFoundError, OSError where it cannot be read, and ValueError for another content.
    """
    return parse_json(read_bytes(path))


def json_line(value: dict[str, Any]) -> str:
    """An object as one line of JSON with a checksum, for files that grow.  Raises ValueError for numbers JSON lacks."""
    value = json.loads(json.dumps(value, allow_nan=False))
    return json.dumps({**value, _CHECKSUM: _checksum(value)}) + "\n"


def parse_json(content: str | bytes) -> dict[str, Any]:
    """The object that `write_json` or `json_line` wrote, or one without a checksum.  Raises ValueError for another."""
    try:
        value = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("it holds no object")
    written = value.pop(_CHECKSUM, None)
    if written is not None and written != _checksum(value):
        raise ValueError("its checksum does not match: it was changed or is damaged")
    return value


def _checksum(value: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())
