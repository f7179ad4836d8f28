"""Markdown tables from results/, put between the markers of README.md and docs/*.md.

    python -m torchhebb.report.tables           fill the pages
    python -m torchhebb.report.tables --check   exit 1 and name the pages that disagree with results/

A page marks a table by `<!-- results:NAME -->` and `<!-- /results -->`. NAME is a shell pattern for recipes, questions
or recipe/question: `softhebb2023-*`, `accuracy`, `softhebb2023-*/accuracy`.  `<!-- claims:PAPER -->` and
`<!-- /claims -->` mark the claims of a paper.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path

from torchhebb.errors import UserError
from torchhebb.recipes import get_claims
from torchhebb.report.claims import claims_table
from torchhebb.train import Measure, Result, read_result

_MARKED = re.compile(r"<!-- (?P<kind>results|claims):(?P<name>\S+) -->.*?<!-- /(?P=kind) -->", re.DOTALL)
_OPENING = re.compile(r"<!-- (results|claims):(\S+) -->")
_HEADER = ("recipe", "measure", "mean ± std", "n", "published", "device")
_BENCHMARKS = "bench"  # times and bytes have tables of their own
NOTHING = "No result of this kind has been measured yet."


def read_results(folder: Path) -> list[Result]:
    """Every result under a results folder, in the order of its paths.

    Raises UserError naming a file that is damaged.
    """
    found = [read_result(path) for path in sorted(folder.rglob("*.json"))]
    return [result for result in found if result.recipe != _BENCHMARKS]


def choose(results: Iterable[Result], pattern: str) -> list[Result]:
    """The results whose recipe, question or recipe/question matches a shell pattern."""
    return [
        result
        for result in results
        if any(
            fnmatch(name, pattern) for name in (result.recipe, result.question, f"{result.recipe}/{result.question}")
        )
    ]


def table(results: Sequence[Result]) -> str:
    """One row a measure, as Markdown; a sentence that says so where there is none.

    >>> measure = Measure("test_accuracy", "%", (80.0, 80.4), published=80.31)
    >>> result = Result("r", "accuracy", (measure,), (0, 1), 1.0, "GPU", "", {}, versions={}, commit="")
    >>> print(table([result]))
    | recipe | measure | mean ± std | n | published | device |
    |---|---|---|---|---|---|
    | r | test accuracy | 80.20 ± 0.28 % | 2 | 80.31 % | GPU |
    """
    rows = [_row(result, measure) for result in results for measure in result.measures]
    if not rows:
        return NOTHING
    lines = ["| " + " | ".join(cells) + " |" for cells in (_HEADER, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(_HEADER), *lines[1:]])


def fill(text: str, results: Sequence[Result]) -> str:
    """A page with every marked table made anew.

    Raises UserError for a marker that is not closed, or a paper without claims.
    """

    def replace(match: re.Match[str]) -> str:
        kind, name = match["kind"], match["name"]
        body = table(choose(results, name)) if kind == "results" else claims_table(get_claims(name), results)
        return f"<!-- {kind}:{name} -->\n\n{body}\n\n<!-- /{kind} -->"

    filled, count = _MARKED.subn(replace, text)
    if count != len(_OPENING.findall(text)):
        raise UserError("every <!-- results:NAME --> needs a <!-- /results --> before the next one, and so do claims")
    return filled


def pages(root: Path) -> list[Path]:
    """README.md and docs/*.md of a repository, those that exist."""
    return [page for page in (root / "README.md", *sorted((root / "docs").glob("*.md"))) if page.exists()]


def outdated(root: Path) -> list[Path]:
    """The pages whose tables disagree with results/."""
    results = read_results(root / "results")
    return [page for page in pages(root) if _filled(page, results) != page.read_text(encoding="utf-8")]


def update(root: Path) -> list[Path]:
    """Make the tables of all pages anew; returns the pages that changed."""
    results = read_results(root / "results")
    changed = outdated(root)
    for page in changed:
        page.write_text(_filled(page, results), encoding="utf-8")
    return changed


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m torchhebb.report.tables", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a page is out of date")
    parser.add_argument("--root", type=Path, default=Path(), help="the repository (default: the current folder)")
    flags = parser.parse_args(argv)
    try:
        found = outdated(flags.root) if flags.check else update(flags.root)
    except UserError as error:
        print(f"tables: {error}", file=sys.stderr)
        return 2
    for page in found:
        print(f"{page}: {'disagrees with results/: run make tables' if flags.check else 'updated'}")
    return 1 if flags.check and found else 0


def _filled(page: Path, results: Sequence[Result]) -> str:
    try:
        return fill(page.read_text(encoding="utf-8"), results)
    except UserError as error:
        raise UserError(f"{page}: {error}") from error


def _row(result: Result, measure: Measure) -> tuple[str, ...]:
    std = "" if measure.std is None else f" ± {measure.std:.2f}"
    return (
        result.recipe,
        measure.name.replace("_", " "),
        f"{measure.mean:.2f}{std} {measure.unit}".strip(),
        str(len(measure.values)),
        "" if measure.published is None else f"{measure.published:.2f} {measure.unit}".strip(),
        result.device,
    )


if __name__ == "__main__":
    sys.exit(main())
