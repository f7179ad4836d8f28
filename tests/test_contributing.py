"""The examples of CONTRIBUTING.md: a rule, a block, a data set, a recipe and a question, in a copy of the package.

The copy shows what an addition touches: one file or one row each, and a name in a list.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sklearn.datasets import load_digits

import torchhebb
from tests.data.made import write

ROOT = Path(__file__).parent.parent
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def example(title: str, language: str = "python") -> str:
    """The first block of code under a heading."""
    section = CONTRIBUTING.split(f"\n## {title}\n")[1].split("\n## ")[0]
    found = re.search(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def insert(path: Path, before: str, text: str) -> None:
    source = path.read_text(encoding="utf-8")
    assert source.count(before) == 1, (path, before)
    path.write_text(source.replace(before, text + before), encoding="utf-8")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the package that has all additions, and the data set."""
    folder = tmp_path_factory.mktemp("contributing")
    source = Path(torchhebb.__file__).parent
    copy = shutil.copytree(source, folder / "torchhebb", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "rules" / "cubes.py").write_text(example("Add a learning rule"))
    append(copy / "rules" / "__init__.py", 'from torchhebb.rules.cubes import CubeHebb\n__all__.append("CubeHebb")\n')
    (copy / "nn" / "blocks" / "plain.py").write_text(example("Add a block"))
    append(
        copy / "nn" / "blocks" / "__init__.py",
        'from torchhebb.nn.blocks.plain import PlainConvBlock\n__all__.append("PlainConvBlock")\n',
    )
    insert(
        copy / "data" / "sources" / "catalogue.py",
        '    "mnist": HubName(',
        example("Add a data set", "text"),
    )
    insert(copy / "recipes" / "softhebb2022.py", "RECIPES = (\n", example("Add a recipe") + "\n\n")
    recipes = copy / "recipes" / "softhebb2022.py"
    recipes.write_text(recipes.read_text().replace("RECIPES = (\n", "RECIPES = (\n    kuzushiji,\n"))
    (copy / "evaluate" / "questions" / "lost_features.py").write_text(example("Add a question"))
    digits = load_digits()
    images, labels = (digits.images * 255 / 16).astype("uint8"), digits.target.tolist()
    for split, here in (("train", slice(0, 600)), ("test", slice(600, 800))):
        path = folder / "data" / "kuzushiji" / "data" / f"{split}-00000-of-00001.parquet"
        write(path, list(images[here]), labels[here], 10)
    return folder


SCRIPT = """
from dataclasses import replace
from pathlib import Path
import torchhebb
from torchhebb.cli import main
from torchhebb.nn.blocks import PlainConvBlock
from torchhebb.rules import CubeHebb
recipe = torchhebb.get_recipe("softhebb2022-kuzushiji")
architecture = replace(recipe.architecture, blocks=(PlainConvBlock(12, rule=CubeHebb(2.0)),))
torchhebb.run(replace(recipe, architecture=architecture), folder=Path("run"))
assert main(["evaluate", "lost_features", "run"]) == 0
assert main(["list"]) == 0
assert main(["evaluate"]) == 2  # it prints the questions
"""


@pytest.fixture(scope="module")
def printed(package: Path) -> str:
    """What a process prints that uses all additions, with the copy of the package and its data."""
    places = {"PYTHONPATH": package, "TORCHHEBB_STORE": package / "store", "TORCHHEBB_DATA": package / "data"}
    environment = os.environ | {name: str(place) for name, place in places.items()}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=package, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_addition_works_in_a_run(package: Path, printed: str) -> None:
    config = json.loads((package / "run" / "config.json").read_text())["recipe"]
    (block,) = config["architecture"]["blocks"]
    assert config["data"] == "kuzushiji" and block["type"] == "PlainConvBlock"
    assert block["rule"] == {"type": "CubeHebb", "strength": 2.0}
    result = json.loads((package / "run" / "lost_features.json").read_text())
    accuracies = {measure["name"]: measure["values"][0] for measure in result["measures"]}
    assert accuracies["10_percent_lost_test_accuracy"] > accuracies["90_percent_lost_test_accuracy"]
    assert accuracies["10_percent_lost_test_accuracy"] > 50 and result["seeds"] == [0, 1]


def test_recipe_and_question_are_listed_by_the_commands(printed: str) -> None:
    assert "softhebb2022-kuzushiji" in printed and "Test accuracy of the run's readout" in printed


def test_a_question_of_the_shape_of_a_study_has_at_most_60_lines() -> None:
    assert len(example("Add a question").splitlines()) <= 60


def test_each_addition_is_one_file_or_one_row() -> None:
    assert len(example("Add a data set", "text").splitlines()) == 1
    for title in ("Add a learning rule", "Add a block", "Add a question"):
        assert example(title).startswith('"""') and example(title).count("\nclass ") == 1
    assert len(re.findall(r"^def ", example("Add a recipe"), re.MULTILINE)) == 1
