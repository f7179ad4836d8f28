"""The command line: parses, calls, prints."""

import contextlib
import io
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, make_dataclass
from datetime import datetime
from itertools import groupby, takewhile
from pathlib import Path
from typing import Annotated, Any

import tyro

from torchhebb.errors import UserError, unknown_name
from torchhebb.process import tune_process
from torchhebb.recipes import get_items, get_recipe, list_papers, list_recipes, recipe_functions
from torchhebb.train import Options, Recipe, new_run_folder, read_config, run_recipe

DEFAULT_RECIPE = "softhebb2023-digits"

USAGE = """usage: torchhebb COMMAND ...

  train [RECIPE]        learn, read out and test a recipe (default: {default})
  evaluate WHAT RUN     ask a run, or a recipe that is trained first; without WHAT, the questions there are
  reproduce PAPER       what fits a budget of time of {papers}
  report RUN...         one page about finished runs, with their figures
  predict RUN IMAGE...  classes of image files by a trained run
  list                  recipes, with the flags --data and --store for data sets and kept files

torchhebb COMMAND --help tells more."""


def main(argv: list[str] | None = None) -> int:
    """Run one command; exit code 0, 2 for a user's mistake, 130 for Ctrl-C, 141 where nobody reads the output."""
    tune_process()
    arguments = sys.argv[1:] if argv is None else argv
    try:
        if not arguments or arguments[0] in ("-h", "--help"):
            print(_usage())
            return 0
        if arguments[0] not in COMMANDS:
            raise unknown_name("command", arguments[0], COMMANDS)
        return COMMANDS[arguments[0]](arguments[1:])
    except UserError as error:
        print(f"torchhebb: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Who read the output has gone; without this the interpreter would complain once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print("torchhebb: stopped", file=sys.stderr)
        return 130


@dataclass(frozen=True)
class TrainFlags:
    """Learn without labels, read out, test; everything is kept in the run folder."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    options: Annotated[Options, tyro.conf.arg(name="")]
    out: Path | None = None
    """The run folder; by default runs/<recipe>-<time>."""
    resume: Path | None = None
    """Go on with this run folder where it stopped."""
    results: Path | None = None
    """Also keep the result as RESULTS/<recipe>/accuracy-<cpu or gpu>.json."""


def train(arguments: list[str]) -> int:
    """torchhebb train [RECIPE] [flags]"""
    from torchhebb.report import write_report
    from torchhebb.terminal import make_progress, print_result

    named = bool(arguments) and not arguments[0].startswith("-")
    name, arguments = (arguments[0], arguments[1:]) if named else (None, arguments)
    resumed = _resume_folder(arguments)
    recipe, options = (
        read_config(resumed) if resumed else (get_recipe(DEFAULT_RECIPE if name is None else name), Options())
    )
    if resumed and name not in (None, recipe.name):
        raise UserError(f"{resumed} holds {recipe.name}, not {name}")
    flags = parse(
        TrainFlags, arguments, f"torchhebb train {recipe.name}", default=TrainFlags(recipe, options, resume=resumed)
    )
    if flags.resume and flags.out:
        raise UserError("--resume names the run folder itself: leave out --out")
    folder = flags.resume or flags.out or new_run_folder(flags.recipe)
    progress = make_progress()
    try:
        command = shlex.join(["torchhebb", "train", *([name] if name else []), *arguments])
        result = run_recipe(flags.recipe, flags.options, folder=folder, progress=progress, command=command)
    except KeyboardInterrupt:
        progress.close()
        started = (folder / "config.json").exists()
        advice = f"; go on with: torchhebb train --resume {shlex.quote(str(folder))}" if started else ""
        print(f"torchhebb: stopped{advice}", file=sys.stderr)
        return 130
    finally:
        progress.close()
    if flags.results is not None:
        result.write(flags.results / result.recipe / f"{result.question}-{result.device_slug}.json")
    print_result(result, folder)
    page = write_report([folder], device=flags.options.device, data_dir=flags.options.data_dir)
    print(f"report: {page}")
    return 0


@dataclass(frozen=True)
class ReportFlags:
    """One self-contained HTML page about finished runs; several are compared."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders."""
    out: Path | None = None
    """The file; by default report.html in the folder of a single run, for several in the current folder."""
    device: str = "auto"
    """Where features that are not kept any more are computed again."""
    data_dir: Path | None = None
    """Where the data sets are; by default what the run was given."""


def report(arguments: list[str]) -> int:
    """torchhebb report RUN... [--out FILE]"""
    from torchhebb.report import write_report
    from torchhebb.terminal import make_progress

    flags = parse(ReportFlags, arguments, "torchhebb report")
    if not flags.runs:
        raise UserError("report needs run folders: torchhebb report RUN...")
    progress = make_progress()
    try:
        page = write_report(flags.runs, flags.out, device=flags.device, data_dir=flags.data_dir, progress=progress)
    finally:
        progress.close()
    print(page)
    return 0


@dataclass(frozen=True)
class EvaluateFlags:
    """Ask a finished run, or a recipe that is trained first; the answer is kept in the run folder."""

    options: Annotated[Options, tyro.conf.arg(name="")]
    out: Path | None = None
    """The run folder of a recipe; by default runs/<recipe>-<time>."""
    first_seeds: int | None = None
    """Ask only so many seeds of the run, the first ones."""
    results: Path | None = None
    """Also keep the result as RESULTS/<recipe>/<question>-<cpu or gpu>.json."""


def evaluate(arguments: list[str]) -> int:
    """torchhebb evaluate WHAT RUN|RECIPE [flags]"""
    from torchhebb.evaluate import evaluate, get_evaluator, list_evaluators, open_run
    from torchhebb.terminal import make_progress, print_result

    names = list(takewhile(lambda argument: not argument.startswith("-"), arguments[:2]))
    if not names:
        print(f"usage: torchhebb evaluate WHAT RUN|RECIPE [flags]; WHAT is one of {', '.join(list_evaluators())}")
        return 0 if arguments else 2
    question, target = names[0], "".join(names[1:])
    evaluator = get_evaluator(question)()
    trained = (Path(target) / "config.json").exists()
    if target and not trained and target not in list_recipes():
        raise unknown_name("run folder or recipe", target, list_recipes())
    options = read_config(Path(target))[1] if trained else Options()
    kind = make_dataclass(
        "EvaluateFlags",
        [("evaluator", Annotated[type(evaluator), tyro.conf.arg(name="")])],
        bases=(EvaluateFlags,),
        frozen=True,
        kw_only=True,
    )
    kind.__doc__ = EvaluateFlags.__doc__
    flags = parse(
        kind,
        arguments[len(names) :],
        f"torchhebb evaluate {question}",
        default=kind(options=options, evaluator=evaluator),
    )
    if not target:
        raise UserError(f"torchhebb evaluate {question} needs a run folder or the name of a recipe")
    if trained and flags.out:
        raise UserError("--out is for a recipe: a run keeps its answers in its own folder")
    command = shlex.join(["torchhebb", "evaluate", *arguments])
    progress = make_progress()
    try:
        folder = Path(target)
        if not trained:
            recipe = get_recipe(target)
            folder = flags.out or new_run_folder(recipe)
            run_recipe(recipe, flags.options, folder=folder, progress=progress, command=command)
        run = open_run(folder, flags.options, seeds=flags.first_seeds, progress=progress)
        result = evaluate(flags.evaluator, run, command=command)
    finally:
        progress.close()
    if flags.results is not None:
        result.write(flags.results / result.recipe / f"{result.question}-{result.device_slug}.json")
    print_result(result, folder)
    return 0


@dataclass(frozen=True)
class ReproduceFlags:
    """What a paper reports, beside what it published: the cheapest first, until the budget is spent; resumable."""

    paper: tyro.conf.Positional[str]
    options: Annotated[Options, tyro.conf.arg(name="")]
    budget: str = "30m"
    """How long it may take, as in 90s, 30m or 2h."""
    only: tuple[str, ...] = ()
    """Only items whose name or recipe holds one of these patterns."""
    out: Path | None = None
    """Where runs are kept and resumed; by default runs/reproduce-<paper>."""
    results: Path | None = None
    """Also keep results as RESULTS/<recipe>/<question>-<cpu or gpu>.json."""


def reproduce(arguments: list[str]) -> int:
    """torchhebb reproduce PAPER [--budget 30m] [--only PATTERN...]"""
    from torchhebb.evaluate.reproduce import choose_items, parse_duration, reproduce
    from torchhebb.terminal import make_progress, print_outcomes

    flags = parse(ReproduceFlags, arguments, "torchhebb reproduce")
    items, budget = choose_items(get_items(flags.paper), flags.only), parse_duration(flags.budget)
    folder = flags.out or Path("runs") / f"reproduce-{flags.paper}"
    progress = make_progress()
    try:
        outcomes = reproduce(
            items,
            folder,
            budget=budget,
            options=flags.options,
            results=flags.results,
            progress=progress,
            command=shlex.join(["torchhebb", "reproduce", *arguments]),
        )
    finally:
        progress.close()
    print_outcomes(outcomes, folder)
    return 1 if any(outcome.status == "failed" for outcome in outcomes) else 0


@dataclass(frozen=True)
class PredictFlags:
    """The class of each image file by a trained run."""

    run: tyro.conf.Positional[Path]
    """A run folder."""
    images: tyro.conf.Positional[tuple[Path, ...]]
    """Image files; they are scaled to the size that the network takes."""
    top: int = 1
    """How many classes to show for each image, the likeliest first."""


def predict(arguments: list[str]) -> int:
    """torchhebb predict RUN IMAGE... [--top N]"""
    from torchhebb.terminal import print_predictions
    from torchhebb.train.predict import predict_files

    flags = parse(PredictFlags, arguments, "torchhebb predict")
    if not flags.images:
        raise UserError("predict needs image files: torchhebb predict RUN IMAGE...")
    print_predictions(predict_files(flags.run, flags.images, top=flags.top))
    return 0


@dataclass(frozen=True)
class ListFlags:
    """What there is: recipes that match a pattern, data sets, or files kept in the store."""

    pattern: tyro.conf.Positional[str] = "*"
    data: bool = False
    """List data sets in place of recipes."""
    store: bool = False
    """List what the store keeps, in place of recipes."""


def list_(arguments: list[str]) -> int:
    """torchhebb list [PATTERN] [--data] [--store]"""
    from torchhebb.data import Store, list_data
    from torchhebb.terminal import print_table

    flags = parse(ListFlags, arguments, "torchhebb list")
    if flags.store:
        kept = [
            (f"{e.bytes / 1e6:,.1f} MB", f"{datetime.fromtimestamp(e.last_used):%Y-%m-%d %H:%M}", _what(e.key))
            for e in Store().entries()
        ]
        print_table(("size", "last used", "what"), kept)
    elif flags.data:
        print_table(("data set",), [(name,) for name in list_data()])
    else:
        functions = recipe_functions()
        rows = [(name, (functions[name].__doc__ or "").split("\n")[0]) for name in list_recipes(flags.pattern)]
        if not rows:
            raise UserError(f"no recipe matches {flags.pattern!r}; `torchhebb list` shows all")
        print_table(("recipe", "what it is"), rows)
    return 0


def _what(key: Mapping[str, Any]) -> str:
    """A store entry in a few words: what it is and of which data, not the whole network that made it."""
    named = {name: value for name, value in key.items() if isinstance(value, str) and name not in ("modules", "dtype")}
    return " ".join([named.pop("kind", "data set"), *(f"{name}={value}" for name, value in sorted(named.items()))])


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": train,
    "evaluate": evaluate,
    "reproduce": reproduce,
    "report": report,
    "predict": predict,
    "list": list_,
}


