"""The shape of the house: which way imports run, what `import torchhebb` needs, how long a file is, no local paths."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import LONG
from torchhebb.nn import blocks

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"

# From the ground up. A module may import its own row and the rows above it in this table; the last row are the doors
# of the house, which see everything and which nothing behind them may import.
ROWS = (
    ("errors", "aliases", "kinds", "bounds", "config", "fields", "files", "memory", "remembered"),
    ("progress", "process", "progress_display"),
    ("functional",),
    ("ops",),
    ("rules", "optim"),
    ("distributed",),
    ("nn",),
    ("data",),
    ("readouts",),
    ("train",),
    ("recipes",),
    ("runs",),
    ("evaluate",),
    ("embedding", "explore", "estimators", "export", "hub"),
    ("search",),
    ("report",),
    ("terminal",),
    ("cli", "__main__", "torchhebb"),
)
LEVEL = {name: level for level, row in enumerate(ROWS) for name in row}
DOORS = ROWS[-1]

# What only a part of the library uses, by import name: the core must run where none of it is installed.
OPTIONAL = (
    *("datasets", "tyro", "rich", "sklearn", "matplotlib", "jinja2", "PIL", "pyarrow", "huggingface_hub", "pandas"),
    *("plotly", "scipy", "art", "optuna", "tensorboard", "onnx", "onnxruntime", "onnxscript"),
)

MACHINE_PATH = re.compile(
    r"(?:(?<![\w.~/-])|(?<=file://))/(?:home|root|work|workspace|tmp|mnt|opt|Users)/\w|\b[A-Z]:\\\w"
)


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the package: dotted name and file."""
    for path in sorted(SOURCE.glob("torchhebb/**/*.py")):
        yield ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"), path


def row_of(module: str) -> str:
    """The name in the table that a dotted name of the package belongs to; the package itself for its own attributes.

    >>> row_of("torchhebb.nn.conv"), row_of("torchhebb.learn"), row_of("torchhebb")
    ('nn', 'torchhebb', 'torchhebb')
    """
    first = [*module.split("."), "torchhebb"][1]
    return first if first in LEVEL else "torchhebb"


def imported(source: str, module: str, *, package: bool) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything of torchhebb that a source imports, inside functions as well."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")
            base = parents[: len(parents) - node.level + package] if node.level else []
            whole = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{whole}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.split(".")[0] == "torchhebb")


def upward(source: str, module: str, *, package: bool = False) -> list[str]:
    """The imports of a module that run upwards, each as one readable line."""
    here = row_of(module)
    return [
        f"{module}:{line} imports {name}"
        for line, name in imported(source, module, package=package)
        if name != "torchhebb.__version__" and LEVEL[row_of(name)] > LEVEL[here]
    ]


def test_every_module_has_a_row() -> None:
    unknown = {name.split(".")[1] for name, _ in modules() if "." in name} - LEVEL.keys()
    assert not unknown, f"give these a row in the table: {sorted(unknown)}"


def test_imports_run_downwards_only() -> None:
    found = [
        line for name, path in modules() for line in upward(path.read_text(), name, package=path.stem == "__init__")
    ]
    assert not found, "\n".join(found)


def test_an_upward_import_added_to_any_module_is_caught() -> None:
    for name, path in modules():
        if row_of(name) not in DOORS:
            mutant = path.read_text() + "\n\ndef late():\n    from torchhebb.cli import main\n"
            assert upward(mutant, name, package=path.stem == "__init__"), name


@pytest.mark.parametrize(
    "statement",
    [
        "import torchhebb.train",
        "import torch, torchhebb.runs.training as run",
        "from torchhebb import train",
        "from torchhebb import functional, learn",
        "from torchhebb.runs.training import run",
        "from ..train import run",
        "from .. import train",
        "def late():\n    from torchhebb.estimators import HebbEncoder",
        "if TYPE_CHECKING:\n    import torchhebb",
    ],
)
def test_checker_catches(statement: str) -> None:
    assert upward(statement, "torchhebb.nn.conv")


@pytest.mark.parametrize(
    "statement",
    [
        "import torch, torchhebb.functional",
        "from torchhebb import functional, __version__",
        "from torchhebb.rules import SoftHebb",
        "from . import linear",
        "from .learning import learn",
        "from ..errors import UserError",
    ],
)
def test_checker_allows(statement: str) -> None:
    assert not upward(statement, "torchhebb.nn.conv")


def import_graph() -> dict[str, set[str]]:
    """Every module with the modules that it imports, at its top or inside functions."""
    known = {name for name, _ in modules()}
    graph: dict[str, set[str]] = {}
    for name, path in modules():
        graph[name] = set()
        for _, target in imported(path.read_text(), name, package=path.stem == "__init__"):
            while target not in known:
                target = target.rpartition(".")[0]
            graph[name] |= {target} - {name}
    return graph


