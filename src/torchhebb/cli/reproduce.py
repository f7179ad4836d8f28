"""torchhebb reproduce: the experiments of a paper that fit into a time budget."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from torchhebb.bounds import Checked
from torchhebb.cli.flags import parse
from torchhebb.recipes import get_experiments
from torchhebb.runs import ComputeOptions, TrainOptions
from torchhebb.train.device import find_precision, own_device


@dataclass(frozen=True)
class ReproduceFlags(Checked):
    """Run the experiments of a paper within a time limit, and compare them with its numbers; the fastest first."""

    paper: tyro.conf.Positional[str]
    options: Annotated[ComputeOptions, tyro.conf.arg(name="")]
    budget: str = "30m"
    """Time limit, such as 90s, 30m or 2h."""
    only: tuple[str, ...] = ()
    """Only experiments whose name or recipe contains one of these patterns."""
    out: Path | None = None
    """Where runs are kept and resumed; by default runs/reproduce-<paper>."""
    results: Path | None = None
    """Also keep results as RESULTS/<recipe>/<question>-<cpu or gpu>.json."""


def run(arguments: list[str]) -> int:
    """torchhebb reproduce PAPER [--budget 30m] [--only PATTERN...]"""
    from torchhebb.evaluate.items import ExperimentQuestions
    from torchhebb.progress_display import make_progress
    from torchhebb.runs.reproduce import choose_experiments, parse_duration, reproduce
    from torchhebb.terminal import print_outcomes

    flags = parse(ReproduceFlags, arguments, "torchhebb reproduce")
    items, budget = choose_experiments(get_experiments(flags.paper), flags.only), parse_duration(flags.budget)
    find_precision(flags.options.precision, own_device(flags.options.device))  # a mistake here is one of every item
    folder = flags.out or Path("runs") / f"reproduce-{flags.paper}"
    progress = make_progress()
    try:
        outcomes = reproduce(
            items,
            folder,
            budget=budget,
            asker=ExperimentQuestions(),
            options=TrainOptions(**vars(flags.options)),
            results=flags.results,
            progress=progress,
            command=shlex.join(["torchhebb", "reproduce", *arguments]),
        )
    finally:
        progress.close()
    print_outcomes(outcomes, folder)
    return 1 if any(outcome.status == "failed" for outcome in outcomes) else 0