def _usage() -> str:
    return USAGE.format(default=DEFAULT_RECIPE, papers=", ".join(list_papers()))


def parse(kind: Any, arguments: list[str], program: str, **default: Any) -> Any:
    """Flags into a dataclass; a mistake becomes a UserError of one line."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(kind, prog=program, args=arguments, config=(tyro.conf.AvoidSubcommands,), **default)
    except SystemExit as stop:
        if not stop.code:
            raise
        # A title, the message, a rule, help: in a box of "│" and "─", or under "-" where the output is not UTF-8.
        _, *lines = (line.strip(" │╭╮╰╯") for line in said.getvalue().splitlines() if line.strip())
        parts = [list(part) for rule, part in groupby(lines, lambda line: not line.strip("─-")) if not rule]
        flags = ", ".join(line for part in parts[1:] for line in part if line.startswith("--"))
        raise UserError(
            f"{' '.join(parts[0]).rstrip('.')}; see {flags + ' in ' if flags else ''}{program} --help"
        ) from None


def _resume_folder(arguments: list[str]) -> Path | None:
    """The folder after --resume: its recipe gives the other flags their defaults."""
    for flag, value in zip(arguments, [*arguments[1:], ""], strict=False):
        if flag == "--resume":
            return Path(value)
        if flag.startswith("--resume="):
            return Path(flag.removeprefix("--resume="))
    return None