def find_cycle(graph: dict[str, set[str]]) -> list[str]:
    """A path of modules from one back to itself; nothing where there is none.

    >>> find_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}), find_cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()})
    (['b', 'c', 'b'], [])
    """
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for target in sorted(graph[name]):
            if found := visit(target, [*path, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := visit(name, []))), [])


def test_no_import_runs_in_a_circle() -> None:
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    graph = import_graph()
    assert not find_cycle(graph), " imports ".join(find_cycle(graph))
    graph["torchhebb.nn.saving"].add("torchhebb.nn.network")
    assert find_cycle(graph)


def class_questions(source: str, classes: set[str]) -> list[int]:
    """The lines of a source that ask whether something is one of these classes."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("isinstance", "issubclass")
        ):
            asked: list[ast.AST] = [*node.args[1:]]
        elif isinstance(node, ast.MatchClass):
            asked = [node.cls]
        elif isinstance(node, ast.Compare) and "type(" in ast.unparse(node):
            asked = [node.left, *node.comparators]
        else:
            continue
        names = {part.id for part in asked for part in ast.walk(part) if isinstance(part, ast.Name)}
        names |= {part.attr for part in asked for part in ast.walk(part) if isinstance(part, ast.Attribute)}
        if names & classes:
            found.append(node.lineno)
    return found


def test_nobody_outside_asks_for_the_class_of_a_block() -> None:
    classes = {name for name in blocks.__all__ if name[0].isupper()}
    for question in (
        "isinstance(b, ConvBlock | LinearBlock)",
        "type(b) is nn.ConvBlock",
        "issubclass(k, (ConvBlock,))",
    ):
        assert class_questions(question, classes)
    assert class_questions("match b:\n    case ConvBlock():\n        pass", classes)
    assert not class_questions("isinstance(x, Tensor); ConvBlock(3, 5)", classes)
    found = [
        f"{name}:{line}"
        for name, path in modules()
        if not name.startswith("torchhebb.nn.blocks")
        for line in class_questions(path.read_text(), classes)
    ]
    assert not found, f"ask the block itself, see nn/blocks/base.py: {found}"


def test_relative_imports_of_a_package_start_at_the_package() -> None:
    assert not upward("from .conv import HebbConv2d", "torchhebb.nn", package=True)
    assert upward("from ..train import run", "torchhebb.nn", package=True)


def test_the_core_needs_torch_numpy_and_safetensors_alone() -> None:
    program = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {OPTIONAL!r}:
            raise ImportError(f"{{name}} is not there")

sys.meta_path.insert(0, Absent())
import torch, torchhebb
from torchhebb.nn import HebbConv2d
layer = HebbConv2d(3, 8, 3)
torchhebb.learn(layer, torch.rand(2, 3, 8, 8))
assert layer.weight.grad.abs().sum() > 0
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def unexplained_length(source: str) -> bool:
    """Whether a source exceeds 400 lines without a sentence in its docstring that starts with "Long because"."""
    return len(source.splitlines()) > 400 and "Long because" not in (ast.get_docstring(ast.parse(source)) or "")


def test_long_files_say_why() -> None:
    assert unexplained_length("x = 1\n" * 401) and not unexplained_length("x = 1\n" * 400)
    assert not unexplained_length('"""Long because one table."""\n' + "x = 1\n" * 401)
    files = [path for top in ("src", "tests", "benchmarks") for path in sorted((ROOT / top).rglob("*.py"))]
    found = [str(path.relative_to(ROOT)) for path in files if unexplained_length(path.read_text())]
    assert not found, f"above 400 lines without 'Long because ...' in the docstring: {found}"


def repository_texts() -> Iterator[Path]:
    """Every text file of the repository, without environments, caches, runs and what git keeps."""
    for top in sorted(ROOT.iterdir()):
        if top.is_file():
            if top.name != ".git":  # of a work tree beside its repository
                yield top
        elif top.name in {".ci", ".github", "src", "tests", "benchmarks", "examples", "docs", "golden", "results"}:
            files = (path for path in sorted(top.rglob("*")) if path.is_file())
            yield from (path for path in files if not {"__pycache__", "_build"} & {*path.parts})


def test_no_path_of_a_machine() -> None:
    for sample in ("home/me/x", "tmp/y", "Users/me"):
        assert MACHINE_PATH.search(f"open('/{sample}')") and MACHINE_PATH.search(f"file:///{sample}")
    assert not MACHINE_PATH.search("https://example.org/home/me, ./tmp/y, ~/opt/x, src/opt/x, #!/usr/bin/env")
    found = []
    for path in repository_texts():
        content = path.read_bytes()
        if b"\0" not in content and (hit := MACHINE_PATH.search(content.decode())):
            found.append(f"{path.relative_to(ROOT)}: {hit.group()}...")
    assert not found, "\n".join(found)


def test_the_files_that_are_tested_first_are_there():
    assert LONG and all((ROOT / "tests" / name).is_file() for name in LONG)
