"""The command line: parses, calls, prints."""

import contextlib
import io
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from torchhebb.errors import UserError, unknown_name
from torchhebb.process import tune_process
from torchhebb.recipes import get_recipe, list_recipes, recipe_functions
from torchhebb.train import Options, Recipe, new_run_folder, read_config, run_recipe

DEFAULT_RECIPE = "softhebb2023-digits"

USAGE = """usage: torchhebb COMMAND ...

  train [RECIPE]        learn, read out and test a recipe (default: {default})
  predict RUN IMAGE...  classes of image files by a trained run
  list                  recipes, with the flags --data and --store for data sets and kept files

torchhebb COMMAND --help tells more."""


def main(argv: list[str] | None = None) -> int:
    """Run one command; exit code 0, 2 for a user's mistake, 130 for Ctrl-C."""
    tune_process()
    arguments = sys.argv[1:] if argv is None else argv
    try:
        if not arguments or arguments[0] in ("-h", "--help"):
            print(USAGE.format(default=DEFAULT_RECIPE))
            return 0
        if arguments[0] not in COMMANDS:
            raise unknown_name("command", arguments[0], COMMANDS)
        return COMMANDS[arguments[0]](arguments[1:])
    except UserError as error:
        print(f"torchhebb: {error}", file=sys.stderr)
        return 2
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
    from torchhebb.terminal import make_progress, print_result

    name, arguments = (arguments[0], arguments[1:]) if arguments and arguments[0][0] != "-" else (None, arguments)
    resumed = _resume_folder(arguments)
    recipe, options = read_config(resumed) if resumed else (get_recipe(name or DEFAULT_RECIPE), Options())
    if name not in (None, recipe.name):
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
        print(f"torchhebb: stopped; go on with: torchhebb train --resume {shlex.quote(str(folder))}", file=sys.stderr)
        return 130
    finally:
        progress.close()
    if flags.results is not None:
        result.write(flags.results / result.recipe / f"{result.question}-{result.device_slug}.json")
    print_result(result, folder)
    return 0


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
            (f"{e.bytes / 1e6:,.1f} MB", f"{e.last_used}", shlex.join(map(str, e.key.values())))
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


COMMANDS: dict[str, Callable[[list[str]], int]] = {"train": train, "predict": predict, "list": list_}


def parse(kind: Any, arguments: list[str], program: str, **default: Any) -> Any:
    """Flags into a dataclass; a mistake becomes a UserError of one line."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(kind, prog=program, args=arguments, config=(tyro.conf.AvoidSubcommands,), **default)
    except SystemExit as stop:
        if not stop.code:
            raise
        boxed = [line.strip("│ ") for line in said.getvalue().splitlines() if line.startswith("│")]
        rule = next((number for number, line in enumerate(boxed) if line.startswith("──")), len(boxed))
        raise UserError(f"{' '.join(boxed[:rule])}; see {program} --help") from None


def _resume_folder(arguments: list[str]) -> Path | None:
    """The folder after --resume: its recipe gives the other flags their defaults."""
    for flag, value in zip(arguments, [*arguments[1:], ""], strict=False):
        if flag == "--resume":
            return Path(value)
        if flag.startswith("--resume="):
            return Path(flag.removeprefix("--resume="))
    return None
