"""The report: one self-contained HTML file about one or several runs, without scripts, with escaped content."""

import math
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from torchhebb import __version__
from torchhebb.config import to_json
from torchhebb.data import Store
from torchhebb.errors import without_controls
from torchhebb.files import write_atomically
from torchhebb.progress import SILENT, Progress
from torchhebb.recipes import recipe_functions
from torchhebb.report import figures, pictures
from torchhebb.report.collect import Answers, Reported, first_layer, read_run
from torchhebb.report.findings import evaluation_section
from torchhebb.report.parts import Figure, Section, curves, drawn, image
from torchhebb.report.series import block_name, learning_series, readout_series
from torchhebb.report.words import duration, flatten
from torchhebb.runs import Run
from torchhebb.runs.baselines import BASELINES

EXAMPLES, PAIRS = 9, 3


def write_report(
    runs: Sequence[Path | Run],
    out: Path | None = None,
    *,
    device: str = "auto",
    data_dir: Path | str | None = None,
    store: Store | None = None,
    progress: Progress = SILENT,
) -> Path:
    """Write the page about finished runs and return its path: by default report.html in the folder of a single run,
    for several in the current one.

    Args: runs, folders, or runs that are open, of which nothing is read again; the others are as in `read_run`.
    Raises UserError for a folder that is none, unfinished or damaged, or a page that cannot be written.
    """
    read = [read_run(run, device=device, data_dir=data_dir, store=store, progress=progress) for run in runs]
    out = out or (read[0].folder if len(read) == 1 else Path()) / "report.html"
    write_atomically(out, render(read))
    return out


def render(runs: Sequence[Reported]) -> str:
    """The page about runs, as HTML; several begin with a table that compares them.  Raises ValueError for none."""
    from jinja2 import Environment, StrictUndefined

    if not runs:
        raise ValueError("a report needs at least one run, got none")
    source = (resources.files("torchhebb.report") / "page.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    views = [view(run, str(number)) for number, run in enumerate(runs, 1)]
    methods = list(dict.fromkeys(row["name"] for shown in views for row in shown["measures"]))
    page = environment.from_string(source).render(runs=views, methods=methods, version=__version__)
    return without_controls(page)


def view(run: Reported, key: str) -> dict[str, Any]:
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
        if run.classes
    ]
    changes = (
        [] if run.classes else [(m.name.replace("_", " "), f"{m.mean:.2f} {m.unit}".strip()) for m in result.measures]
    )
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
            *changes,
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


def _sections(run: Reported, key: str) -> Iterator[Section]:
    yield from _learning(run, key)
    yield _mistakes(run, key)
    for evaluation in run.evaluations:
        yield evaluation_section(evaluation, key)


def _learning(run: Reported, key: str) -> Iterator[Section]:
    if run.classes:
        loss = readout_series(run.log)
        losses = [curves(loss, "epochs", "Readout loss", key, log=True)] if loss else []
        yield Section("Accuracy", "", (_accuracy(run, key), *losses))
    radius, r1 = (learning_series(run.log, quantity) for quantity in ("radius_mean", "r1_share"))
    if radius:
        note = "A neuron whose weights have norm 1 has converged: its learning rate is zero. Bands span the seeds."
        drawings = (
            curves(radius, "images seen", "Mean radius of the neurons", key, mark=1.0),
            curves(r1, "images seen", "Fraction of neurons at radius 1", key, limits=(-0.02, 1.02)),
        )
        yield Section("Learning without labels", note, drawings)
    if run.answers is not None and run.answers.win_rates:
        bars = tuple(_win_rates(block_name(name), rates, key) for name, rates in run.answers.win_rates.items())
        yield Section("Win rates", "How often each neuron has the largest pre-activation, on test images.", bars)
    yield from _filters(run)


def _mistakes(run: Reported, key: str) -> Section:
    if run.answers is None:
        missing = "The confusion matrix, the images most confused and the win rates are left out"
        return Section("Mistakes", f"{missing}: {run.left_out}.", ())
    worst = tuple(_examples(run, run.answers))
    note = "Of the first seed; misclassified images, the most confident first."
    note = note if worst else "The first seed classified every test image correctly."
    return Section("Mistakes", note, (_confusion(run, run.answers, key),), worst)


