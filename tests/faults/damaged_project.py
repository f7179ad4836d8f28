"""Every file of runs, a search, embeddings, a store and a data set, damaged under every command that reads it."""

import random
import re
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults.campaign import RIGHT, Case, Kind, Outcome, Surface
from tests.faults.command import Said, refusal
from tests.faults.damage import damaged
from tests.faults.project import COMMANDS, Project, make_project

ANSWERS = ("noise.json", "noise-corruptions.svg")
SAID = re.compile(r"damaged|left out|cannot be read|is left out|again|lost \d+ bytes|missing|is gone")
"""Words by which a command that goes on says what it went on without."""
ON_PAGE = re.compile(r'class="left-out"|is left out|is damaged')
"""How a page says so."""


def draw(project: Project, random: random.Random, folder: Path) -> Case:
    name = random.choice(sorted(COMMANDS))
    kinds: dict[str, list[str]] = {}
    for place in project.known(name).reads:
        kinds.setdefault(kind_of(place), []).append(place)
    project.restore()
    kind = random.choice(sorted(kinds))
    path = project.work / random.choice(kinds[kind])
    whole = kind == "an image" or kind in ANSWERS  # without one it is another question
    if random.random() < 0.05 and not whole:
        path.unlink()
        what = "removed"
    else:
        data, what = damaged(path.read_bytes(), random)
        path.write_bytes(data)
    words = f"{' '.join(COMMANDS[name].arguments)}: {path.relative_to(project.work)} {what}"
    return Case(words, partial(outcome, project, name), kind)


def kind_of(path: str) -> str:
    """The name of a file without its folder, what is a hash or a number in it left open."""
    place = Path(path)
    known = {"photos": "an image", "pieces": "pieces/*.json", "store": "store: arrays"}
    if place.name == "entry.json":
        return "store: entry.json"
    if "baselines" in place.parts:
        return "baselines/*/model.safetensors"
    first = next((known[part] for part in place.parts if part in known), None)
    return first or re.sub(r"-\d+", "-N", place.name)


def outcome(project: Project, name: str) -> Outcome:
    return judged(project, name, project.say(*COMMANDS[name].arguments))


def judged(project: Project, name: str, said: Said) -> Outcome:
    """The outcome of a command that found something amiss in the project."""
    if said.code != 0:
        return refusal(said)
    found, expected = COMMANDS[name].result(project.work, said), project.known(name).result
    if found == expected:
        return RIGHT
    if SAID.search(said.error) or len(ON_PAGE.findall(str(found))) > len(ON_PAGE.findall(str(expected))):
        return Outcome(Kind.LINE, said.error[-300:] or "said on the page")
    return Outcome(Kind.DIFFERENCE, difference(expected, found))


def difference(expected: Any, found: Any, place: str = "") -> str:
    """The first place where two results differ, and what stands there."""
    if isinstance(expected, dict) and isinstance(found, dict):
        if expected.keys() != found.keys():
            return f"{place}: {sorted(map(str, expected.keys() ^ found.keys()))}"
        pairs = [(f"{place}.{key}", expected[key], found[key]) for key in expected]
    elif isinstance(expected, list | tuple) and isinstance(found, list | tuple) and len(expected) == len(found):
        pairs = [(f"{place}[{key}]", *both) for key, both in enumerate(zip(expected, found, strict=True))]
    elif isinstance(expected, list | tuple) and isinstance(found, list | tuple):
        at = next((n for n, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), None)
        items = "" if at is None else f", at {at} {str(expected[at])[:80]} became {str(found[at])[:80]}"
        return f"{place}: {len(expected)} items became {len(found)}{items}"
    elif isinstance(expected, str) and isinstance(found, str):
        start = next((n for n, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), len(expected))
        around = slice(max(0, start - 30), start + 30)
        return f"{place}: {expected[around]!r} became {found[around]!r}"
    else:
        return f"{place}: {str(expected)[:80]} became {str(found)[:80]}"
    return next((difference(one, other, where) for where, one, other in pairs if one != other), place)


SURFACES = (
    Surface(
        "damaged-project",
        "Damaged files",
        "A file of a run, an answer, a search, embeddings, the store, or a data set, in which bytes were changed, cut "
        "off or added, or that is gone, under every command that reads it. Right: what the command gives from whole "
        "files, bit for bit. A command that goes on without a damaged part and says so counts as one line.",
        make_project,
        draw,
        cases=2000,
        quick=1,
        isolated=True,
    ),
)
