"""One self-contained HTML file about one run or several: no script, no network, everything from outside escaped."""

import base64
import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from markupsafe import Markup

from torchhebb import __version__
from torchhebb.config import to_json
from torchhebb.data import Store
from torchhebb.errors import UserError
from torchhebb.progress import SILENT, Progress
from torchhebb.recipes import recipe_functions
from torchhebb.report import figures
from torchhebb.report.collect import Answers, Run, read_run
from torchhebb.report.series import Series, block_name, learning_series, readout_series
from torchhebb.report.words import duration, flatten, number
from torchhebb.train.diagnostics import plastic_layers
from torchhebb.train.run import BASELINES

EXAMPLES, PAIRS = 9, 3


@dataclass(frozen=True)
class Figure:
    """A picture with its text alternative inside, and the caption that holds its numbers."""

    markup: Markup
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class Section:
    """Figures under one heading; `note` says what they show or what was left out."""

    title: str
    note: str
    figures: tuple[Figure, ...]
    small: tuple[Figure, ...] = ()  # many small pictures, together as wide as one figure


def write_report(
    folders: Sequence[Path],
    out: Path | None = None,
    *,
    device: str = "auto",
    data_dir: Path | str | None = None,
    store: Store | None = None,
    progress: Progress = SILENT,
) -> Path:
    """Write the page about finished runs and return its path: by default report.html in the folder of a single run,
    for several in the current one.

    Raises UserError for a folder that is none, unfinished or damaged, or a page that cannot be written.
    """
    runs = [read_run(f, device=device, data_dir=data_dir, store=store, progress=progress) for f in folders]
    out = out or (folders[0] if len(folders) == 1 else Path()) / "report.html"
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(render(runs), encoding="utf-8")
        os.replace(temporary, out)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise UserError(f"cannot write {out}: {error.strerror}; free space or choose another place") from error
    return out


