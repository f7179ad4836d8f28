"""Command lines drawn at random from the flags of the parsers: exit code 0, or 2 with one line."""

import os
import random
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torchhebb.evaluate.study
import torchhebb.export
import torchhebb.runs.networks
import torchhebb.runs.training
import torchhebb.search.objective
from tests.faults.campaign import RIGHT, Case, Kind, Outcome, Surface
from tests.faults.command import refusal, say
from tests.faults.images import picture
from tests.tiny import FLAGS
from torchhebb.data import list_data
from torchhebb.evaluate import list_evaluators
from torchhebb.recipes import list_papers, list_recipes

NUMBERS = (
    "0",
    "1",
    "2",
    "-1",
    "3",
    "1000000",
    "99999999999999999999",
    "1e400",
    "-1e400",
    "nan",
    "inf",
    "-inf",
    "1e-320",
    "0x10",
    "1_000",
    "1,5",
    "1.5",
    "+1",
    "٣",
    "0.1",
    "1e38",
    "2147483648",
    "-0.0",
)
TEXTS = (
    "",
    " ",
    "None",
    "True",
    "\x1b[31mred",
    "\x07",
    "a\nb",
    "a\tb",
    "ü",
    "名前",
    "\udcff\udcfe",
    "'",
    '"',
    "-",
    "--",
    "-x",
    "--help",
    "-h",
    "=",
    "*",
    "?",
    "[",
    "a" * 5000,
    "../x",
    "../../../../x",
    ".",
    "{}",
    "[]",
    "%s%n",
    "$(id)",
    "`id`",
    "; id",
    "\\",
    "nan",
    "0",
    "<script>",
    "\u202egnp.exe",
)
PLACES = (
    "run",
    "runs",
    "nowhere",
    "photos",
    "photos/0.png",
    "photos/a",
    "model.safetensors",
    "empty",
    "notes.txt",
    "loop",
    "run/config.json",
    "run/model.safetensors",
    "/dev/null",
    "/dev/full",
    "/proc/self/mem",
    "/proc/self/x/y",
    "nowhere/deep/er.onnx",
    "out.onnx",
    "out.pt2",
    "out.parquet",
    "out.npz",
    "out.csv",
    "out.html",
    "out.xyz",
    "~",
    "photos/../photos",
)
SOURCES = (
    "folder:photos",
    "folder:nowhere",
    "folder:",
    "folder:empty",
    "folder:notes.txt",
    "parquet:photos",
    "parquet:notes.txt",
    "parquet:",
    "hub:a/b",
    "hub:",
    "hub:a",
    "digits",
    "cifar10",
    "photos",
    "arrays:x",
    "folder:loop",
    "hub:../../x",
    "parquet:nowhere",
    ":",
    "folder:photos:folder:photos",
)
AT_HAND = ("softhebb2023-digits", "softhebb2022-digits", "sphere2025-digits", "own-images")
"""Recipes whose images need no network."""
MODULES = ("os", "nothing.here", "", "a b", "../x", "os;id", "os.path", "\x1b", "tests.nothing", "1x")


@dataclass(frozen=True)
class Flag:
    """A flag of a parser, and what it says that it takes."""

    name: str
    takes: str


@dataclass(frozen=True)
class Ready:
    """What cases share: a folder with a run and images, and the flags of the commands, by their first words."""

    folder: Path
    flags: dict[tuple[str, ...], list[Flag]]


def prepare_given(folder: Path) -> Path:
    """A folder with a run of the command line, images, and files that are none."""
    os.environ.update(
        TORCHHEBB_STORE=str(folder / "store"), TORCHHEBB_DATA="", HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1"
    )
    given = folder / "given"
    if not (given / "run" / "report.html").exists():
        shutil.rmtree(given, ignore_errors=True)
        (given / "photos" / "a").mkdir(parents=True)
        (given / "photos" / "b").mkdir()
        (given / "empty").mkdir()
        for number in range(6):
            for name in "ab":
                picture(number, 8, 8).save(given / "photos" / name / f"{number}.png")
        picture(9, 8, 8).save(given / "photos" / "0.png")
        (given / "notes.txt").write_text("no image")
        (given / "loop").symlink_to("loop")
        said = say(["train", *FLAGS, "--device", "cpu", "--out", "run"], given)
        assert said.code == 0, said
        shutil.copy(given / "run" / "model.safetensors", given)
    return given


def prepare(folder: Path) -> Ready:
    prepare_given(folder)
    firsts: list[tuple[str, ...]] = [
        *(("train", name) for name in (*list_recipes(), "own-images")),
        *(("search", name) for name in list_recipes()[:6]),
        *(
            ("evaluate", question, target)
            for question in list_evaluators()
            for target in ("run", "softhebb2023-digits")
        ),
        *((name,) for name in ("reproduce", "report", "predict", "embed", "explore", "export", "card", "list")),
    ]
    return Ready(folder, {first: [] for first in firsts})


@cache
def flags_of(given: Path, first: tuple[str, ...]) -> list[Flag]:
    """The flags that a command's --help names."""
    more = ["--data", "folder:photos"] if first == ("train", "own-images") else []
    said = say([*first, *more, "--help"], given)
    found = re.findall(r"(--[a-z0-9][\w.-]*)(?: ((?:\{[^}]*\}|[A-Z\[\]{}|. ])+))?", said.out)
    return [Flag(name, takes) for name, takes in dict(found).items()]


