"""docs/reliability.md from the records: what was tried, how often, what happened."""

from itertools import groupby
from pathlib import Path
from typing import Any

from tests.faults.campaign import Kind
from tests.faults.record import read_summaries

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"

OPENING = """\
# Reliability

What torchhebb does when a process is killed, a disk is full, a file is damaged or an input makes no sense. `make
faults` tries it and writes this page from the records in `tests/faults/records/`; the tests repeat the first cases of
each kind.

Every case is drawn from its number, so any of them can be tried again: `python -m tests.faults SURFACE --only NUMBER`.
Two outcomes are promised, the right result, or one line that says what is wrong, with exit code 2. Every other one is a
fault: a traceback, another result without a word, more than the seconds or the memory that a case may take.
"""


def write() -> None:
    PAGE.write_text(text(read_summaries()), encoding="utf-8")


def text(records: list[dict[str, Any]]) -> str:
    """The page."""
    tried, faults = sum(record["tried"] for record in records), sum(map(_faults, records))
    lines = [OPENING, f"In all, {tried:,} cases were tried, of which {faults:,} came to a fault.", ""]
    for area, of_area in groupby(records, key=lambda record: record["area"]):
        lines += [f"## {area}", ""]
        for record in of_area:
            lines += _section(record)
    return "\n".join(lines).rstrip() + "\n"


def _section(record: dict[str, Any]) -> list[str]:
    kinds = [Kind.RIGHT, Kind.LINE, *(kind for kind in Kind if not kind.promised and kind in record["counts"])]
    unfinished = "" if record["tried"] >= record["asked"] else f" of the {record['asked']:,} of a full campaign"
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    lines = [
        f"### {record['surface'].replace('-', ' ').capitalize()}",
        "",
        record["title"],
        "",
        f"{record['tried']:,} cases{unfinished}, {_faults(record):,} faults. The slowest took "
        f"{record['slowest_seconds']:g} s, the largest process held {record['peak_mib']:,} MiB ({versions}).",
        "",
        f"| what | tried | {' | '.join(kinds)} |",
        f"|---|---{'|---' * len(kinds)}|",
    ]
    for group, counts in record["groups"].items():
        cells = [f"{counts.get(kind, 0):,}" for kind in kinds]
        lines.append(f"| {group or record['surface']} | {sum(counts.values()):,} | {' | '.join(cells)} |")
    if record["faults"]:
        lines += ["", "Faults that are known:", ""]
        lines += [f"- case {fault['number']}, {fault['kind']}: {_plain(fault['what'])}" for fault in record["faults"]]
    return [*lines, ""]


def _faults(record: dict[str, Any]) -> int:
    return sum(count for kind, count in record["counts"].items() if not Kind(kind).promised)


def _plain(words: str) -> str:
    """Words in Markdown as they are."""
    return f"`` {words} ``" if words.isprintable() else f"`` {words!r} ``"
