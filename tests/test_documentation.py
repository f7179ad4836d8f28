"""Every command and every piece of Python in the documentation is one that works.

Commands are parsed by the parsers of the product, up to where the work would begin; Python is run.
The build of the site runs the tutorials.
"""

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.tiny import tiny_recipe
from torchhebb.cli import COMMANDS, main
from torchhebb.data import Store
from torchhebb.nn import Network
from torchhebb.optim import NormAdaptiveSGD
from torchhebb.recipes import create_model, get_recipe
from torchhebb.runs import TrainOptions, run_recipe
from torchhebb.train import Readout

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("[!_]*/*.md")])
PAGES = [page for page in PAGES if "reference/api" not in page.as_posix() and page.name != "commands.md"]

PLACEHOLDERS = {
    "RECIPE": "softhebb2023-digits",
    "PAPER": "softhebb2023",
    "QUESTION": "accuracy",
    "SOURCE": "digits",
    "FILE": "features.parquet",
    "IMAGE...": "photo.png",
    "RUN...": "RUN",
}
_COMMAND = re.compile(r"(?:\$ )?(?:torchrun .*?-m )?torchhebb (.*)")
_FENCE = re.compile(r"^(`{3,}|:{3,})(.*)$")


def commands(page: Path) -> Iterator[tuple[int, str]]:
    """The commands of a page with their line numbers, from blocks of code that are not Python and from running text."""
    text = page.read_text(encoding="utf-8")
    lines, language, prose = text.splitlines(), None, []
    for number, line in enumerate(lines, 1):
        if fence := _FENCE.match(line):
            language = fence[2].strip() or "text" if language is None else None
        shown = language in ("text", "sh", "bash", "console") or (language is None and line.startswith("    "))
        if shown and (found := _COMMAND.fullmatch(line.strip())):
            words = found[1]
            while words.endswith("\\") and number < len(lines):
                words, number = words[:-1] + lines[number].strip(), number + 1
            yield number, words
        if language is None and not line.startswith("    "):
            prose.append(line)
        else:
            prose.append("")
    for match in re.finditer(r"(?<!`)`torchhebb ([a-z]+[^`]*)`", "\n".join(prose)):
        yield "\n".join(prose)[: match.start()].count("\n") + 1, " ".join(match[1].split())


def arguments(words: str) -> list[str]:
    """The arguments of a documented command: without comments and marks of options, with values for placeholders."""
    words = re.sub(r"[\[\]]", "", words.removesuffix("&").replace("[--", " ").strip())
    return [PLACEHOLDERS.get(word, word) for word in shlex.split(words, comments=True) if word != "..."]


# Of a command that stands in several places, the last of them.
CASES = [*{words: (page, number, words) for page in PAGES for number, words in commands(page)}.values()]


class Parsed(Exception):
    """The command was understood; its work would begin."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small finished run on the digits."""
    folder = tmp_path_factory.mktemp("documentation") / "run"
    recipe = tiny_recipe(seeds=1, baselines=(), readout=Readout(epochs=1))
    run_recipe(recipe, TrainOptions(), folder=folder, store=Store(folder.parent / "store"))
    return folder


@pytest.fixture
def workplace(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with images, whose commands stop where their work would begin."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("photo.png")
    for name in ("mine", "my_module", "my_rules"):
        Path(f"{name}.py").touch()
    for number in range(3):
        (tmp_path / "PHOTOS").mkdir(exist_ok=True)
        Image.new("RGB", (40, 40 + number), (number, 0, 0)).save(f"PHOTOS/{number}.png")
    monkeypatch.setattr("torchhebb.search.read_best", lambda _: get_recipe("softhebb2023-digits"))
    for module in [module for name, module in sys.modules.items() if name.startswith("torchhebb.cli.")]:
        if hasattr(module, "parse"):
            monkeypatch.setattr(module, "parse", _stopping(module.parse))
    return tmp_path


def _stopping(parse: Any) -> Any:
    def parsed(*words: Any, **default: Any) -> Any:
        parse(*words, **default)
        raise Parsed

    return parsed


def test_commands_are_found() -> None:
    assert len(CASES) > 80
    assert {words.split()[0] for _, _, words in CASES} >= set(COMMANDS)


@pytest.mark.parametrize(("page", "number", "words"), CASES, ids=[f"{page.name}:{number}" for page, number, _ in CASES])
def test_a_documented_command_is_understood(
    page: Path, number: int, words: str, workplace: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = arguments(words)
    for word in argv[1:]:
        if re.fullmatch(r"[A-Z_]*RUN|MODEL|runs/[\w.-]+", word) or (
            argv[0] == "evaluate" and word in ("digits", "small")
        ):
            shutil.copytree(run, workplace / word, dirs_exist_ok=True)
    try:
        code = main(argv)
    except (Parsed, SystemExit):
        return
    assert code == 0 or len(argv) == 1, f"{page}:{number}: torchhebb {words}\n{capsys.readouterr().err}"


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


WITH_PYTHON = [page for page in PAGES if python_blocks(page) and page.stem != "README"]  # see test_examples.py


@pytest.mark.parametrize("page", WITH_PYTHON, ids=[page.stem for page in WITH_PYTHON])
def test_the_python_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All blocks of a page one after another, in a folder that holds what the commands between them have made."""
    monkeypatch.chdir(tmp_path)
    names = _names_for(page.stem, tmp_path, monkeypatch)
    for block in python_blocks(page):
        exec(compile(block, page.name, "exec"), names)


def _names_for(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the text around the blocks of a page says is there."""
    if page == "hardware":
        (folder / "golden").symlink_to(ROOT / "golden")
    if page == "distributed":
        network = create_model("softhebb2023-digits")
        batches = torch.rand(2, 10, 1, 8, 8)
        return {"network": network, "batches": batches, "optimizer": NormAdaptiveSGD(network.learning_groups())}
    if page == "elsewhere":
        recipe = get_recipe("softhebb2023-digits")
        assert isinstance(recipe.readout, Readout)
        learning, readout = replace(recipe.learning, fraction=0.05), replace(recipe.readout, epochs=1)
        narrow = recipe.architecture.with_blocks(lambda block: block.narrowed(8))
        recipe = replace(recipe, architecture=narrow, seeds=1, baselines=(), learning=learning, readout=readout)
        trained = folder / "runs" / "softhebb2023-digits-20261126-120000"
        run_recipe(recipe, TrainOptions(), folder=trained, store=Store(folder / "store"))
        assert main(["export", str(trained), "--out", "digits.onnx"]) == 0
        # The hub is the one thing that is not here.
        monkeypatch.setattr(Network, "push_to_hub", lambda self, name: None)
        opened = Network.from_pretrained.__func__  # type: ignore[attr-defined]
        monkeypatch.setattr(Network, "from_pretrained", classmethod(lambda kind, name: opened(kind, "for-the-hub")))
        return {"pixels": torch.rand(2, 1, 8, 8).numpy()}
    return {}
