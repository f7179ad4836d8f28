"""Files that are complete or absent, and JSON that says when it was changed."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from torchhebb.errors import UserError
from torchhebb.files import read_json, write_atomically, write_json, written_beside


def test_json_comes_back_as_it_reads(tmp_path: Path) -> None:
    value = {"a": (1, 2.5), "b": {3: "x", 20: None}, "c": 1e-300, "d": "\u00e9\x1b"}
    write_json(tmp_path / "x.json", value)
    read = {"a": [1, 2.5], "b": {"3": "x", "20": None}, "c": 1e-300, "d": value["d"]}
    assert read_json(tmp_path / "x.json") == read
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_every_changed_digit_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"lr": 0.08, "seeds": [1, 2]})
    text = path.read_text()
    for place, character in enumerate(text):
        if character.isdigit():
            path.write_text(text[:place] + str((int(character) + 1) % 10) + text[place + 1 :])
            with pytest.raises(ValueError):
                read_json(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b"[" * 100_000, b"null"])
def test_what_is_no_object_is_a_value_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ValueError):
        read_json(tmp_path / "x.json")


def test_files_of_the_first_version_have_no_checksum(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"a": 1}))
    assert read_json(tmp_path / "x.json") == {"a": 1}


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="x.json cannot hold numbers that are not finite"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_failing_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    write_atomically(path, "old")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="cannot write .*x: No space left on device"):
        write_atomically(path, "new")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["x"]


def test_what_a_killed_process_left_beside_a_file_is_removed(tmp_path: Path) -> None:
    path, child = tmp_path / "x.json", os.fork()
    if child == 0:
        with written_beside(path) as beside:
            beside.write_text("ha")
            os._exit(0)
    os.waitpid(child, 0)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".x.json.")
    machine = left.name.split(".")[3].split("-")[0]
    others = {f".x.json.{machine}-{os.getppid()}-0", f".x.json.another{machine}-{child}-0", ".x.json", "x.json.bak"}
    for name in others:
        (tmp_path / name).touch()
    write_atomically(path, "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"x.json", *others}


def test_a_pipe_is_no_file_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.json")
    with pytest.raises(OSError, match="it is a device or a pipe"):
        read_json(tmp_path / "x.json")
