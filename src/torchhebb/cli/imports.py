"""The option --import of every command, for modules with custom classes."""

import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from torchhebb.config import own_modules
from torchhebb.errors import UserError

OPTION = "--import"


def import_named(arguments: Sequence[str]) -> list[str]:
    """Import what every `--import MODULE` names, and return the other arguments.

    Modules of the current folder are found as well.  Nothing but what is named here is imported: a run folder or a
    weights file of a stranger cannot name a module.
    Raises UserError for a module that cannot be found, or fails while it is imported.
    """
    left: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == OPTION:
            _import(next(words, ""))
        elif word.startswith(f"{OPTION}="):
            _import(word.removeprefix(f"{OPTION}="))
        else:
            left.append(word)
    return left


def command_line(command: str, arguments: Sequence[str], *used: Any) -> str:
    """The words of a command as they can be given again, with the modules that `used`, recipes and questions, need."""
    options = [word for module in own_modules(used) for word in (OPTION, module)]
    return shlex.join(["torchhebb", command, *arguments, *options])


def _import(name: str) -> None:
    if not name.replace(".", "_").isidentifier():
        raise UserError(f"{OPTION} takes the name of a module, such as mine or mine.rules, got {name!r}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        import_module(name)
    except Exception as error:  # whatever a module of the user's own raises
        reason = " ".join(str(error).split()) or "it says nothing more"
        raise UserError(f"{OPTION} {name} failed with {type(error).__name__}: {reason}") from error
