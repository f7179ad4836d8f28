"""torchhebb evaluate: evaluate a question on a run, or on a recipe that is trained first."""

from dataclasses import dataclass, field, make_dataclass
from itertools import takewhile
from pathlib import Path
from typing import Annotated

import tyro

from torchhebb.aliases import new_flags
from torchhebb.bounds import SIZE, Checked
from torchhebb.cli.flags import parse
from torchhebb.cli.imports import command_line
from torchhebb.errors import UserError, unknown_name
from torchhebb.recipes import get_recipe, list_recipes
from torchhebb.runs import ComputeOptions, TrainOptions, compute_options, new_run_folder, read_config, run_recipe


@dataclass(frozen=True)
class RunFlags(Checked):
    """Evaluates a finished run; the result is kept in its folder."""

    options: Annotated[ComputeOptions, tyro.conf.arg(name="")]
    first_seeds: int | None = field(default=None, metadata=SIZE)
    """Number of seeds to evaluate, the first ones; None evaluates all."""
    results: Path | None = None
    """Also keep the result as RESULTS/<recipe>/<question>-<cpu or gpu>.json."""


@dataclass(frozen=True)
class RecipeFlags(Checked):
    """Trains a recipe and evaluates it; the result is kept in the run folder."""

    options: Annotated[TrainOptions, tyro.conf.arg(name="")]
    out: Path | None = None
    """The run folder of a recipe; by default runs/<recipe>-<time>."""
    first_seeds: int | None = field(default=None, metadata=SIZE)
    """Number of seeds to evaluate, the first ones; None evaluates all."""
    results: Path | None = None
    """Also keep the result as RESULTS/<recipe>/<question>-<cpu or gpu>.json."""


def run(arguments: list[str]) -> int:
    """torchhebb evaluate WHAT RUN|RECIPE [flags]

    A finished run takes the flags that say where to compute; a recipe, which is trained first, those of training too.
    """
    from torchhebb.evaluate import describe_evaluators, evaluate, get_evaluator, open_run
    from torchhebb.progress_display import make_progress
    from torchhebb.terminal import print_result

    names = list(takewhile(lambda argument: not argument.startswith("-"), arguments[:2]))
    if not names:
        print("usage: torchhebb evaluate WHAT RUN|RECIPE [flags]\n\nWHAT is one of")
        for name, words in describe_evaluators().items():
            print(f"  {name:17} {words}")
        return 0 if arguments else 2
    question, target = names[0], "".join(names[1:])
    evaluator = get_evaluator(question)()
    trained = (Path(target) / "config.json").exists()
    if target and not trained and target not in list_recipes():
        raise unknown_name("run folder or recipe", target, list_recipes())
    options = compute_options(read_config(Path(target))[1]) if trained else TrainOptions()
    flagged = RunFlags if trained else RecipeFlags
    kind = make_dataclass(
        "EvaluateFlags",
        [("evaluator", Annotated[type(evaluator), tyro.conf.arg(name="")])],
        bases=(flagged,),
        frozen=True,
        kw_only=True,
    )
    kind.__doc__ = f"{(type(evaluator).__doc__ or question).splitlines()[0]}\n\n{flagged.__doc__}"
    flags = parse(
        kind,
        new_flags(type(evaluator).__name__, arguments[len(names) :]),
        f"torchhebb evaluate {question}",
        default=kind(options=options, evaluator=evaluator),
    )
    if not target:
        raise UserError(f"torchhebb evaluate {question} needs a run folder or the name of a recipe")
    recipe = read_config(Path(target))[0] if trained else get_recipe(target)
    command = command_line("evaluate", arguments, recipe, flags.evaluator)
    progress = make_progress()
    try:
        folder = Path(target)
        if not trained:
            folder = flags.out or new_run_folder(recipe)
            run_recipe(recipe, flags.options, folder=folder, progress=progress, command=command)
        run = open_run(folder, flags.options, seeds=flags.first_seeds, progress=progress)
        result = evaluate(flags.evaluator, run, command=command)
    finally:
        progress.close()
    if flags.results is not None:
        result.keep(flags.results)
    print_result(result, folder)
    return 0
