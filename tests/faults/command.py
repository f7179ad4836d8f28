"""The command line in this process: what it printed, its exit code, and whether a refusal is one line."""

import contextlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.campaign import Kind, Outcome, bad_line
from torchhebb.cli import main


@dataclass(frozen=True)
class Said:
    """What a command said."""

    code: int
    out: str
    error: str


def say(arguments: Sequence[str], folder: Path | None = None) -> Said:
    """Run a command, in a folder where one is given.  What it raises passes through."""
    out, error = io.StringIO(), io.StringIO()
    before = Path.cwd()
    try:
        if folder is not None:
            os.chdir(folder)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            try:
                code = main([*arguments])
            except SystemExit as stop:  # the parser's way to end
                code = stop.code if isinstance(stop.code, int) else 1
    finally:
        os.chdir(before)
    return Said(code, out.getvalue(), error.getvalue())


def refusal(said: Said) -> Outcome:
    """The outcome of a command that did not end with 0: one line, or what is wrong with it."""
    lines = [line for line in said.error.splitlines() if line.startswith("torchhebb: ")]
    if said.code != 2:
        return Outcome(Kind.TRACEBACK, f"exit code {said.code}: {said.error[-300:]!r}")
    if len(lines) != 1 or said.error.splitlines()[-1] != lines[0]:
        return Outcome(Kind.TRACEBACK, f"not one line: {said.error[-300:]!r}")
    if (wrong := bad_line(lines[0])) is not None or not lines[0].isprintable():
        return Outcome(Kind.TRACEBACK, f"{wrong or 'control characters'}: {lines[0]!r}")
    return Outcome(Kind.LINE, lines[0])
