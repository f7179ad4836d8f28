"""Puts the measured numbers of results/bench into a page, between its markers.

    python benchmarks/tables.py

A marker names a result: `<!-- bench: step-cpu -->`, and what stands up to `<!-- end -->` is replaced by its tables.
"""

import re
from pathlib import Path

from harness import FOLDER, RESULTS, remarks, tables

from torchhebb.train import Result, read_result

PAGE = FOLDER.parent / "docs" / "speed.md"
MARKED = re.compile(r"(?<=<!-- bench: )(?P<name>[\w.-]+) -->.*?(?=<!-- end -->)", re.DOTALL)


def fill(page: str, results: Path) -> str:
    """The page with the tables of the results that its markers name; one that is not there is said not to be."""

    def table(match: re.Match[str]) -> str:
        path = results / "bench" / f"{match['name']}.json"
        body = render(read_result(path)) if path.exists() else "Not run."
        return f"{match['name']} -->\n{body}\n"

    return MARKED.sub(table, page)


def render(result: Result) -> str:
    """Where the numbers come from, what was measured, and the ratios, as Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    origin = "; ".join([result.device, versions, f"commit {result.commit}", *remarks(result)])
    return "\n\n".join([f"`{result.command}` on {origin}.", *(_markdown(table) for table in tables(result))])


def _markdown(rows: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), RESULTS), encoding="utf-8")
    print(f"filled {PAGE.relative_to(FOLDER.parent)}")
