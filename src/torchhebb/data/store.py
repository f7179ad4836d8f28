"""A cache of memory-mapped arrays on disk; each entry is computed once from the key that describes it.

An entry is a folder named by the hash of its key. It holds one raw file per array and `entry.json`, which carries the
key and the shape, dtype and checksum of every array. It is written beside its place and renamed into it, so that a
reader sees a whole entry or none; one lock per entry makes a second process wait for the first and then read.
"""

import errno
import json
import logging
import math
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from torchhebb.errors import UserError
from torchhebb.files import read_bytes

DEFAULT_LIMIT_BYTES = 64 * 2**30
SPARE_BYTES = 10 * 2**30  # of the disk are left free, or a tenth of a smaller disk
RECENT_SECONDS = 3600.0  # an entry used since is not deleted to leave space free
ENVIRONMENT = "TORCHHEBB_STORE"
SILENT_SECONDS = 10.0  # a wait that is longer is said
WAIT_SECONDS = 6 * 3600.0  # features of a large data set take hours on a processor
_INDEX = "entry.json"
_CHUNK_BYTES = 2**24
_NAME_LENGTH = 32
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_log = logging.getLogger(__name__)


class _Damaged(Exception):
    """An entry that is damaged; its text says how."""


@dataclass(frozen=True)
class Entry:
    """One complete entry: the key that made it, its bytes on disk, its last use (seconds since 1970), its folder.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = Store(Path(folder))
    ...     arrays = store.get({"kind": "example"}, lambda writer: writer.array("x", (3,), torch.float32).fill_(1.0))
    ...     [entry.key for entry in store.entries()]
    [{'kind': 'example'}]
    """

    key: Mapping[str, Any]
    bytes: int
    last_used: float
    path: Path


