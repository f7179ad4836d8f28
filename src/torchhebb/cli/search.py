"""torchhebb search: search for better settings of a recipe on held-out training images."""

import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from torchhebb.bounds import Checked
from torchhebb.cli.flags import DEFAULT_RECIPE, parse
from torchhebb.fields import differences
from torchhebb.recipes import get_recipe
from torchhebb.runs import ComputeOptions, SourceOptions
from torchhebb.search import Search
from torchhebb.train import Recipe


@dataclass(frozen=True)
class SearchFlags(Checked):
    """Search for better settings of a recipe on held-out training images; resumable, can be shared by processes."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    settings: Annotated[Search, tyro.conf.arg(name="")] = field(default_factory=Search)
    options: Annotated[ComputeOptions, tyro.conf.arg(name="")] = field(default_factory=ComputeOptions)
    source: Annotated[SourceOptions, tyro.conf.arg(name="")] = field(default_factory=SourceOptions)
    out: Path | None = None
    """The search folder, also to resume a search; by default runs/search-<recipe>."""


def run(arguments: list[str]) -> int:
    """torchhebb search [RECIPE] [--budget 30m] [--trials N] [--space FIELD=LOW:HIGH...]"""
    from torchhebb.data import load_data
    from torchhebb.progress_display import make_progress
    from torchhebb.search import Objective, default_space, flags_of, parse_space, search
    from torchhebb.terminal import print_found
    from torchhebb.train.compiled import check_compiler, compiled_steps
    from torchhebb.train.device import find_device, find_precision, warn_if_slow

    named = bool(arguments) and not arguments[0].startswith("-")
    name, rest = (arguments[0], arguments[1:]) if named else (DEFAULT_RECIPE, arguments)
    recipe = get_recipe(name)
    flags = parse(SearchFlags, rest, f"torchhebb search {name}", default=SearchFlags(recipe))
    recipe, settings, options = flags.recipe, flags.settings, flags.options
    _ = settings.seconds, parse_space(settings.space, recipe) or default_space(recipe)  # mistakes, before any data
    folder = flags.out or Path("runs") / f"search-{name}"
    device = find_device(options.device)
    compiling = compiled_steps(recipe, options.compile)
    if options.compile:
        check_compiler(device)
    progress = make_progress()
    try:
        data = load_data(recipe.data, data_dir=options.data_dir, **vars(flags.source), progress=progress)
        precision = find_precision(options.precision, device)
        warn_if_slow(precision, device)
        objective = Objective.of(
            data,
            held=settings.held_out,
            images=settings.images,
            seeds=settings.search_seeds,
            readout=settings.judge,
            device=device,
            precision=precision,
        )
        objective.check(recipe)
        with compiling:
            found = search(settings, recipe, objective, folder, progress=progress)
    except KeyboardInterrupt:
        progress.close()
        advice = "; run the same command again to continue" if (folder / "search.json").exists() else ""
        print(f"torchhebb: stopped{advice}", file=sys.stderr)
        return 130
    finally:
        progress.close()
    command = ["torchhebb", "train", name, *flags_of(differences(get_recipe(name), found.best))]
    if options.compile:
        command += ["--compile"]
    if options.data_dir is not None:
        command += ["--data-dir", options.data_dir]
    print_found(found, shlex.join(command), folder)
    return 0
