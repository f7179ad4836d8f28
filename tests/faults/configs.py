"""The JSON files of a run with one thing changed and a checksum that fits, as a stranger can write them."""

import json
import os
import random
import shutil
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults.campaign import RIGHT, Case, Kind, Outcome, Surface
from tests.faults.command import refusal, say
from tests.faults.command_lines import BEGINNINGS, Enough, prepare_given, stop
from tests.faults.hostile import changed
from torchhebb.files import parse_json, write_json

COMMANDS = (
    ("predict", "run", "photos/0.png"),
    ("predict", "run", "photos/0.png"),
    ("report", "run"),
    ("card", "run"),
    ("train", "--resume", "run"),
    ("embed", "run", "photos", "--out", "out.npz"),
    ("explore", "run", "photos", "--map", "pca"),
    ("evaluate", "filters", "run"),
    ("evaluate", "diagnostics", "run"),
)


def draw(given: Path, random: random.Random, folder: Path) -> Case:
    names = ["config.json"] * 6 + ["result.json", "result.json", "classes.json", "metrics.jsonl"]
    name, command = random.choice(names), random.choice(COMMANDS)
    text = (given / "run" / name).read_text(encoding="utf-8")
    if name == "metrics.jsonl":
        lines = text.splitlines()
        at = random.randrange(len(lines))
        value, kind, path = changed(parsed(lines[at]), random)
        content: Any = [*lines[:at], json.dumps(value), *lines[at + 1 :]]
    else:
        content, kind, path = changed(parsed(text), random)
    what = f"{name}{path} {kind}, then {' '.join(command)}"
    return Case(what, partial(after, given, name, content, command, folder / "work"), name)


def parsed(text: str) -> Any:
    return parse_json(text) if text.lstrip().startswith("{") else json.loads(text)


def after(given: Path, name: str, content: Any, command: tuple[str, ...], work: Path) -> Outcome:
    """What a command says of a run in which one file was changed."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(given, work, symlinks=True)
    path = work / "run" / name
    if name == "metrics.jsonl":
        path.write_text("\n".join(content) + "\n", encoding="utf-8")
    elif isinstance(content, dict):
        try:
            write_json(path, content, strict=False)
        except (ValueError, UnicodeError):  # a lone surrogate, which no file holds either
            path.write_text(json.dumps(content), encoding="utf-8")
    else:
        path.write_text(json.dumps(content), encoding="utf-8")
    before = [(owner, name, getattr(owner, name)) for owner, name in BEGINNINGS]
    try:
        for owner, attribute, _ in before:
            setattr(owner, attribute, stop)
        said = say(command, work)
    except Enough:
        return RIGHT
    finally:
        for owner, attribute, value in before:
            setattr(owner, attribute, value)
    if any(not (character.isprintable() or character in "\n\t") for character in said.out + said.error):
        return Outcome(Kind.TRACEBACK, f"control characters: {said.out[-200:]!r} {said.error[-200:]!r}")
    left = {path.name for path in work.iterdir()} - {path.name for path in given.iterdir()}
    if strange := left - {"out.npz", "out.npz.skipped.txt"}:
        return Outcome(Kind.DIFFERENCE, f"files outside the run folder: {sorted(strange)}")
    return RIGHT if said.code == 0 else refusal(said)


def prepare(folder: Path) -> Path:
    os.environ["COLUMNS"] = "120"
    return prepare_given(folder)


SURFACES = (
    Surface(
        "configs",
        "Hostile inputs",
        "The JSON files of a run in which one field was replaced, removed, renamed or retyped, the checksum fitting, "
        "and a command on that run. Right: an answer, nothing written outside the run folder.",
        prepare,
        draw,
        cases=3_000,
        quick=12,
    ),
)
