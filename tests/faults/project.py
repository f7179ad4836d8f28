"""What a user has after some days, small: images, runs that are finished and stopped, answers, a search, embeddings.

Every command that reads any of it, and what it gives from an undamaged project, to compare with.
"""

import json
import os
import pickle
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import torchhebb.embedding.shards
from tests.data.made import write
from tests.faults.campaign import in_child
from tests.faults.command import Said, say
from tests.faults.killer import killed
from tests.tiny import learned, untimed
from torchhebb.data import load_data

IMPORTED_BY_COMMANDS = (
    *("torch._dynamo", "tyro", "optuna", "jinja2", "PIL.PngImagePlugin", "sklearn.manifold", "plotly.graph_objects"),
    *("matplotlib.figure", "matplotlib.backends.backend_svg", "mpl_toolkits.mplot3d", "torchhebb.report.page"),
)
"""Once, so that no case pays for it again."""
IMAGES = 38
SMALL = ("--learning.epochs", "4", "--readout.strengths", "0.1", "1", "--device", "cpu", "--precision", "float32")
SEARCH = (
    *("search", "softhebb2023-digits", "--data", "parquet:photos.parquet", "--device", "cpu"),
    *("--architecture.blocks.0.channels", "2", "--architecture.blocks.1.channels", "3", "--readout.epochs", "1"),
    *("--space", "readout.lr=0.001:1:log", "--held-out", "0.3", "--out", "search"),
)


@dataclass(frozen=True)
class Command:
    """One command line, and what it gives: from the project's folder and what was said to something comparable."""

    arguments: tuple[str, ...]
    result: Callable[[Path, Said], Any]


def printed(folder: Path, said: Said) -> str:
    return said.out


def answer(name: str, folder: Path, said: Said) -> Any:
    """What an answer holds, without what tells time."""
    value = json.loads((folder / name).read_bytes())
    return {name: value[name] for name in ("recipe", "question", "measures", "curves", "seeds", "data", "notes")}


def page(name: str, folder: Path, said: Said) -> str:
    """A page without times."""
    return re.sub(r"[\d.,]+(e-\d+)? (s|ms|seconds|minutes)\b", "TIME", (folder / name).read_text(encoding="utf-8"))


def text(name: str, folder: Path, said: Said) -> str:
    return re.sub(r"the run took [\d,]+ s", "TIME", (folder / name).read_text(encoding="utf-8"))


def arrays(name: str, folder: Path, said: Said) -> dict[str, Any]:
    with np.load(folder / name) as kept:
        return {name: kept[name].tolist() for name in kept.files}


def run_folder(name: str, folder: Path, said: Said) -> Any:
    """What a run learned, measured and logged; the last checkpoint is of use to nobody."""
    files = learned(folder / name)
    files.pop("checkpoint.safetensors")
    return files, untimed(folder / name / "metrics.jsonl"), answer(f"{name}/result.json", folder, said)["measures"]


def found(folder: Path, said: Said) -> Any:
    """The trials of a search but for their times."""
    best = json.loads((folder / "search" / "best.json").read_bytes())
    lines = [json.loads(line) for line in (folder / "search" / "trials.jsonl").read_text().splitlines()]
    return best["recipe"], [(line["number"], line["fields"], line["accuracies"]) for line in lines]


COMMANDS = {
    "predict": Command(("predict", "run", "photos/1/1.png", "photos/0", "--top", "3"), printed),
    "card": Command(("card", "run"), partial(text, "run/README.md")),
    "embed": Command(("embed", "run", "parquet:photos.parquet", "--out", "new.npz"), partial(arrays, "new.npz")),
    "embed, going on": Command(
        ("embed", "run", "parquet:photos.parquet", "--out", "half.npz"), partial(arrays, "half.npz")
    ),
    "evaluate": Command(
        ("evaluate", "noise", "run", "--baselines", "own", "random", "--measured", "0.5", "--images", "8"),
        partial(answer, "run/noise.json"),
    ),
    "evaluate, other settings": Command(
        ("evaluate", "noise", "run", "--baselines", "own", "random", "--measured", "0.5", "--images", "7"),
        partial(answer, "run/noise.json"),
    ),
    "report": Command(("report", "run"), partial(page, "run/report.html")),
    "explore": Command(("explore", "run", "folder:photos", "--map", "pca"), partial(page, "run/explore.html")),
    "train, finished": Command(("train", "--resume", "run"), partial(run_folder, "run")),
    "train, one seed more": Command(("train", "--resume", "run", "--seeds", "2"), partial(run_folder, "run")),
    "train, learning": Command(("train", "--resume", "learning"), partial(run_folder, "learning")),
    "train, reading out": Command(("train", "--resume", "reading"), partial(run_folder, "reading")),
    "search": Command((*SEARCH, "--trials", "4"), found),
    "train, best": Command(("train", "--best", "search", "--seeds", "1", "--out", "best"), partial(run_folder, "best")),
}


