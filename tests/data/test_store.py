"""The store: made once, whole or absent, rebuilt when damaged, bounded, and clear about a disk that refuses."""

import errno
import json
import multiprocessing
import os
import runpy
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from torchhebb.data.store import Store, Writer, default_root
from torchhebb.errors import UserError

KEY = {"what": "ramp", "n": 5}

# What another process does; a fresh interpreter runs it with the names in capitals set.
OTHER = """
import time
from torchhebb.data.store import Store
import torch

def make(writer):
    with open(LOG, "a") as file:
        file.write("made\\n")
    array = writer.array("ramp", (5,), torch.float32)
    time.sleep(SECONDS)
    array[:] = torch.arange(5)

BARRIER.wait(60)
assert Store(ROOT).get({"what": "ramp", "n": 5}, make)["ramp"].tolist() == [0, 1, 2, 3, 4]
"""


def other_processes(folder: Path, count: int, seconds: float):
    """Spawned interpreters that ask for one entry at the same moment; its writer takes `seconds`."""
    (folder / "other.py").write_text(OTHER)
    context = multiprocessing.get_context("spawn")
    names = {"ROOT": str(folder / "store"), "LOG": str(folder / "log"), "SECONDS": seconds}
    barrier = names["BARRIER"] = context.Barrier(count + 1)
    arguments = (str(folder / "other.py"), names)
    processes = [context.Process(target=runpy.run_path, args=arguments) for _ in range(count)]
    for process in processes:
        process.start()
    barrier.wait(60)
    return processes


def ramp(writer):
    writer.array("ramp", (5,), torch.float32)[:] = torch.arange(5)


def never(writer):
    raise AssertionError("the entry was to be read, not made")


def sized(count):
    return lambda writer: writer.array("zeros", (count,), torch.uint8)


def test_an_entry_is_made_once(tmp_path):
    made = Store(tmp_path).get(KEY, ramp)["ramp"]
    again = Store(tmp_path).get({"n": 5, "what": "ramp"}, never)["ramp"]
    assert made.tolist() == again.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32, torch.float16, torch.bfloat16, torch.bool])
@pytest.mark.parametrize("shape", [(3, 4), (1,), (), (0, 3)])
def test_every_dtype_and_shape_comes_back(tmp_path, dtype, shape):
    values = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 9).to(dtype)
    back = Store(tmp_path).get(KEY, lambda writer: writer.array("a", shape, dtype).copy_(values))["a"]
    assert back.dtype == dtype and back.shape == shape and torch.equal(back, values)


def test_what_a_reader_writes_stays_with_the_reader(tmp_path):
    Store(tmp_path).get(KEY, ramp)["ramp"].zero_()
    assert Store(tmp_path).get(KEY, never)["ramp"].tolist() == [0, 1, 2, 3, 4]


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("harm", [truncate, flip_a_byte, Path.unlink])
@pytest.mark.parametrize("file", ["ramp", "entry.json"])
def test_a_damaged_entry_is_made_again(tmp_path, caplog, harm, file):
    store = Store(tmp_path)
    store.get(KEY, ramp)
    harm(store.entries()[0].path / file)
    calls = []
    assert store.get(KEY, lambda writer: (calls.append(1), ramp(writer)))["ramp"].tolist() == [0, 1, 2, 3, 4]
    assert calls and "again" in caplog.text
    store.get(KEY, never)


def test_entries_say_what_is_there(tmp_path):
    store = Store(tmp_path)
    assert Store(tmp_path / "absent").entries() == []
    store.get(KEY, ramp)
    (entry,) = store.entries()
    assert entry.key == KEY and entry.bytes >= 20 and abs(entry.last_used - time.time()) < 60


@pytest.fixture
def disk(monkeypatch):
    """A disk of 100 GiB whose free bytes a test sets."""
    usage = SimpleNamespace(total=100 * 2**30, free=50 * 2**30)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    return usage


def test_the_least_recently_used_goes_first(tmp_path, disk):
    store = Store(tmp_path, limit_bytes=3500)
    for name in "abc":
        store.get({"name": name}, sized(1000))
    # File times may be coarse, so the order of use is set, not slept for.
    for entry in store.entries():
        used = 1000 + "bca".index(entry.key["name"])
        os.utime(entry.path / "entry.json", (used, used))
    store.get({"name": "d"}, sized(1000))
    assert [entry.key["name"] for entry in store.entries()] == ["c", "a", "d"]


def test_the_entry_just_made_stays_whatever_its_size(tmp_path):
    store = Store(tmp_path, limit_bytes=10)
    first = store.get({"name": "a"}, sized(1000))["zeros"]
    store.get({"name": "b"}, sized(1000))
    assert [entry.key["name"] for entry in store.entries()] == ["b"]
    assert int(first.sum()) == 0


def test_old_entries_make_way_while_little_of_the_disk_is_free(tmp_path, disk):
    store = Store(tmp_path)
    for name, age in (("a", 7300), ("b", 7200), ("c", 60)):
        store.get({"name": name}, sized(1000))
        (entry,) = (entry for entry in store.entries() if entry.key["name"] == name)
        os.utime(entry.path / "entry.json", (time.time() - age,) * 2)
    disk.free = 10 * 2**30 + 999  # one byte too few for one entry, so the oldest makes way for it
    store.get({"name": "d"}, sized(1000))
    assert [entry.key["name"] for entry in store.entries()] == ["b", "c", "d"]
    disk.free = 2**30
    store.get({"name": "e"}, sized(1000))
    assert [entry.key["name"] for entry in store.entries()] == ["c", "d", "e"]  # those of the last hour stay


