"""metrics.jsonl: appended, cut back, read even where a kill cut its last line."""

import json
from pathlib import Path

import pytest

from torchhebb.errors import UserError
from torchhebb.train.log import Log, read_log


def test_lines_come_back_in_order(tmp_path: Path):
    log = Log(tmp_path / "metrics.jsonl")
    assert log.offset == 0 and read_log(tmp_path / "metrics.jsonl") == []
    for step in range(3):
        log.write(kind="learning", step=step, value=0.1 * step)
    assert read_log(tmp_path / "metrics.jsonl") == [
        {"kind": "learning", "step": step, "value": 0.1 * step} for step in range(3)
    ]


def test_rewound_lines_are_written_again(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    log = Log(path)
    log.write(step=0)
    offset = log.offset
    log.write(step=1)
    log.write(step=2)
    Log(path).rewind(offset)
    assert read_log(path) == [{"step": 0}]
    log.write(step=1)
    assert read_log(path) == [{"step": 0}, {"step": 1}]


@pytest.mark.parametrize("lines", [0.0, 0.5, 1.0, 1.5])
def test_a_log_that_lost_lines_says_so_and_goes_on(lines: float, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """What is left of the log is nothing, a part of a line, a line, a line and a part."""
    path = tmp_path / "metrics.jsonl"
    log = Log(path)
    log.write(step=0)
    length = log.offset
    log.write(step=1)
    offset, content = log.offset, path.read_bytes()
    path.write_bytes(content[: int(lines * length)])
    log.rewind(offset)
    log.write(step=2)
    whole = int(lines)
    lost = {"kind": "lost", "bytes": offset - length * whole}
    assert read_log(path) == [*[{"step": step} for step in range(whole)], lost, {"step": 2}]
    assert "has lost" in caplog.text


def test_a_line_has_no_numbers_that_json_lacks(tmp_path: Path):
    log = Log(tmp_path / "metrics.jsonl")
    log.write(kind="learning", radius=float("inf"), losses=[1.0, float("nan")])
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    found = json.loads(line, parse_constant=pytest.fail)
    assert found.pop("checksum") and found == {"kind": "learning", "radius": None, "losses": [1.0, None]}


def test_a_last_line_cut_short_is_left_out(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({"step": 0}) + "\n" + '{"step"')
    assert read_log(path) == [{"step": 0}]


def test_a_changed_digit_takes_its_line_alone_and_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "metrics.jsonl"
    log = Log(path)
    for step in range(3):
        log.write(step=step, value=0.25)
    path.write_bytes(path.read_bytes().replace(b"0.25", b"0.75", 1))
    assert read_log(path) == [{"step": 1, "value": 0.25}, {"step": 2, "value": 0.25}]
    assert "1 of 3 lines are damaged" in caplog.text


def test_without_a_path_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    log = Log(None)
    log.write(step=0)
    log.rewind(0)
    assert log.offset == 0 and not list(tmp_path.iterdir())


def test_a_place_that_is_none_is_said_in_one_line(tmp_path: Path):
    with pytest.raises(UserError, match="cannot write .*; free space"):
        Log(tmp_path / "nowhere" / "metrics.jsonl").write(step=0)
    with pytest.raises(UserError, match="cannot write"):
        Log(tmp_path).rewind(0)
