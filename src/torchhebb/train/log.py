"""metrics.jsonl: one JSON object with a checksum on each line, truncated to the checkpoint on resuming."""

import logging
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torchhebb.errors import UserError
from torchhebb.files import json_line, parse_json, read_bytes

_log = logging.getLogger(__name__)
_NUMBER = int | float | None  # None stands for one that is not finite
FIELDS: Mapping[str, Mapping[str, Any]] = {
    "learning": {
        **{"stage": int, "samples": int, "name": str},
        **dict.fromkeys(("radius_mean", "radius_std", "r1_share", "win_rate_max", "dead_share"), _NUMBER),
    },
    "local": {"stage": int, "samples": int, "name": str, "loss": _NUMBER},
    "readout": {"task": str, "epoch": int, "loss": _NUMBER},
    "repeated": {"task": str},
}
"""What a line of each kind holds at least, and the types of that."""


class Log:
    """Append-only metrics; a checkpoint stores `offset`, to which `rewind` returns.

    A path of None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def write(self, **metrics: Any) -> None:
        if self.path is None:
            return
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json_line(_finite(metrics)))
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror}; free space, then --resume") from error

    @property
    def offset(self) -> int:
        return self.path.stat().st_size if self.path is not None and self.path.exists() else 0

    def rewind(self, offset: int) -> None:
        """Delete the lines after `offset`, which will be written again.

        Where the file is shorter, or cut inside a line, it is kept up to the last whole line, and a line of kind "lost"
        says how many bytes are gone.
        """
        if self.path is None or not (self.path.exists() or offset):
            return
        try:
            kept = read_bytes(self.path)[:offset] if self.path.exists() else b""
            whole = kept[: kept.rfind(b"\n") + 1]
            if not self.path.exists():
                self.path.touch()
            os.truncate(self.path, len(whole))
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror}; free it, then use --resume") from error
        if len(whole) < offset:
            _log.warning("%s has lost %d bytes of its lines", self.path, offset - len(whole))
            self.write(kind="lost", bytes=offset - len(whole))

    def close(self) -> None:
        """No more lines come."""


def read_log(path: Path) -> list[dict[str, Any]]:
    """All lines of a metrics.jsonl that are as they were written; a warning says how many are not and left out.

    What follows the last end of a line was cut by a kill or a power cut, and is no line.  Lines of a task that was done
    again are left out up to that of kind "repeated", which says so.
    """
    if not path.exists():
        return []
    lines = read_bytes(path).split(b"\n")[:-1]
    found, signed = [], False  # an early version, which may have begun the run, wrote no checksums
    for line in lines:
        signed = signed or _signed(line)
        with suppress(ValueError):  # of bytes that are no text as well
            if _is_line(value := parse_json(line)) and _signed(line) == signed:
                found.append(value)
    if damaged := len(lines) - len(found):
        _log.warning("%s: %d of %d lines are damaged and left out", path, damaged, len(lines))
    kept: list[dict[str, Any]] = []
    for value in found:
        if value["kind"] == "repeated":
            kept = [earlier for earlier in kept if earlier.get("task") != value["task"]]
        else:
            kept.append(value)
    return kept


def _signed(line: bytes) -> bool:
    return b'"checksum": ' in line


def _is_line(value: dict[str, Any]) -> bool:
    """Whether an object has a kind, and of each number and name that figures are made from its type."""
    kind = value.get("kind")
    needed = FIELDS.get(kind, {}) if isinstance(kind, str) else {"kind": str}
    return all(name in value and isinstance(value[name], of) for name, of in needed.items())


def _finite(value: Any) -> Any:
    """JSON has no infinite numbers: they are written as null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value