def test_recent_entries_make_way_for_one_that_would_not_fit(tmp_path, disk):
    store = Store(tmp_path)
    store.get({"name": "a"}, sized(1000))
    disk.free = 999
    store.get({"name": "b"}, sized(1000))
    assert [entry.key["name"] for entry in store.entries()] == ["b"]


def test_eviction_leaves_what_is_not_the_stores(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious.txt").write_text("keep")
    Store(tmp_path, limit_bytes=0).get(KEY, ramp)
    assert (tmp_path / "mine" / "precious.txt").read_text() == "keep"


def test_what_make_raises_passes_through_and_leaves_nothing(tmp_path):
    def fails(writer):
        ramp(writer)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        Store(tmp_path).get(KEY, fails)
    assert [path.name for path in tmp_path.iterdir()] == [".locks"]


def test_two_processes_make_one_entry_once(tmp_path):
    processes = other_processes(tmp_path, 2, 0.3)
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert (tmp_path / "log").read_text() == "made\n"


def test_a_killed_writer_does_no_harm(tmp_path):
    store = Store(tmp_path / "store")
    (process,) = other_processes(tmp_path, 1, 600)
    deadline = time.monotonic() + 60
    while not list(store.root.glob(".new-*/ramp")):
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.join(60)
    assert store.entries() == []
    store.get({"another": "entry"}, ramp)
    assert not list(store.root.glob(".new-*")), "making any entry clears what dead writers left"
    assert store.get(KEY, ramp)["ramp"].tolist() == [0, 1, 2, 3, 4]


def test_a_store_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write to the store .*file: .*TORCHHEBB_STORE") as caught:
        Store(tmp_path / "file").get(KEY, ramp)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("code, what", [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "read-only")])
def test_a_full_disk_says_so_and_leaves_the_rest(tmp_path, monkeypatch, code, what):
    store = Store(tmp_path)
    store.get({"name": "before"}, ramp)

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(UserError, match=f"{what}.*TORCHHEBB_STORE"):
        store.get(KEY, ramp)
    assert [entry.key for entry in store.entries()] == [{"name": "before"}]
    store.get({"name": "before"}, never)


def test_bad_arguments(tmp_path):
    with pytest.raises(UserError, match="limit_bytes must be 0 or more, got -1"):
        Store(tmp_path, limit_bytes=-1)
    with pytest.raises(TypeError):
        Store(tmp_path).get({"key": object()}, ramp)
    with pytest.raises(ValueError, match="new identifier, got '../up'"):
        Store(tmp_path).get(KEY, lambda writer: writer.array("../up", (1,), torch.uint8))
    with pytest.raises(ValueError, match="new identifier"):
        Store(tmp_path).get(KEY, lambda writer: (ramp(writer), ramp(writer)))


def test_where_the_store_is(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHHEBB_STORE", str(tmp_path / "a"))
    assert default_root() == Store().root == tmp_path / "a"
    monkeypatch.delenv("TORCHHEBB_STORE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_root() == tmp_path / "torchhebb"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_root() == Path.home() / ".cache" / "torchhebb"


def test_the_index_is_plain_json(tmp_path):
    store = Store(tmp_path)
    store.get(KEY, ramp)
    index = json.loads((store.entries()[0].path / "entry.json").read_text())
    assert index["entry"]["arrays"]["ramp"]["shape"] == [5]


def test_a_wait_is_said_and_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("torchhebb.data.store.SILENT_SECONDS", 0.05)
    monkeypatch.setattr("torchhebb.data.store.WAIT_SECONDS", 0.05)
    store = Store(tmp_path)

    def ask_again(writer: Writer) -> None:
        with pytest.raises(UserError, match="another process has held .* TORCHHEBB_STORE"):
            Store(tmp_path).get({"a": 1}, lambda _: None)
        writer.array("x", (1,), torch.float32)

    store.get({"a": 1}, ask_again)
    assert "waiting for another process" in caplog.text


def test_a_pipe_in_place_of_an_index_is_made_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number in range(2):
        store.get({"n": number}, lambda writer: writer.array("x", (3,), torch.float32).fill_(1))
    for entry in store.entries():
        (entry.path / "entry.json").unlink()
        os.mkfifo(entry.path / "entry.json")
    assert (
        store.get({"n": 0}, lambda writer: writer.array("x", (3,), torch.float32).fill_(2))["x"].tolist() == [2.0] * 3
    )


def test_a_disk_that_becomes_read_only_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What was begun cannot be removed either, and the error is still that of writing."""

    def refused(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def make(writer: Writer) -> None:
        writer.array("x", (2,), torch.float32)
        monkeypatch.setattr("torchhebb.data.store._remove", refused)
        monkeypatch.setattr("torchhebb.data.store._seal", refused)

    with pytest.raises(UserError, match="read-only"):
        Store(tmp_path).get({"a": 1}, make)
