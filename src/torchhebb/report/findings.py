"""Sections of the report page for the results of questions: tables of measures, figures of curves."""

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from os.path import commonprefix

from torchhebb.evaluate import get_evaluator
from torchhebb.report.answers import Evaluation
from torchhebb.report.figures import LINES
from torchhebb.report.parts import Figure, Section, Table, card, curves
from torchhebb.report.series import Series
from torchhebb.report.words import duration, number
from torchhebb.runs.baselines import COMPARED
from torchhebb.train import Curve, Measure

ROWS_UP_TO = 25
CURVES_UP_TO = len(LINES)
HEADINGS = {"accuracy": "Accuracy of every readout"}  # where the name of a question would say too little
# A run need not be SoftHebb's, so its own network is called by no rule.
WORDS: dict[str, str] = {name: words for name, words in COMPARED.items() if name != "own"} | {"own": "this network"}


def evaluation_section(evaluation: Evaluation, key: str) -> Section:
    """The section of one result; `key` distinguishes its figures from those of other runs."""
    question, result = evaluation.question, evaluation.result
    heading = HEADINGS.get(question, _sentence(in_words(question)))
    about = (sys.modules[get_evaluator(question).__module__].__doc__ or "").strip().split("\n")[0]
    if result is None:
        return Section(heading, about, (), left_out=evaluation.left_out)
    groups = enumerate(curve_groups(result.curves))
    lines = [_curves(group, f"{key} {question} {position}") for position, group in groups]
    cards = [card(p.svg, f"{heading}, {in_words(p.name)}. {p.caption}", p.caption) for p in evaluation.pictures]
    seeds = "1 seed" if len(result.seeds) == 1 else f"{len(result.seeds)} seeds"
    bands = ["bands: one standard deviation"] if any(curve.std for curve in result.curves) else []
    return Section(
        heading,
        about,
        (*lines, *cards),
        tables=tuple(measure_tables(result.measures)),
        left_out=evaluation.left_out,
        origin=" · ".join([result.command, result.device, duration(result.seconds), seeds, *bands]),
    )


def measure_tables(measures: Sequence[Measure]) -> Iterator[Table]:
    """One open table; of more than 25 measures one a prefix under its title, all but a short first one folded.

    Prefixes of one or two measures share the last table.
    """
    if len(measures) <= ROWS_UP_TO:
        if measures:
            yield _table([(measure.name, measure) for measure in measures])
        return
    groups: dict[str, list[tuple[str, Measure]]] = defaultdict(list)
    for measure in measures:
        head, rest = prefix(measure.name)
        groups[head].append((rest, measure))
    shared = [(in_words(head), rows) for head, rows in groups.items() if len(rows) > 2]
    if few := [(measure.name, measure) for rows in groups.values() if len(rows) <= 2 for _, measure in rows]:
        shared.append(("more" if shared else "measures", few))
    for position, (title, rows) in enumerate(shared):
        yield _table(rows, _sentence(title), folded=position > 0 or len(rows) > ROWS_UP_TO)


def prefix(name: str) -> tuple[str, str]:
    """The first part of a measure's name, a baseline's whole name where it begins with one, and the rest.

    >>> prefix("backpropagation_long_linf_0.1_accuracy"), prefix("block1_r1_share"), prefix("loss")
    (('backpropagation_long', 'linf_0.1_accuracy'), ('block1', 'r1_share'), ('loss', ''))
    """
    head = max((c for c in COMPARED if f"{name}_".startswith(f"{c}_")), key=len, default=name.partition("_")[0])
    return head, name[len(head) + 1 :]


def curve_groups(curves: Iterable[Curve]) -> list[list[Curve]]:
    """Curves that share their axes; where they are too many for one figure, those that share a word of their names."""
    curves = list(curves)
    by_axes = _grouped(curves, [(curve.x_label, curve.y_label) for curve in curves])
    return [part for group in by_axes for part in _split(group)]


