"""Puts the measured numbers of results/bench, and what the cost model makes of them, into the pages.

    python benchmarks/tables.py

A marker names a result: `<!-- bench: step-cpu -->`, or a table of the model: `<!-- model: predictions -->`.  What
stands up to `<!-- end -->` is replaced.
"""

import re
from pathlib import Path

from cost_model import checked, predictions
from harness import FOLDER, RESULTS, remarks, tables

from torchhebb.train import Result, read_result

PAGES = tuple(FOLDER.parent / "docs" / "explanation" / name for name in ("speed.md", "scaling.md"))
MARKED = re.compile(r"(?<=<!-- )(?P<kind>bench|model): (?P<name>[\w.-]+) -->.*?(?=<!-- end -->)", re.DOTALL)


def fill(page: str, results: Path) -> str:
    """The page with the tables of the results that its markers name; one that is not there is said not to be."""

    def table(match: re.Match[str]) -> str:
        path = results / "bench" / f"{match['name']}.json"
        if match["kind"] == "model":
            rows = predictions() if match["name"] == "predictions" else checked(results)
            body = _markdown(rows) if rows else "Not run."
        else:
            body = render(read_result(path)) if path.exists() else "Not run."
        return f"{match['kind']}: {match['name']} -->\n{body}\n"

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
    for page in PAGES:
        page.write_text(fill(page.read_text(encoding="utf-8"), RESULTS), encoding="utf-8")
        print(f"filled {page.relative_to(FOLDER.parent)}")
