"""Files that are complete or absent: written beside, synced, renamed; JSON with a checksum that reading verifies."""

import errno
import json
import os
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from torchhebb.errors import UserError

_CHECKSUM = "checksum"  # no digit in it: a changed digit is then a changed value


def write_atomically(path: Path, content: str | bytes) -> None:
    """Put a file in place of the one of that name, so that a stop or a power cut leaves either the old or the new one.

    Raises UserError where that fails; the old file is then still there.
    """
    data = content.encode() if isinstance(content, str) else content
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        sync_folder(path.parent)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; free space or choose another folder") from error
    finally:
        with suppress(OSError):  # renamed already, or in a folder that became read-only
            beside.unlink()


def read_bytes(path: Path) -> bytes:
    """The content of a file.  Raises OSError also for a device, which may have no end."""
    if path.is_char_device():
        raise OSError(errno.EINVAL, "it is a device", str(path))
    return path.read_bytes()


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
        raise ValueError("its checksum does not match: it was changed, or is damaged")
    return value


def _checksum(value: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())