def labels(names: Sequence[str]) -> tuple[str, list[str]]:
    """What names have in common, in words, and what tells each from the others.

    >>> labels(["contrast own", "contrast hard"]), labels(["block1 win_rates"])
    (('contrast', ['this network', 'hard WTA']), ('', ['block1 win rates']))
    """
    split = [name.split(" ") for name in names]
    shortest = min(map(len, split)) - 1
    front = 0 if len(names) == 1 else min(shortest, len(commonprefix(split)))
    back = 0 if len(names) == 1 else min(shortest - front, len(commonprefix([parts[::-1] for parts in split])))
    shared = [*split[0][:front], *split[0][len(split[0]) - back :]]
    apart = [in_words(" ".join(parts[front : len(parts) - back])) for parts in split]
    return (in_words(" ".join(shared)), apart) if len(set(apart)) == len(names) else ("", list(names))


def in_words(name: str) -> str:
    """A name of measures and curves as one reads it.

    >>> in_words("hard_test_accuracy"), in_words("1_pass own linear")
    ('hard WTA test accuracy', '1 pass this network linear')
    """
    parts = [prefix(part) for part in name.split(" ")]
    return " ".join(f"{WORDS.get(head, head)} {rest}".replace("_", " ").strip() for head, rest in parts).strip()


def _grouped(curves: Sequence[Curve], keys: Sequence[object]) -> list[list[Curve]]:
    groups: dict[object, list[Curve]] = defaultdict(list)
    for curve, key in zip(curves, keys, strict=True):
        groups[key].append(curve)
    return list(groups.values())


def _split(group: list[Curve]) -> list[list[Curve]]:
    """Parts that a figure can tell apart: by the first or the last word, whichever makes fewer, else as they come."""
    if len(group) <= CURVES_UP_TO:
        return [group]
    by_word = [_grouped(group, [curve.name.split(" ")[position] for curve in group]) for position in (0, -1)]
    if possible := [parts for parts in by_word if 1 < len(parts) < len(group)]:
        return [smaller for part in min(possible, key=len) for smaller in _split(part)]
    return [group[start : start + CURVES_UP_TO] for start in range(0, len(group), CURVES_UP_TO)]


def _curves(group: Sequence[Curve], key: str) -> Figure:
    shared, names = labels([curve.name for curve in group])
    y_label = group[0].y_label
    title = y_label if set(shared.split()) <= set(y_label.split()) else f"{shared}: {y_label}"
    return curves(dict(zip(names, map(_series, group), strict=True)), group[0].x_label, _sentence(title), key)


def _series(curve: Curve) -> Series:
    """Its points from left to right, with one standard deviation on both sides."""
    points = sorted(zip(curve.x, curve.y, curve.std or (0.0,) * len(curve.y), strict=True), key=lambda point: point[0])
    low, high = (tuple(y + sign * std for _, y, std in points) for sign in (-1, 1))
    return Series(tuple(x for x, _, _ in points), tuple(y for _, y, _ in points), low, high)


def _table(rows: Sequence[tuple[str, Measure]], title: str = "", *, folded: bool = False) -> Table:
    """Columns that would be empty are left out."""
    columns = ("measure", "mean ± std", "95 % interval", "n", "published")
    cells = [(in_words(name) or "itself", *_cells(measure)) for name, measure in rows]
    kept = [place for place in range(len(columns)) if any(row[place] for row in cells)]
    picked = tuple(tuple(row[place] or "–" for place in kept) for row in cells)
    return Table(tuple(columns[place] for place in kept), picked, title, folded)


def _cells(measure: Measure) -> tuple[str, ...]:
    def text(value: float | None) -> str:
        """Two places of a percentage, three digits of anything else."""
        if value is None:
            return ""
        return f"{value:.2f}" if measure.unit in ("%", "points") else number(value)

    mean = " ± ".join(filter(None, (text(measure.mean), text(measure.std))))
    interval = " to ".join(map(text, measure.interval or ()))
    return f"{mean} {measure.unit}".strip(), interval, str(len(measure.values)), text(measure.published)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
