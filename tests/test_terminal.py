"""What reaches a terminal: no control characters, every name in every encoding, and a line where output fails."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from torchhebb.cli import COMMANDS, main
from torchhebb.progress_display import BarProgress, PlainProgress
from torchhebb.terminal import print_table


def test_control_characters_are_escaped_in_tables(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("image", "class"), [("a\tb.png", "cat\x1b]0;x\x07\n")])
    assert capsys.readouterr().out == "a\\tb.png\tcat\\x1b]0;x\\x07\\n\n"


def test_control_characters_are_escaped_in_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "no\x1b[2J"]) == 2
    assert "no\\x1b[2J" in (said := capsys.readouterr().err) and "\x1b" not in said


def test_a_disk_that_fails_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(arguments: list[str]) -> int:
        raise OSError(28, "No space left on device", "x\n.json")

    monkeypatch.setitem(COMMANDS, "list", fail)
    assert main(["list"]) == 2
    assert capsys.readouterr().err == "torchhebb: x\\n.json: No space left on device\n"


def test_an_ascii_terminal_shows_names_that_it_lacks() -> None:
    code = "from torchhebb.cli import main\nfrom torchhebb.cli import COMMANDS\n"
    code += "COMMANDS['list'] = lambda _: print('caf\\xe9 \\udcff') or 0\nraise SystemExit(main(['list']))"
    done = _python(code, stdout=subprocess.PIPE, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (0, b"caf\\xe9 \\udcff\n"), done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_output_is_one_line() -> None:
    with open("/dev/full", "wb") as full:
        done = _python("from torchhebb.cli import main\nraise SystemExit(main(['--version']))", stdout=full)
    assert (done.returncode, done.stderr) == (2, b"torchhebb: No space left on device\n")


def _python(code: str, *, stdout: object, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-c", code],
        stdout=stdout,  # type: ignore[call-overload]
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
        check=False,
    )


def test_progress_is_no_part_of_the_output() -> None:
    code = "from torchhebb.progress_display import make_progress\np = make_progress()\n"
    code += "p.start('features', 2, 'images'); p.advance(2); p.finish(); p.close(); print('result')"
    done = _python(code, stdout=subprocess.PIPE)
    assert done.stdout == b"result\n" and b"features: 2/2 images" in done.stderr


def test_a_task_of_nothing_leaves_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The pass of a network that is not to learn; a task of unknown size that did something leaves one."""
    screen = io.StringIO()
    bars = BarProgress(Console(file=screen, force_terminal=True, width=100))
    for progress in (bars, PlainProgress()):
        for label, total, done in (("learning", 0, 0), ("features", 3, 3), ("stream", 0, 2)):
            progress.start(label, total, "images")
            progress.advance(done)
            progress.finish()
        progress.close()
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["features", "stream"]
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    as_it_is_left = shown.rpartition("\r")[2].splitlines()
    assert [line.split()[1] for line in as_it_is_left] == ["features", "stream"]
