"""Parsing of command-line arguments into dataclasses."""

import contextlib
import io
import re
from itertools import groupby
from typing import Any

import tyro

from torchhebb.errors import UserError

DEFAULT_RECIPE = "softhebb2023-digits"


def parse(kind: Any, arguments: list[str], program: str, **default: Any) -> Any:
    """Flags into a dataclass; a mistake becomes a UserError of one line."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(kind, prog=program, args=arguments, config=(tyro.conf.AvoidSubcommands,), **default)
    except SystemExit as stop:
        if not stop.code:
            raise
        # A title, the message, a rule, help: in a box of "│" and "─", or under "-" where the output is not UTF-8.
        _, *lines = (line.strip(" │╭╮╰╯") for line in said.getvalue().splitlines() if line.strip())
        parts = [list(part) for rule, part in groupby(lines, lambda line: not line.strip("─-")) if not rule]
        flags = ", ".join(line for part in parts[1:] for line in part if line.startswith("--"))
        message = " ".join(parts[0]).rstrip(".")
        # A bound of a setting inside another: "Error parsing evaluator.probe: pool must ..." is of --probe.pool.
        message = re.sub(r"^Error parsing \w+\.([\w.]+): ", r"\1.", message)
        raise UserError(f"{message}; see {flags + ' in ' if flags else ''}{program} --help") from None


def value_after(name: str, arguments: list[str]) -> str | None:
    """The value of a flag that gives other flags their defaults, so that it is read before all of them.

    >>> value_after("--data", ["--size", "8", "--data", "digits"]), value_after("--data", ["--data=digits"])
    ('digits', 'digits')
    """
    for flag, value in zip(arguments, [*arguments[1:], ""], strict=False):
        if flag == name:
            return value
        if flag.startswith(f"{name}="):
            return flag.removeprefix(f"{name}=")
    return None
