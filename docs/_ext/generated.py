"""Pages made while the site is built: a page of the reference for every public package, and the commands' own help."""

import contextlib
import importlib
import inspect
import io
import os
import types
from pathlib import Path
from typing import Any

from torchhebb import PACKAGES


def write_pages(app: Any) -> None:
    """Write reference/api/*.md and reference/commands.md, where their text has changed."""
    folder = Path(app.srcdir) / "reference"
    (folder / "api").mkdir(exist_ok=True)
    for name in ("torchhebb", *(f"torchhebb.{name}" for name in PACKAGES)):
        _write(folder / "api" / f"{name}.md", _package_page(name))
    _write(folder / "commands.md", _commands_page())


def _package_page(name: str) -> str:
    """What a package is, the names in its `__all__`, and the documentation of each."""
    package = importlib.import_module(name)
    lines = [f"# {name}", "", "```{eval-rst}", f".. automodule:: {name}", "   :no-index:", "   :no-members:", "```", ""]
    lines += [f"- {{py:obj}}`{public} <{name}.{public}>`" for public in package.__all__]
    for public in package.__all__:
        value = getattr(package, public)
        lines += ["", "```{eval-rst}", f".. {_directive(value)}:: {name}.{public}"]
        if name != _home(public, value):
            lines.append("   :no-index:")
        lines.append("```")
    return "\n".join([*lines, ""])


def _home(public: str, value: Any) -> str:
    """The package whose page is the target of links to a name that several packages export: the one that defines it."""
    names = ["torchhebb", *(f"torchhebb.{name}" for name in PACKAGES)]
    exporting = [name for name in names if getattr(importlib.import_module(name), "__all__", ()).count(public)]
    defining = [name for name in exporting if f"{getattr(value, '__module__', '')}.".startswith(f"{name}.")]
    return max(defining, key=len) if defining else exporting[0]


def _directive(value: Any) -> str:
    """How autodoc documents a value; an alias of a type is data."""
    if isinstance(value, types.GenericAlias | types.UnionType):
        return "autodata"
    return "autoclass" if inspect.isclass(value) else "autofunction" if callable(value) else "autodata"


def _commands_page() -> str:
    from torchhebb.cli import COMMANDS

    lines = ["# Command line", "", "What each command prints for `--help`, as the installed version says it.", ""]
    lines += ["```text", _help([]), "```", ""]
    for command in COMMANDS:
        lines += [f"## torchhebb {command}", "", "```text", _help([command]), "```", ""]
    return "\n".join(lines)


def _help(command: list[str]) -> str:
    """What `torchhebb COMMAND --help` prints on a terminal 86 characters wide, without colours."""
    from torchhebb.cli import main

    os.environ |= {"COLUMNS": "86", "NO_COLOR": "1", "TERM": "dumb"}
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main([*command, "--help"])
    return said.getvalue().rstrip()


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def setup(app: Any) -> dict[str, bool]:
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True}