def render(runs: Sequence[Run]) -> str:
    """The page about runs, as HTML; several begin with a table that compares them.  Raises ValueError for none."""
    from jinja2 import Environment, StrictUndefined

    if not runs:
        raise ValueError("a report needs at least one run, got none")
    source = (resources.files("torchhebb.report") / "page.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    views = [view(run, str(number)) for number, run in enumerate(runs, 1)]
    methods = list(dict.fromkeys(row["name"] for shown in views for row in shown["measures"]))
    return environment.from_string(source).render(runs=views, methods=methods, version=__version__)


def view(run: Run, key: str) -> dict[str, Any]:
    """What the template shows of a run; `key` tells the figures of several runs apart."""
    result, function = run.result, recipe_functions().get(run.recipe.name)
    measures = [
        {
            "name": _method(measure.name),
            "mean": f"{measure.mean:.2f}",
            "std": "" if measure.std is None else f"{measure.std:.2f}",
            "values": [f"{value:.2f}" for value in measure.values],
            "published": "" if measure.published is None else f"{measure.published:.2f}",
            "unit": measure.unit,
        }
        for measure in result.measures
    ]
    config = {name: value for name, value in to_json(run.recipe).items() if name != "architecture"}
    architecture = to_json(run.recipe.architecture)
    blocks = [dict(flatten(block)) for block in architecture.pop("blocks")]
    top = list(dict.fromkeys(name.split(":")[0] for block in blocks for name in block))
    fields = sorted(dict.fromkeys(name for block in blocks for name in block), key=lambda n: top.index(n.split(":")[0]))
    return {
        "folder": run.folder.resolve().name,
        "recipe": run.recipe.name,
        "about": (function.__doc__ or "").split("\n")[0] if function else "",
        "measures": measures,
        "by_method": {row["name"]: row for row in measures},
        "seeds": len(result.seeds),
        "time": duration(result.seconds),
        "device": result.device,
        "versions": ", ".join(f"{name} {version}" for name, version in result.versions.items()),
        "commit": result.commit,
        "command": result.command,
        "environment": [
            ("device", result.device),
            ("precision", result.notes["precision"]),
            ("time over all seeds", duration(result.seconds)),
            *result.versions.items(),
            ("commit", result.commit),
            ("data", f"{result.data['name']}, fingerprint {result.data['fingerprint']}"),
            ("seeds", ", ".join(map(str, result.seeds))),
            ("run folder", run.folder.resolve().name),
        ],
        "blocks": [(name, [block.get(name, "–") for block in blocks]) for name in fields],
        "settings": list(flatten(config | {"input": architecture} | {"options": to_json(run.options)})),
        "sections": list(_sections(run, key)),
    }


def _sections(run: Run, key: str) -> Iterator[Section]:
    accuracy, loss = _accuracy(run, key), readout_series(run.log)
    losses = [_curves(loss, "epochs", "Readout loss", key, log=True)] if loss else []
    yield Section("Accuracy", "", (accuracy, *losses))
    radius, r1 = (learning_series(run.log, quantity) for quantity in ("radius_mean", "r1_share"))
    if radius:
        note = "A neuron whose weights have norm 1 has settled: its step is zero. Bands span the seeds."
        curves = (
            _curves(radius, "images seen", "Mean radius of the neurons", key, mark=1.0),
            _curves(r1, "images seen", "Share of neurons at radius 1", key, limits=(-0.02, 1.02)),
        )
        yield Section("Learning without labels", note, curves)
    if run.answers is not None:
        bars = tuple(_win_rates(block_name(name), rates, key) for name, rates in run.answers.win_rates.items())
        yield Section("Who wins", "How often each neuron responds most strongly, on test images.", bars)
    if figure := _filters(run):
        yield Section("First-layer filters", "", (figure,))
    if run.answers is None:
        missing = "The confusion matrix, the images most confused and the win rates are left out"
        yield Section("Mistakes", f"{missing}: {run.left_out}.", ())
        return
    worst = tuple(_examples(run, run.answers))
    note = "Of the first seed; its wrong answers as images, the most confident first."
    note = note if worst else "The first seed answered every test image right."
    yield Section("Mistakes", note, (_confusion(run, run.answers, key),), worst)


def _accuracy(run: Run, key: str) -> Figure:
    measures = [measure for measure in run.result.measures if measure.unit == "%"]
    rows = {_method(measure.name): measure.values for measure in measures}
    published = run.recipe.published
    svg = figures.dots(rows, "Test accuracy, %", mark=published, name=f"{key} accuracy")
    said = "; ".join(f"{_method(m.name)} {m.mean:.2f}" + (f" ± {m.std:.2f}" if m.std else "") for m in measures)
    beside = "no published value" if published is None else f"published {published:.2f}"
    return _drawn(svg, "Test accuracy in percent", f"{said}; {beside}. A dot is a seed, a bar the mean.")


def _curves(series: dict[str, Series], x_label: str, title: str, key: str, **drawing: Any) -> Figure:
    svg = figures.lines(series, x_label, title, name=f"{key} {title}", **drawing)
    ends = "; ".join(f"{name} {number(s.mean[0])} → {number(s.mean[-1])}" for name, s in series.items())
    return _drawn(svg, f"{title} against {x_label}", f"{ends}.")


def _win_rates(layer: str, rates: Any, key: str) -> Figure:
    names, shares = figures.win_rate_shares(rates)
    title = f"{layer[:1].upper()}{layer[1:]}, {len(rates):,} neurons"
    svg = figures.histogram(names, shares, title, "wins, in multiples of the fair share", name=f"{key} {layer}")
    most = f"{rates.max().item():.1%}".replace("%", " %")
    return _drawn(svg, f"Win rates of {layer}", f"{shares[0]:.0f} % never win here; the most frequent wins {most}.")


def _filters(run: Run) -> Figure | None:
    name, layer = next(iter(plastic_layers(run.network).items()))
    weight, shape = layer.weight, run.recipe.architecture.input_shape
    if weight.dim() == 2 and weight.shape[1] != math.prod(shape):
        return None
    shown = min(len(weight), 96)
    size = "×".join(map(str, weight.shape[2:] or shape[1:]))
    which = f"all {shown}" if shown == len(weight) else f"the first {shown} of {len(weight):,}"
    sign = "mid grey is zero" if layer.weight.shape[1] == 3 else "rust is positive, blue negative, clear zero"
    alt = f"Weights of {block_name(name)} as small images"
    caption = f"{which[:1].upper()}{which[1:]} neurons of {block_name(name)}, {size} pixels each; {sign}."
    return _image(figures.filters(weight, shape), alt, caption, wide=True)


def _confusion(run: Run, answers: Answers, key: str) -> Figure:
    counts = answers.confusion(len(run.classes))
    svg = figures.confusion(counts, run.classes, name=f"{key} confusion")
    off = counts.clone().fill_diagonal_(0)
    found = [divmod(int(i), len(off)) for i in off.flatten().argsort(descending=True, stable=True)[:PAIRS]]
    pairs = [
        f"{run.classes[t]} taken for {run.classes[p]} ({off[t, p]} of {counts[t].sum()})" for t, p in found if off[t, p]
    ]
    said = f"{counts.trace():,} of {counts.sum():,} test images right, first seed. "
    return _drawn(svg, "Confusion matrix", said + (f"Most often: {'; '.join(pairs)}." if pairs else ""))


def _examples(run: Run, answers: Answers) -> Iterator[Figure]:
    for index in answers.most_confused(EXAMPLES).tolist():
        true, said = (run.classes[int(labels[index])] for labels in (answers.labels, answers.predicted))
        percent = 100 * float(answers.log_odds[index].sigmoid())
        confidence = (
            ">\N{NO-BREAK SPACE}99.9\N{NO-BREAK SPACE}%" if percent > 99.9 else f"{percent:.1f}\N{NO-BREAK SPACE}%"
        )
        caption = f"{true} → {said}\n{confidence}"
        alt = f"Test image {index}: {true}, taken for {said} with confidence {confidence}"
        yield _image(figures.picture(answers.images[index]), alt, caption)


def _drawn(svg: bytes, title: str, caption: str) -> Figure:
    label = Markup('<svg role="img" aria-label="{}" ').format(f"{title}. {caption}")
    return Figure(label + Markup(svg.decode().removeprefix("<svg ")), caption)


def _image(png: bytes, alt: str, caption: str, *, wide: bool = False) -> Figure:
    data = base64.b64encode(png).decode()
    return Figure(Markup('<img src="data:image/png;base64,{}" alt="{}">').format(data, alt), caption, wide)


def _method(measure: str) -> str:
    """The row of a measure: what was read out."""
    names = {"test_accuracy": "learned features"} | {f"{b}_test_accuracy": name for b, name in BASELINES.items()}
    return names.get(measure, measure.replace("_", " "))
