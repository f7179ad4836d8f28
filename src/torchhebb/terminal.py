"""Tables that commands print: aligned and coloured on a terminal, tab-separated lines elsewhere."""

import shlex
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from torchhebb.errors import printable
from torchhebb.recipes import get_recipe
from torchhebb.runs.predict import Prediction
from torchhebb.train import Result
from torchhebb.train.wilson import wilson

if TYPE_CHECKING:
    from torchhebb.runs.reproduce import Outcome
    from torchhebb.search import Found

BEST_SHOWN = 8


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on standard output; tab-separated lines where that is no terminal, for other programs to read."""
    rows = [[printable(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        print(*("\t".join(row) for row in rows), sep="\n")
        return
    table = Table(*headers, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def print_result(result: Result, folder: Path) -> None:
    """The measures of a result, with the published values."""
    headers = ["measure", "mean", "std", "n", "published"]
    intervals = any(measure.interval is not None for measure in result.measures)
    table = Table(*headers, *(["95 %"] if intervals else []), box=None, pad_edge=False, header_style="bold")
    for measure in result.measures:
        interval = "" if measure.interval is None else "{:.2f} to {:.2f}".format(*measure.interval)
        table.add_row(
            measure.name.replace("_", " "),
            f"{measure.mean:.2f} {measure.unit}",
            "" if measure.std is None else f"{measure.std:.2f}",
            str(len(measure.values)),
            "" if measure.published is None else f"{measure.published:.2f} {measure.unit}",
            *([interval] if intervals else []),
        )
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(f"[bold]{escape(printable(result.recipe))}[/bold] on {escape(result.device)}, {result.seconds:.0f} s")
    console.print(table)
    console.print(f"run folder: {escape(printable(str(folder)))}", soft_wrap=True)


def print_outcomes(outcomes: Sequence["Outcome"], folder: Path) -> None:
    """The reproduced and the published values, and the experiments that were not run."""
    rows: list[tuple[str, ...]] = []
    for outcome in outcomes:
        item, result = outcome.item, outcome.result
        if result is None:
            needed = format_duration(outcome.seconds)
            said = {"not run": f"not run (about {needed})", "interrupted": "unfinished: run again to continue"}
            paper = get_recipe(item.recipe).published if item.question == "accuracy" else None
            rows.append((item.name, "", said.get(outcome.status, outcome.reason), "", _number(paper, "%")))
            continue
        for measure in result.measures:
            ours = _number(measure.mean, measure.unit) + ("" if measure.std is None else f" ± {measure.std:.2f}")
            published = _number(measure.published, measure.unit)
            rows.append((item.name, measure.name.replace("_", " "), ours, str(len(measure.values)), published))
    print_table(("item", "measure", "ours", "n", "published"), rows)
    counts = Counter(outcome.status for outcome in outcomes)
    print(f"{', '.join(f'{count} {status}' for status, count in counts.items())}; in {printable(str(folder))}")


def format_duration(seconds: float) -> str:
    """A rough time for people.

    >>> format_duration(42), format_duration(600), format_duration(9000)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _number(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:.2f} {unit}".strip()


def print_predictions(predictions: Sequence[Prediction]) -> None:
    """One line an image."""
    rows = [
        (
            str(p.path),
            *(f"{name} {probability:.1%}" for name, probability in zip(p.classes, p.probabilities, strict=True)),
        )
        for p in predictions
    ]
    print_table(("image", "likeliest", *[""] * (len(rows[0]) - 2)), rows)


def print_found(found: "Found", command: str, folder: Path) -> None:
    """The best trials of a search, how they were chosen, and how to train the best one."""
    fields = list(found.trials[0].fields)
    first = next((trial for trial in found.trials if trial.number == 0), None)
    shown = list(found.trials[:BEST_SHOWN])
    if first is not None and first not in shown:
        shown.append(first)
    rows = []
    for trial in shown:
        low, high = wilson(trial.accuracies, found.held_images)
        spread = f"{statistics.stdev(trial.accuracies):.2f}" if len(trial.accuracies) > 1 else ""
        values = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in trial.fields.values()]
        number = f"{trial.number} (the recipe)" if trial is first else str(trial.number)
        rows.append((number, f"{trial.mean:.2f} %", spread, f"{low:.1f} to {high:.1f}", *values))
    print_table(("trial", "held out", "std", "95 %", *_short(fields)), rows)
    failed = f", {len(found.failed)} more could not be built" if found.failed else ""
    print(
        f"best of {len(found.trials)} trials{failed}, chosen on the same {found.held_images} held-out training images "
        "that its accuracy is measured on: expect a little less on new ones"
    )
    print(f"search folder: {printable(str(folder))}")
    print(f"train it with: {command}\nor with: torchhebb train --best {shlex.quote(str(folder))}")


def _short(fields: Sequence[str]) -> list[str]:
    """Names of fields without their common beginning.

    >>> _short(["architecture.blocks.0.lr", "architecture.blocks.1.lr"]), _short(["learning.epochs"])
    (['0.lr', '1.lr'], ['epochs'])
    """
    parts = [field.split(".") for field in fields]
    shared = 0
    while all(len(part) > shared + 1 and part[shared] == parts[0][shared] for part in parts):
        shared += 1
    return [".".join(part[shared:]) for part in parts]
