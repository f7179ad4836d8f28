"""What was tried, kept twice: a line a case while a campaign runs, and a summary a surface in the repository."""

import json
import platform
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from tests.faults.campaign import Kind, Surface, Tried
from torchhebb import __version__

RECORDS = Path(__file__).with_name("records")
KEPT_FAULTS = 50
"""Faults that a summary names; it counts all."""


def read_journal(path: Path) -> list[Tried]:
    """The cases of a journal, each once, in the order of their numbers; a line cut by a kill is left out."""
    found: dict[int, Tried] = {}
    for line in path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []:
        values = json.loads(line)
        found[values["number"]] = Tried(**{**values, "kind": Kind(values["kind"])})
    return [found[number] for number in sorted(found)]


def append(path: Path, tried: Tried) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(tried)) + "\n")


def summary(surface: Surface, cases: Iterable[Tried]) -> dict[str, Any]:
    """Counts by outcome, and by group and outcome; the faults by name; the slowest case and the largest memory."""
    tried = list(cases)
    groups = sorted({case.group for case in tried})
    return {
        "surface": surface.name,
        "area": surface.area,
        "title": surface.title,
        "tried": len(tried),
        "asked": surface.cases,
        "counts": _counts(tried),
        "groups": {group: _counts([case for case in tried if case.group == group]) for group in groups},
        "faults": [
            {"number": case.number, "what": case.what, "kind": case.kind, "detail": case.detail}
            for case in tried
            if not case.kind.promised
        ][:KEPT_FAULTS],
        "slowest_seconds": round(max((case.seconds for case in tried), default=0.0), 1),
        "limit_seconds": surface.seconds,
        "peak_mib": max((case.peak_bytes for case in tried), default=0) >> 20,
        "versions": {"torchhebb": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }


def _counts(tried: Iterable[Tried]) -> dict[str, int]:
    counts = Counter(case.kind for case in tried)
    return {kind.value: counts[kind] for kind in Kind if counts[kind]}


def write_summary(surface: Surface, cases: Iterable[Tried]) -> Path:
    path = RECORDS / f"{surface.name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(summary(surface, cases), indent=1) + "\n", encoding="utf-8")
    return path


def read_summaries() -> list[dict[str, Any]]:
    """The summaries in the repository, by area and name."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RECORDS.glob("*.json"))]
    return sorted(found, key=lambda record: (record["area"], record["surface"]))