class Writer:
    """The argument of `make`: `array` returns a tensor in a memory-mapped file, which may be larger than memory.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = Store(Path(folder))
    ...     store.get({"kind": "ones"}, lambda writer: writer.array("x", (3,), torch.float32).fill_(1))["x"]
    tensor([1., 1., 1.])
    """

    def __init__(self, folder: Path, make_room: Callable[[int], None]) -> None:
        self._folder, self._make_room = folder, make_room
        self.arrays: dict[str, Tensor] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A zero tensor of `shape` and `dtype`, to be filled by slices before `make` returns and not afterwards.

        Errors: ValueError for a name that was given before or is no identifier, UserError where the disk is full.
        """
        if not name.isidentifier() or name in self.arrays:
            raise ValueError(f"name must be a new identifier, got {name!r}; present: {sorted(self.arrays)}")
        size = math.prod(shape)
        path = self._folder / name
        with _writing(self._folder.parent):
            self._make_room(size * dtype.itemsize)
            _reserve(path, size * dtype.itemsize)
            tensor = (
                torch.from_file(str(path), shared=True, size=size, dtype=dtype) if size else torch.empty(0, dtype=dtype)
            )
        self.arrays[name] = tensor.view(shape)
        return self.arrays[name]


class Store:
    """Arrays on disk, keyed by what made them; the least recently used entries are deleted to keep within its limits.

    An entry that was not used for an hour is deleted too when less than 10 GiB of the disk would stay free (a tenth of
    a disk below 100 GiB), and any entry when a new one would not fit on the disk otherwise.
    `root` defaults to $TORCHHEBB_STORE, else `torchhebb` in the user's cache folder; `limit_bytes` to 64 GiB.

    >>> import tempfile
    >>> store = Store(tempfile.mkdtemp())
    >>> def squares(writer):
    ...     writer.array("squares", (4,), torch.int64)[:] = torch.arange(4) ** 2
    >>> store.get({"what": "squares", "n": 4}, squares)["squares"]
    tensor([0, 1, 4, 9])
    >>> [entry.key["what"] for entry in store.entries()]
    ['squares']
    """

    def __init__(self, root: Path | str | None = None, *, limit_bytes: int | None = None) -> None:
        if limit_bytes is not None and limit_bytes < 0:
            raise UserError(f"limit_bytes must be 0 or more, got {limit_bytes}")
        self.root = Path(root).expanduser().absolute() if root is not None else default_root()
        self.limit_bytes = DEFAULT_LIMIT_BYTES if limit_bytes is None else limit_bytes

    def get(self, key: Mapping[str, Any], make: Callable[[Writer], None]) -> dict[str, Tensor]:
        """The arrays of `key`, memory-mapped; `make` fills them the first time and wherever the entry was damaged.

        The mapping is private: writing into a tensor that was given changes neither the file nor what others read.
        Errors: TypeError for a key that JSON cannot hold, UserError where the store cannot be written. What `make`
        raises passes through and leaves nothing behind.
        """
        text = json.dumps(key, sort_keys=True, allow_nan=False)
        plain = json.loads(text)
        folder = self.root / blake2b(text.encode(), digest_size=_NAME_LENGTH // 2).hexdigest()
        with _writing(self.root):
            (self.root / ".locks").mkdir(parents=True, exist_ok=True)
            lock = self._lock(folder.name)
            _wait_for(lock, folder)
        try:
            try:
                return _read(folder, plain)
            except FileNotFoundError:
                pass
            except _Damaged as damage:
                _log.warning("making the store entry %s again: %s", folder, damage)
            self._make(folder, plain, make)
            return _read(folder, plain)
        finally:
            lock.release()

    def entries(self) -> list[Entry]:
        """The complete entries, the least recently used first."""
        return [entry for entry in self._scan() if entry.key]

    def _make(self, folder: Path, key: Mapping[str, Any], make: Callable[[Writer], None]) -> None:
        temporary = self.root / f".new-{folder.name}"
        with _writing(self.root):
            # The lock is ours, so whatever lies at either place was left by a writer that died or is damaged.
            _remove(temporary)
            _remove(folder)
            temporary.mkdir()
        try:
            writer = Writer(temporary, lambda size: self._evict(size + _bytes(temporary), size, keep=folder.name))
            make(writer)
            with _writing(self.root):
                _seal(temporary, key, writer.arrays)
                self._evict(_bytes(temporary), 0, keep=folder.name)
                os.rename(temporary, folder)
                _sync(self.root)
        finally:
            with suppress(OSError):  # on a disk that became read-only; the next writer removes it
                _remove(temporary)

    def _evict(self, size: int, unwritten: int, *, keep: str) -> None:
        """Make room for an entry of `size` bytes, of which the last `unwritten` are not on the disk yet.

        What dead writers left is removed, then the least recently used entries until both limits are kept.
        """
        for leftover in self.root.glob(".new-" + "[0-9a-f]" * _NAME_LENGTH):
            name = leftover.name.removeprefix(".new-")
            if name != keep:
                self._remove_unlocked(name, leftover)
        entries = self._scan()
        disk = shutil.disk_usage(self.root)
        needed = max(sum(entry.bytes for entry in entries) + size - self.limit_bytes, unwritten - disk.free)
        wished = max(needed, unwritten - disk.free + min(SPARE_BYTES, disk.total // 10))
        for entry in entries:
            recent = time.time() - entry.last_used < RECENT_SECONDS
            if (needed if recent else wished) <= 0:
                break
            if self._remove_unlocked(entry.path.name, entry.path):
                needed, wished = needed - entry.bytes, wished - entry.bytes

    def _remove_unlocked(self, name: str, path: Path) -> bool:
        """Remove `path` unless another process or thread works on that entry; whoever has it mapped keeps the pages."""
        try:
            with self._lock(name).acquire(timeout=0):
                _remove(path)
        except Timeout:
            return False
        return True

    def _lock(self, name: str) -> FileLock:
        return FileLock(self.root / ".locks" / f"{name}.lock")

    def _scan(self) -> list[Entry]:
        found = []
        for path in self.root.glob("[0-9a-f]" * _NAME_LENGTH):
            # Another process may remove an entry while it is looked at.
            with suppress(FileNotFoundError):
                try:
                    key, used = _index(path)["key"], (path / _INDEX).stat().st_mtime
                except _Damaged:
                    key, used = {}, 0.0
                found.append(Entry(key, _bytes(path), used, path))
        return sorted(found, key=lambda entry: (entry.last_used, entry.path.name))


def _wait_for(lock: FileLock, folder: Path) -> None:
    """Wait for whoever makes an entry: say so after a while, and UserError where it seems to hang."""
    try:
        lock.acquire(timeout=SILENT_SECONDS)
    except Timeout:
        _log.warning("waiting for another process that makes the store entry %s", folder)
        try:
            lock.acquire(timeout=WAIT_SECONDS)
        except Timeout:
            hours = f"{WAIT_SECONDS / 3600:g} hours"
            raise UserError(f"another process has held {folder} for {hours}: end it, or set {ENVIRONMENT}") from None


def default_root() -> Path:
    """$TORCHHEBB_STORE, else `torchhebb` under $XDG_CACHE_HOME, else `~/.cache/torchhebb`."""
    if chosen := os.environ.get(ENVIRONMENT):
        return Path(chosen).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / "torchhebb"


def _read(folder: Path, key: Mapping[str, Any]) -> dict[str, Tensor]:
    """Map every array of an entry after checking it; FileNotFoundError where there is none."""
    index = _index(folder)
    if index["key"] != key:
        raise _Damaged("it was written for another key")
    arrays = {}
    for name, fact in index["arrays"].items():
        path, dtype = folder / name, getattr(torch, fact["dtype"])
        size = math.prod(fact["shape"])
        if not path.is_file() or path.stat().st_size != size * dtype.itemsize:
            raise _Damaged(f"{name} is missing or has the wrong size")
        if _checksum(path) != fact["crc32"]:
            raise _Damaged(f"{name} does not match its checksum")
        flat = torch.from_file(str(path), shared=False, size=size, dtype=dtype) if size else torch.empty(0, dtype=dtype)
        arrays[name] = flat.view(fact["shape"])
    with suppress(OSError):
        os.utime(folder / _INDEX, ns=(time.time_ns(), time.time_ns()))
    return arrays


def _index(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise FileNotFoundError(folder)
    try:
        sealed = json.loads(read_bytes(folder / _INDEX))
        if zlib.crc32(json.dumps(sealed["entry"], sort_keys=True).encode()) != sealed["crc32"]:
            raise ValueError("checksum")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _Damaged(f"{_INDEX} cannot be read ({error})") from error
    return sealed["entry"]


def _seal(folder: Path, key: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> None:
    """Bring every array to disk, then write the index that makes the entry complete."""
    facts = {}
    for name, tensor in arrays.items():
        _sync(folder / name)
        dtype = str(tensor.dtype).removeprefix("torch.")
        facts[name] = {"shape": list(tensor.shape), "dtype": dtype, "crc32": _checksum(folder / name)}
    entry = {"key": key, "arrays": facts}
    crc32 = zlib.crc32(json.dumps(entry, sort_keys=True).encode())
    (folder / _INDEX).write_text(json.dumps({"crc32": crc32, "entry": entry}))
    _sync(folder / _INDEX)
    _sync(folder)


def _reserve(path: Path, size: int) -> None:
    """Take `size` bytes of disk now: a full disk is then an error here, not a bus error for who fills the mapping."""
    with open(path, "xb") as file:
        if hasattr(os, "posix_fallocate") and size:
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            for start in range(0, size, _CHUNK_BYTES):
                file.write(bytes(min(_CHUNK_BYTES, size - start)))


def _checksum(path: Path) -> int:
    crc32 = 0
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            crc32 = zlib.crc32(chunk, crc32)
    return crc32


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _writing(root: Path) -> Iterator[None]:
    """Turn what the file system refuses into one line for the user."""
    try:
        yield
    except OSError as error:
        what = "the disk is full" if error.errno in _FULL else (error.strerror or str(error)).lower()
        advice = (
            f"free some space or set {ENVIRONMENT} to a folder with room"
            if error.errno in _FULL
            else f"set {ENVIRONMENT} to another"
        )
        raise UserError(f"cannot write to the store {root}: {what}; {advice}") from error
