"""torchhebb train: train the blocks without labels, train the readout, test."""

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from torchhebb.bounds import Checked
from torchhebb.cli.flags import DEFAULT_RECIPE, parse, value_after
from torchhebb.cli.imports import command_line
from torchhebb.cli.own_images import plan_own_images
from torchhebb.data import is_own
from torchhebb.distributed import ProcessGroup, joined, planned
from torchhebb.errors import UserError
from torchhebb.progress import SILENT
from torchhebb.recipes import get_recipe
from torchhebb.recipes.own_images import NAME as OWN_IMAGES
from torchhebb.runs import TrainOptions, new_run_folder, read_config, run_recipe
from torchhebb.train import Recipe
from torchhebb.train.device import own_device


@dataclass(frozen=True)
class TrainFlags(Checked):
    """Train the blocks without labels, train the readout, test; everything is kept in the run folder."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    options: Annotated[TrainOptions, tyro.conf.arg(name="")]
    out: Path | None = None
    """The run folder; by default runs/<recipe>-<time>."""
    resume: Path | None = None
    """Resume this run folder where it stopped."""
    best: Path | None = None
    """Train the recipe that `torchhebb search` found best: its folder, or the best.json in it."""
    results: Path | None = None
    """Also keep the result as RESULTS/<recipe>/accuracy-<cpu or gpu>[-precision].json."""


def run(arguments: list[str]) -> int:
    """torchhebb train [RECIPE] [flags] or torchhebb train --data folder:PHOTOS [flags], by torchrun on several GPUs"""
    rank, _ = planned()
    try:
        flags = _train_flags(arguments)
        device = own_device(flags.options.device)
    except UserError:
        if rank == 0:  # all of them see the same mistake: one says it
            raise
        return 2
    with joined(device, timeout=flags.options.worker_timeout) as workers:
        return _train(flags, command_line("train", arguments, flags.recipe), workers)


def _train_flags(arguments: list[str]) -> TrainFlags:
    from torchhebb.search import read_best

    named = bool(arguments) and not arguments[0].startswith("-")
    name, arguments = (arguments[0], arguments[1:]) if named else (None, arguments)
    resumed, searched = (
        None if value is None else Path(value)
        for value in (value_after(flag, arguments) for flag in ("--resume", "--best"))
    )
    data = value_after("--data", arguments)
    own = name == OWN_IMAGES or (name is None and data is not None and is_own(data))
    if resumed and searched:
        raise UserError("--resume names a run that has its recipe: leave out --best")
    if resumed:
        recipe, options = read_config(resumed)
    elif searched:
        recipe, options = read_best(searched), TrainOptions()
    elif own:
        recipe, options = plan_own_images(arguments)
    else:
        recipe, options = get_recipe(DEFAULT_RECIPE if name is None else name), TrainOptions()
    if (resumed or searched) and name not in (None, recipe.name):
        raise UserError(f"{resumed or searched} holds {recipe.name}, not {name}")
    flags = parse(
        TrainFlags,
        arguments,
        f"torchhebb train {recipe.name}",
        default=TrainFlags(recipe, options, resume=resumed, best=searched),
    )
    if flags.resume and flags.out:
        raise UserError("--resume names the run folder itself: leave out --out")
    if not (flags.resume or flags.out) and os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0":
        raise UserError("--max-restarts needs --out, so that a restart finds what was done before")
    return flags


def _train(flags: TrainFlags, command: str, workers: ProcessGroup) -> int:
    from torchhebb.progress_display import make_progress
    from torchhebb.report import write_report
    from torchhebb.terminal import print_result

    folder = workers.broadcast(flags.resume or flags.out or new_run_folder(flags.recipe))
    if not workers.first:
        try:
            run_recipe(flags.recipe, flags.options, folder=folder, progress=SILENT, command=command, workers=workers)
        except KeyboardInterrupt:
            return 130
        return 0
    progress = make_progress()
    try:
        result = run_recipe(
            flags.recipe, flags.options, folder=folder, progress=progress, command=command, workers=workers
        )
    except KeyboardInterrupt:
        progress.close()
        started = (folder / "config.json").exists()
        advice = f"; continue with: torchhebb train --resume {shlex.quote(str(folder))}" if started else ""
        print(f"torchhebb: stopped{advice}", file=sys.stderr)
        return 130
    finally:
        progress.close()
    if flags.results is not None:
        result.keep(flags.results)
    print_result(result, folder)
    if (folder / "skipped.json").exists():
        print(f"some images cannot be read and were left out: {folder / 'skipped.json'} lists them")
    if warning := result.notes.get("warning"):
        print(warning)
    page = write_report([folder], device=flags.options.device, data_dir=flags.options.data_dir)
    print(f"report: {page}")
    return 0
