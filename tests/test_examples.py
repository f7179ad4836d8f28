"""The examples and the Python of the README run as they stand."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import torch

ROOT = Path(__file__).resolve().parent.parent


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", ROOT / "examples" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_has_a_test_here():
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == {"new_rule", "by_hand", "pipeline"}


def test_a_new_rule_learns(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHHEBB_STORE", str(tmp_path / "store"))
    # Rounding, by the number of threads and the way a layer multiplies, moves it.
    assert example("new_rule").main(tmp_path / "run") > 97.5


def test_learning_by_hand():
    assert example("by_hand").main() > 97.0


def test_a_pipeline_of_scikit_learn():
    assert example("pipeline").main() > 97.0


def test_the_python_of_the_readme_runs():
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(code.splitlines()) <= 12
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    features = names["features"]
    assert isinstance(features, torch.Tensor)
    assert len(features) == 449 and torch.isfinite(features).all()
