"""metrics.jsonl: appended, cut back, read even where a kill cut its last line."""

import json
from pathlib import Path

import pytest

from torchhebb.errors import UserError
from torchhebb.files import json_line
from torchhebb.train.log import Log, read_log


def test_lines_come_back_in_order(tmp_path: Path):
    log = Log(tmp_path / "metrics.jsonl")
    assert log.offset == 0 and read_log(tmp_path / "metrics.jsonl") == []
    for step in range(3):
        log.write(kind="example", step=step, value=0.1 * step)
    assert read_log(tmp_path / "metrics.jsonl") == [
        {"kind": "example", "step": step, "value": 0.1 * step} for step in range(3)
    ]


def test_rewound_lines_are_written_again(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    log = Log(path)
    log.write(kind="example", step=0)
    offset = log.offset
    log.write(kind="example", step=1)
    log.write(kind="example", step=2)
    Log(path).rewind(offset)
    assert read_log(path) == [{"kind": "example", "step": 0}]
    log.write(kind="example", step=1)
    assert read_log(path) == [{"kind": "example", "step": 0}, {"kind": "example", "step": 1}]


@pytest.mark.parametrize("lines", [0.0, 0.5, 1.0, 1.5])
def test_a_log_that_lost_lines_says_so_and_goes_on(lines: float, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """What is left of the log is nothing, a part of a line, a line, a line and a part."""
    path = tmp_path / "metrics.jsonl"
    log = Log(path)
    log.write(kind="example", step=0)
    length = log.offset
    log.write(kind="example", step=1)
    offset, content = log.offset, path.read_bytes()
    path.write_bytes(content[: int(lines * length)])
    log.rewind(offset)
    log.write(kind="example", step=2)
    whole = int(lines)
    lost = {"kind": "lost", "bytes": offset - length * whole}
    assert read_log(path) == [
        *[{"kind": "example", "step": step} for step in range(whole)],
        lost,
        {"kind": "example", "step": 2},
    ]
    assert "has lost" in caplog.text


def test_a_line_has_no_numbers_that_json_lacks(tmp_path: Path):
    log = Log(tmp_path / "metrics.jsonl")
    log.write(kind="example", radius=float("inf"), losses=[1.0, float("nan")])
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    found = json.loads(line, parse_constant=pytest.fail)
    assert found.pop("checksum") and found == {"kind": "example", "radius": None, "losses": [1.0, None]}


def test_a_last_line_cut_short_is_left_out(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({"kind": "example", "step": 0}) + "\n" + '{"step"')
    assert read_log(path) == [{"kind": "example", "step": 0}]


def test_a_changed_digit_takes_its_line_alone_and_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "metrics.jsonl"
    log = Log(path)
    for step in range(3):
        log.write(kind="example", step=step, value=0.25)
    path.write_bytes(path.read_bytes().replace(b"0.25", b"0.75", 1))
    assert read_log(path) == [
        {"kind": "example", "step": 1, "value": 0.25},
        {"kind": "example", "step": 2, "value": 0.25},
    ]
    assert "1 of 3 lines are damaged" in caplog.text


def test_without_a_path_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    log = Log(None)
    log.write(kind="example", step=0)
    log.rewind(0)
    assert log.offset == 0 and not list(tmp_path.iterdir())


def test_a_place_that_is_none_is_said_in_one_line(tmp_path: Path):
    with pytest.raises(UserError, match="cannot write .*; free space"):
        Log(tmp_path / "nowhere" / "metrics.jsonl").write(kind="example", step=0)
    with pytest.raises(UserError, match="cannot write"):
        Log(tmp_path).rewind(0)


@pytest.mark.parametrize(
    "line",
    [
        {"stage": 0},
        {"kind": 3},
        {"kind": "readout", "task": "seed 0: readout", "epoch": "1", "loss": 0.5},
        {"kind": "local", "stage": [], "samples": 0, "name": "block1", "loss": 0.5},
        {"kind": "learning", "stage": 0, "samples": 0, "name": 0.5},
    ],
)
def test_a_line_of_other_types_is_damaged(tmp_path: Path, line: dict[str, object], caplog: pytest.LogCaptureFixture):
    (tmp_path / "metrics.jsonl").write_text(json_line(line) + json_line({"kind": "example"}))
    assert [found["kind"] for found in read_log(tmp_path / "metrics.jsonl")] == ["example"]
    assert "1 of 2 lines are damaged" in caplog.text


def test_a_task_that_is_done_again_has_the_lines_of_its_last_time(tmp_path: Path):
    log = Log(tmp_path / "metrics.jsonl")
    for task in ("learning", "readout"):
        log.write(kind="example", task=task, time=1)
    log.write(kind="repeated", task="learning")
    log.write(kind="example", task="learning", time=2)
    found = [(line["task"], line["time"]) for line in read_log(tmp_path / "metrics.jsonl")]
    assert found == [("readout", 1), ("learning", 2)]


def test_a_line_whose_checksum_lost_its_name_is_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "metrics.jsonl"
    log = Log(path)
    for step in range(3):
        log.write(kind="example", step=step)
    first, second, third = path.read_text().splitlines(keepends=True)
    path.write_text(first + second.replace("checksum", "cheaksum") + third)
    assert [line["step"] for line in read_log(path)] == [0, 2]
    assert "1 of 3 lines are damaged" in caplog.text
