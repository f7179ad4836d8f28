"""Markdown tables from results/, put between the markers of README.md and the pages of docs/.

    python -m torchhebb.report.tables           fill the pages
    python -m torchhebb.report.tables --check   exit 1 and name the pages that disagree with results/

A page marks a table by `<!-- results:NAME -->` and `<!-- /results -->`. NAME is a shell pattern for recipes, questions
or recipe/question: `softhebb2023-*`, `accuracy`, `softhebb2023-*/accuracy`; patterns of measures may follow it, with
commas between them. `<!-- claims:PAPER -->` and `<!-- /claims -->` mark the claims of a paper, and
`<!-- grid:NAME ROWS COLUMNS -->` and `<!-- /grid -->` one result as a grid: ROWS are beginnings of measures, COLUMNS
their ends.  `<!-- reproduction:PAPER -->` and `<!-- /reproduction -->` mark all published numbers of a paper, and
`<!-- released:PAPER -->` and `<!-- /released -->` what its released code gives.
"""

import argparse
import dataclasses
import re
import sys
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path

from torchhebb.errors import UserError
from torchhebb.recipes import get_claims
from torchhebb.report.claims import claims_table
from torchhebb.report.reproduction import released_table, reproduction_table
from torchhebb.train import Measure, Result, read_result

_MARKED = re.compile(
    r"<!-- (?P<kind>results|claims|grid|reproduction|released):(?P<what>[^>\n]+) -->.*?<!-- /(?P=kind) -->", re.DOTALL
)
_OPENING = re.compile(r"<!-- (results|claims|grid|reproduction|released):[^>\n]+ -->")
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
    return "\n".join([_line(_HEADER), "|" + "---|" * len(_HEADER), *map(_line, rows)])


def grid(results: Sequence[Result], rows: Sequence[str], columns: Sequence[str]) -> str:
    """Means with their spread, a row a beginning of measures and a column an end; what there is not stays empty.

    >>> measures = (Measure("own_clean_accuracy", "%", (96.0,)), Measure("hard_clean_accuracy", "%", (95.0, 97.0)))
    >>> result = Result("r", "attacks", measures, (0, 1), 1.0, "GPU", "", {}, versions={}, commit="")
    >>> print(grid([result], ["own", "hard"], ["clean_accuracy"]))
    |  | clean accuracy, % | n |
    |---|---|---|
    | own | 96.00 | 1 |
    | hard | 96.00 ± 1.41 | 2 |
    """
    known = {measure.name: measure for result in results for measure in result.measures}
    if not known:
        return NOTHING
    units = {end: known[f"{row}_{end}"].unit for end in columns for row in rows if f"{row}_{end}" in known}
    header = ["", *(f"{end.replace('_', ' ')}, {units[end]}".rstrip(", ") for end in columns if end in units), "n"]
    lines = []
    for row in rows:
        found = [known.get(f"{row}_{end}") for end in columns if end in units]
        counts = sorted({len(measure.values) for measure in found if measure is not None})
        if counts:
            lines.append([row.replace("_", " "), *map(_cell, found), ", ".join(map(str, counts))])
    return "\n".join([_line(header), "|" + "---|" * len(header), *map(_line, lines)])


def fill(text: str, results: Sequence[Result]) -> str:
    """A page with every marked table generated again.

    Raises UserError for a marker that is not closed or says too much or too little, or a paper without claims.
    """

    def replace(match: re.Match[str]) -> str:
        kind, what = match["kind"], match["what"].split()
        bodies = {
            "results": _results_body,
            "claims": _claims_body,
            "grid": _grid_body,
            "reproduction": _reproduction_body,
            "released": _released_body,
        }
        return f"<!-- {kind}:{match['what']} -->\n\n{bodies[kind](what, results)}\n\n<!-- /{kind} -->"

    filled, count = _MARKED.subn(replace, text)
    if count != len(_OPENING.findall(text)):
        raise UserError("every <!-- results:NAME --> needs a <!-- /results --> before the next one, and so do claims")
    return filled


def pages(root: Path) -> list[Path]:
    """README.md and every Markdown page below docs/, those that exist."""
    return [page for page in (root / "README.md", *sorted((root / "docs").rglob("*.md"))) if page.exists()]


def outdated(root: Path) -> list[Path]:
    """The pages whose tables disagree with results/."""
    results = read_results(root / "results")
    return [page for page in pages(root) if _filled(page, results) != page.read_text(encoding="utf-8")]


def update(root: Path) -> list[Path]:
    """Generate the tables of all pages; returns the pages that changed."""
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


def _results_body(what: list[str], results: Sequence[Result]) -> str:
    name, patterns = what[0], what[1].split(",") if len(what) > 1 else ["*"]
    if len(what) > 2:
        raise UserError(f"a table of results has a name and patterns of measures, got {' '.join(what)!r}")
    chosen = (
        dataclasses.replace(r, measures=tuple(m for m in r.measures if any(fnmatch(m.name, p) for p in patterns)))
        for r in choose(results, name)
    )
    return table(list(chosen))


def _claims_body(what: list[str], results: Sequence[Result]) -> str:
    return claims_table(get_claims(" ".join(what)), results)


def _reproduction_body(what: list[str], results: Sequence[Result]) -> str:
    return reproduction_table(" ".join(what), results)


def _released_body(what: list[str], results: Sequence[Result]) -> str:
    if what != ["softhebb2023"]:
        raise UserError(f"the released code of softhebb2023 alone was run, got {' '.join(what)!r}")
    return released_table(results)


def _grid_body(what: list[str], results: Sequence[Result]) -> str:
    if len(what) != 3:
        raise UserError(f"a grid has a name, rows and columns, got {' '.join(what)!r}")
    return grid(choose(results, what[0]), what[1].split(","), what[2].split(","))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(measure: Measure | None) -> str:
    if measure is None:
        return ""
    small = 0 < abs(measure.mean) < 0.1
    return f"{measure.mean:.{'2g' if small else '2f'}}" + ("" if measure.std is None else f" ± {measure.std:.2f}")


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
        result.device + ("" if result.precision == "float32" else f", {result.precision}"),
    )


if __name__ == "__main__":
    sys.exit(main())
