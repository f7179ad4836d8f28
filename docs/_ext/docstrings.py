"""Docstrings as they read in the source: single backticks are code, and indented lines are set as they stand."""

import ast
import importlib
import re
from pathlib import Path
from typing import Any

from sphinx.pycode import ModuleAnalyzer

_LITERAL = re.compile(r"(?<![`:\\])`([^`\n]+)`(?!`)")
_PARTS = ("Args:", "Example:", "Returns:", "Returns", "Raises", "Source:", "Errors:", "Measures:", "Curves")


def as_written(_app: Any, what: str, name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Turn the lines of a docstring into reStructuredText, in place."""
    if what == "data":
        lines[:] = _constant_docstring(*name.rsplit(".", 1)) or lines
    lines[:] = converted(lines)


def _constant_docstring(package: str, name: str) -> list[str]:
    """The text below a constant in the module from which a package imports it; autodoc finds that of its type only."""
    tree = ast.parse(Path(importlib.import_module(package).__file__ or "").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and any(alias.name == name for alias in node.names):
            return ModuleAnalyzer.for_module(node.module).find_attr_docs().get(("", name), [])
    return []


def converted(lines: list[str]) -> list[str]:
    """The lines as reStructuredText.

    >>> converted(["The update is `dw`, with |x| < 1:", "", "    dw = y * x", "", "Raises ValueError for a."])
    ['The update is ``dw``, with \\\\|x\\\\| < 1:', '', '::', '', '    dw = y * x', '', '**Raises** ValueError for a.']
    """
    found: list[str] = []
    block = doctest = False
    for line in lines:
        indented = line.startswith("    ") and bool(line.strip())
        if line.startswith(">>>"):
            if found and found[-1]:
                found.append("")
            doctest = True
        elif not line.strip():
            doctest = False
        if indented and not block and not doctest and not (found and found[-1].strip()):
            found += ["::", ""]
            block = True
        elif line.strip() and not indented:
            if found and found[-1].strip() and not doctest and (block or line.startswith(_PARTS)):
                found.append("")
            block = False
        found.append(line if block or doctest else _prose(line))
    return found


def _prose(line: str) -> str:
    """A line of running text: code in double backticks, marks that reStructuredText would take as its own escaped."""
    pieces, end = [], 0
    for match in _LITERAL.finditer(line):
        pieces += [_escaped(line[end : match.start()]), f"``{match.group(1)}``"]
        end = match.end()
    text = "".join([*pieces, _escaped(line[end:])])
    for part in _PARTS:
        if text.lstrip().startswith(part):
            start = len(text) - len(text.lstrip())
            return f"{text[:start]}**{part}**{text[start + len(part) :]}"
    return text


def _escaped(text: str) -> str:
    if "``" in text:
        return text
    return re.sub(r"([*|]|_(?=\W|$))", r"\\\1", text)


def setup(app: Any) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", as_written)
    return {"parallel_read_safe": True}