def _accuracy(run: Reported, key: str) -> Figure:
    measures = [measure for measure in run.result.measures if measure.unit == "%"]
    rows = {_method(measure.name): measure.values for measure in measures}
    published = run.recipe.published
    svg = figures.dots(rows, "Test accuracy, %", mark=published, name=f"{key} accuracy")
    said = "; ".join(f"{_method(m.name)} {m.mean:.2f}" + (f" ± {m.std:.2f}" if m.std else "") for m in measures)
    beside = "no published value" if published is None else f"published {published:.2f}"
    return drawn(svg, "Test accuracy in percent", f"{said}; {beside}. A dot is a seed, a bar the mean.")


def _win_rates(layer: str, rates: Any, key: str) -> Figure:
    names, shares = figures.win_rate_shares(rates)
    title = f"{layer[:1].upper()}{layer[1:]}, {len(rates):,} neurons"
    svg = figures.histogram(names, shares, title, "win rate, in multiples of the uniform rate", name=f"{key} {layer}")
    most = f"{rates.max().item():.1%}".replace("%", " %")
    return drawn(
        svg, f"Win rates of {layer}", f"{shares[0]:.0f} % of neurons never win; the most frequent one wins {most}."
    )


def _filters(run: Reported) -> Iterator[Section]:
    """The weights of the first layer as images, where its inputs are pixels."""
    name, weight = first_layer(run.network)
    shape = run.recipe.architecture.input_shape
    whole = weight.dim() == 2
    if whole and weight.shape[1] != math.prod(shape):
        return
    shown = min(len(weight), 96)
    size = "×".join(map(str, shape[1:] if whole else weight.shape[2:]))
    which = f"all {shown}" if shown == len(weight) else f"the first {shown} of {len(weight):,}"
    channels = shape[0] if whole else weight.shape[1]
    sign = "mid grey is zero" if channels == 3 else "rust is positive, blue negative, clear zero"
    alt = f"Weights of {block_name(name)} as small images"
    caption = f"{which[:1].upper()}{which[1:]} neurons of {block_name(name)}, {size} pixels each; {sign}."
    note = (
        "A neuron sees the whole image: its weights are its prototype, the image it responds to most." if whole else ""
    )
    if weight is not run.network.get_submodule(name).weight:
        note = "Neurons that compete for whitened patches, as filters of pixels: their weights times the whitening."
    title = "First-layer prototypes" if whole else "First-layer filters"
    yield Section(title, note, (image(pictures.filters(weight, shape), alt, caption, wide=True),))


def _confusion(run: Reported, answers: Answers, key: str) -> Figure:
    counts = answers.confusion(len(run.classes))
    svg = figures.confusion(counts, run.classes, name=f"{key} confusion")
    off = counts.clone().fill_diagonal_(0)
    found = [divmod(int(i), len(off)) for i in off.flatten().argsort(descending=True, stable=True)[:PAIRS]]
    pairs = [
        f"{run.classes[t]} taken for {run.classes[p]} ({off[t, p]} of {counts[t].sum()})" for t, p in found if off[t, p]
    ]
    said = f"{counts.trace():,} of {counts.sum():,} test images right, first seed. "
    return drawn(svg, "Confusion matrix", said + (f"Most often: {'; '.join(pairs)}." if pairs else ""))


def _examples(run: Reported, answers: Answers) -> Iterator[Figure]:
    for index in answers.most_confused(EXAMPLES).tolist():
        true, said = (run.classes[int(labels[index])] for labels in (answers.labels, answers.predicted))
        percent = 100 * float(answers.log_odds[index].sigmoid())
        confidence = (
            ">\N{NO-BREAK SPACE}99.9\N{NO-BREAK SPACE}%" if percent > 99.9 else f"{percent:.1f}\N{NO-BREAK SPACE}%"
        )
        caption = f"{true} → {said}\n{confidence}"
        alt = f"Test image {index}: {true}, taken for {said} with confidence {confidence}"
        yield image(pictures.picture(answers.images[index]), alt, caption)


def _method(measure: str) -> str:
    """The row of a measure: what was read out."""
    baselines = {f"{name}_test_accuracy": baseline.label for name, baseline in BASELINES.items()}
    names = {"test_accuracy": "learned features", "online_test_accuracy": "online readout", **baselines}
    return names.get(measure, measure.replace("_", " "))