def draw(ready: Ready, random: random.Random, folder: Path) -> Case:
    first = random.choice([*ready.flags])
    if random.random() < 0.5:  # all commands alike, however many questions and recipes there are
        command = random.choice(sorted({first[0] for first in ready.flags}))
        first = random.choice([words for words in ready.flags if words[0] == command])
    if first[0] in ("train", "search") and random.random() < 0.6:
        first = (first[0], random.choice(AT_HAND))
    arguments = [*first, *positionals(first[0], random)]
    known = flags_of(ready.folder / "given", first) or [Flag("--out", "PATH")]
    for _ in range(random.choice((0, 1, 1, 2, 2, 3, 5))):
        arguments += flag(random.choice(known), random)
    arguments = mangled(arguments, random)
    return Case(" ".join(map(ascii, arguments)), partial(command_line, ready, arguments, folder), first[0])


def positionals(command: str, random: random.Random) -> list[str]:
    def place() -> str:
        return random.choice(PLACES) if random.random() < 0.5 else "run"

    def source() -> str:
        return random.choice((*SOURCES, *PLACES))

    match command:
        case "report":
            return [place() for _ in range(random.choice((0, 1, 1, 2)))]
        case "predict":
            return [place(), *(source() for _ in range(random.choice((0, 1, 2))))]
        case "embed" | "explore":
            return [place(), *(source() for _ in range(random.choice((0, 1, 1))))]
        case "export" | "card":
            return [place()]
        case "reproduce":
            return [random.choice((*list_papers(), "nothing"))]
        case "list":
            return random.choice(([], ["softhebb*"], [random.choice(TEXTS)]))
    return []


def flag(chosen: Flag, random: random.Random) -> list[str]:
    """A flag with a value that fits, or one that does not."""
    name, takes = chosen.name, chosen.takes
    if not takes.strip() and random.random() < 0.8:
        return [name]
    if random.random() < 0.5:
        return [name, *fitting(takes, random)]
    if "PATH" in takes or name in ("--out", "--results", "--resume", "--best", "--data-dir"):
        value = random.choice(PLACES)
    elif name == "--data":
        value = random.choice((*SOURCES, *list_data()))
    else:
        value = random.choice(random.choice((NUMBERS, NUMBERS, TEXTS, PLACES)))
    several = [random.choice(NUMBERS) for _ in range(random.choice((0, 1, 2)))] if "..." in takes else []
    return [f"{name}={value}"] if random.random() < 0.3 else [name, value, *several]


def fitting(takes: str, random: random.Random) -> list[str]:
    """Values as a parser says that it takes them: "INT", "{a,b}", "{None}|FLOAT", "[INT [INT ...]]", "INT INT INT"."""
    kinds = re.findall(r"\{[^{}\[\]]*\}|INT|FLOAT|STR|PATH", takes)
    if "|" in takes:
        kinds = [random.choice(kinds)] if kinds else []
    values = {
        "INT": lambda: random.choice(("1", "2", "3", "5", "8", "50", "1000")),
        "FLOAT": lambda: random.choice(("0.01", "0.1", "0.5", "1", "2.5", "30")),
        "STR": lambda: random.choice(("cpu", "x", "digits", "own")),
        "PATH": lambda: random.choice(PLACES),
    }
    found = [values[kind]() if kind in values else random.choice(kind.strip("{}").split(",")) for kind in kinds]
    return [word.strip() for word in found]


def mangled(arguments: list[str], random: random.Random) -> list[str]:
    """The same command line with a word left out, doubled, moved, or one that belongs nowhere."""
    arguments = list(arguments)
    chance = random.random()
    if chance < 0.08:
        del arguments[random.randrange(len(arguments))]
    elif chance < 0.16:
        arguments.insert(random.randrange(len(arguments) + 1), random.choice(TEXTS))
    elif chance < 0.22:
        arguments[random.randrange(len(arguments))] = random.choice((*TEXTS, *NUMBERS))
    elif chance < 0.28:
        arguments += random.choice(arguments), random.choice((*TEXTS, *NUMBERS))
    elif chance < 0.31:
        arguments += ["--import", random.choice(MODULES)]
    elif chance < 0.33:
        random.shuffle(arguments)
    elif chance < 0.35:
        arguments += ["--help"]
    return arguments


class Enough(BaseException):
    """A command line was right: its long work would begin."""


def stop(*_: Any, **__: Any) -> None:
    raise Enough


BEGINNINGS: Sequence[tuple[Any, str]] = (
    (torchhebb.runs.training, "learn_images"),
    (torchhebb.runs.training, "learn_ensemble"),
    (torchhebb.runs.networks, "learn_images"),
    (torchhebb.search.objective.Objective, "_one"),
    (torchhebb.evaluate.study.Study, "kept_cell"),
)
"""Where long work begins."""


def command_line(ready: Ready, arguments: list[str], folder: Path) -> Outcome:
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)  # of an earlier try
    shutil.copytree(ready.folder / "given", work, symlinks=True)
    before = [(owner, name, getattr(owner, name)) for owner, name in BEGINNINGS]
    try:
        for owner, name, _ in before:
            setattr(owner, name, stop)
        said = say(arguments, work)
    except Enough:
        return RIGHT
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)
    if any(not (character.isprintable() or character in "\n\t ") for character in said.out + said.error):
        return Outcome(Kind.TRACEBACK, f"control characters: {said.out[-200:]!r} {said.error[-200:]!r}")
    if said.code == 1 and arguments[0] == "reproduce" and "failed" in said.out:  # items are lines of its table
        return RIGHT
    return RIGHT if said.code == 0 else refusal(said)


SURFACES = (
    Surface(
        "command-lines",
        "Hostile inputs",
        "Commands with flags drawn from their parsers, values of wrong types and out of every range, words left out, "
        "doubled and moved, control characters, paths that do not exist. Long work is stopped where it begins. Right: "
        "exit code 0.",
        prepare,
        draw,
        cases=1_000,
        quick=8,
    ),
)
