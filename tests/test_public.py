"""What is public: names in `__all__`, found on the package; documentation and examples import nothing else."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import torchhebb

ROOT = Path(__file__).resolve().parent.parent
PUBLIC = ("torchhebb", *(f"torchhebb.{name}" for name in torchhebb.PACKAGES))
CELL = re.compile(r"```(?:python|\{code-cell\})\n(.*?)```", re.DOTALL)
DOCTEST = re.compile(r"^>>> (.*)$", re.MULTILINE)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there(name: str) -> None:
    package = importlib.import_module(name)
    assert package.__all__ and len(set(package.__all__)) == len(package.__all__)
    for public in package.__all__:
        assert not public.startswith("_") and getattr(package, public) is not None


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_class_and_function_shows_an_example(name: str) -> None:
    package = importlib.import_module(name)
    for public in package.__all__:
        value = getattr(package, public)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert ">>> " in (inspect.getdoc(value) or ""), f"{name}.{public} has no example"


def test_packages_are_attributes_of_a_plain_import() -> None:
    program = (
        "import torchhebb; names = {*torchhebb.__all__, *torchhebb.PACKAGES}; "
        "print(torchhebb.optim.NormAdaptiveSGD.__name__, names <= {*dir(torchhebb)})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["NormAdaptiveSGD", "True"], done.stderr


def sources() -> Iterator[tuple[str, str]]:
    """Name and Python code of every example, and of every code block that a page shows."""
    for path in sorted((ROOT / "examples").glob("*.py")):
        yield path.name, path.read_text(encoding="utf-8")
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        if not {"_build", "api"} & {*page.parts}:
            for number, match in enumerate(CELL.finditer(page.read_text(encoding="utf-8")), 1):
                if ":tags: [remove-input]" not in match[1]:
                    yield f"{page.relative_to(ROOT)}, block {number}", match[1]


def private_imports(code: str) -> list[str]:
    """The imports of torchhebb in a piece of code that are not public."""
    lines = [line for line in code.splitlines() if not line.lstrip().startswith(("%", "!", ":tags"))]
    found = []
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] == "torchhebb" and a.name not in PUBLIC]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "torchhebb":
            public = getattr(importlib.import_module(node.module or ""), "__all__", ())
            names = [alias.name for alias in node.names]
            known = [n for n in names if n in public or f"{node.module}.{n}" in PUBLIC]
            if node.module not in PUBLIC or len(known) < len(names):
                found.append(f"{node.module}: {', '.join(names)}")
    return found


def test_documentation_and_examples_import_public_names_alone() -> None:
    pieces = [(name, code) for name, code in sources() if "%%bash" not in code and ">>>" not in code]
    assert len(pieces) > 30
    found = {name: wrong for name, code in pieces if (wrong := private_imports(code))}
    assert not found, found


@pytest.mark.parametrize(
    "code", ["import torchhebb.ops", "from torchhebb.train.loop import run_loop", "from torchhebb.nn import _x"]
)
def test_a_private_import_is_seen(code: str) -> None:
    assert private_imports(code)
