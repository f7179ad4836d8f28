"""Errors for a user's mistakes, with one-line messages."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from typing import Any

_LISTED = 12  # known names in one line
_SHOWN = 80
_LONGEST = 900  # characters of a message, which may quote what a user gave
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")


class UserError(ValueError):
    r"""Bad input from a user: the message names the value and what is allowed. The command line exits with code 2.

    It is one line, whatever a stranger's names hold: control characters are written as in Python, and the middle of a
    very long message is left out.

    >>> str(UserError("no column a\nb"))
    'no column a\\nb'
    >>> len(str(UserError("no column " + 5000 * "x")))
    903
    """

    def __str__(self) -> str:
        text = printable(super().__str__())
        return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 200]}...{text[-200:]}"


class NotImportedError(UserError):
    """A file names a class of a module of the user's own that is not imported."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for an unknown name, with the most similar names that exist, or the first ones.

    >>> str(unknown_name("recipe", "softheb2023-digits", ["softhebb2023-digits", "softhebb2023-mnist"]))
    "unknown recipe 'softheb2023-digits'; nearest: softhebb2023-digits, softhebb2023-mnist"
    """
    known = sorted(known)
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    others = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    hint = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(known[:_LISTED])}{others}"
    given = repr(name) if len(name) <= _SHOWN else f"{name[:_SHOWN]!r}..."
    return UserError(f"unknown {kind} {given}; {hint}")


def printable(text: str) -> str:
    r"""Text for one line of a terminal or one cell of a table: control characters are escaped as in Python.

    >>> print(printable("cat\x1b[2J\tdog"))
    cat\x1b[2J\tdog
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def without_controls(page: str) -> str:
    r"""A page in which control characters, and bytes of names that are no text, are written as in Python.

    >>> print(without_controls("cat\x1b[2J"))
    cat\x1b[2J
    """
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), page)


def need(package: str, why: str) -> Any:
    """Import `package`, or say in one line what it is needed for."""
    try:
        return import_module(package)
    except ImportError as error:
        distribution = {"PIL": "pillow", "sklearn": "scikit-learn"}.get(package.split(".")[0], package.split(".")[0])
        raise UserError(f"{why} needs the package {distribution}: pip install {distribution}") from error