@dataclass(frozen=True)
class Known:
    """What a command gives from whole files, and those that it opens, by relative path."""

    result: Any
    reads: tuple[str, ...]


@dataclass(frozen=True)
class Project:
    """A project in `work`, put back from `whole` before each case."""

    folder: Path

    @property
    def whole(self) -> Path:
        return self.folder / "whole"

    @property
    def work(self) -> Path:
        return self.folder / "project"

    def restore(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.whole, self.work)

    def known(self, name: str) -> Known:
        """What is known of a command; found out once, and kept in the folder."""
        path = self.folder / f"known {name}"
        if not path.exists():
            twice = []
            for _ in range(2):
                self.restore()
                twice.append(in_child(partial(self._observed, name)))
            assert twice[0].result == twice[1].result, f"{name} is not the same twice"
            path.write_bytes(pickle.dumps(twice[0]))
        return pickle.loads(path.read_bytes())

    def say(self, *arguments: str) -> Said:
        """Run a command line in the project."""
        os.environ["TORCHHEBB_STORE"] = str(self.work / "store")
        torchhebb.embedding.shards.SHARD_ROWS = 8  # so that few images are several shards
        return say(arguments, self.work)

    def must(self, *arguments: str) -> Said:
        """Run a command line that must end well."""
        said = self.say(*arguments)
        if said.code != 0:
            raise RuntimeError(f"{' '.join(arguments)} ended with {said.code}: {said.error}")
        return said

    def _observed(self, name: str) -> Known:
        opened: set[str] = set()
        there = {str(path) for path in self.work.rglob("*") if path.is_file()}

        def hear(event: str, arguments: tuple[Any, ...]) -> None:
            if event == "open" and isinstance(arguments[0], str):
                opened.add(os.path.abspath(arguments[0]))

        sys.addaudithook(hear)
        command = COMMANDS[name]
        said = self.must(*command.arguments)
        if any(argument.startswith("parquet:") for argument in command.arguments):
            opened.add(str(self.work / "photos.parquet"))  # by Arrow, which Python does not hear
        reads = sorted(str(Path(path).relative_to(self.work)) for path in opened & there)
        return Known(command.result(self.work, said), tuple(path for path in reads if not path.endswith(".lock")))


def make_project(folder: Path) -> Project:
    """The project in a folder, made where it is not there yet."""
    for module in IMPORTED_BY_COMMANDS:
        import_module(module)
    project = Project(folder)
    if not project.whole.exists():
        shutil.rmtree(project.work, ignore_errors=True)
        _make(project)
        os.rename(project.work, project.whole)
    return project


def _make(project: Project) -> None:
    work = project.work
    work.mkdir(parents=True)
    digits = load_data("digits").train
    chosen = [n for n in range(len(digits)) if digits.labels[n] < 3][:IMAGES]
    images = [digits.images[n, 0].numpy() for n in chosen]
    labels = [int(digits.labels[n]) for n in chosen]
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = work / "photos" / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number}.png")
    write(work / "photos.parquet", images, labels, 3)
    train = ("train", "--data", "parquet:photos.parquet", *SMALL)
    for arguments in ((*train, "--out", "run"), (*SEARCH, "--trials", "3")):
        in_child(partial(_done, project, arguments))
    for name in ("evaluate", "report"):
        in_child(partial(_done, project, COMMANDS[name].arguments))
    for name, moment in (("learning", 60), ("reading", 230)):
        _stop(project, (*train, "--checkpoint-seconds", "0", "--seeds", "2", "--out", name), moment)
    _stop(project, COMMANDS["embed, going on"].arguments, 40)


def _done(project: Project, arguments: tuple[str, ...]) -> None:
    project.must(*arguments)


def _stop(project: Project, arguments: tuple[str, ...], moment: int) -> None:
    """Kill a command at a moment of its writing."""
    code = killed(partial(_done, project, arguments), project.folder, moment=moment, part=0.5, seconds=None)
    assert code == -9, f"{arguments} was over before moment {moment}"
