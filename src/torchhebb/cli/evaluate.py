"""torchhebb evaluate: ask a run, or a recipe that is trained first."""

import shlex
from dataclasses import dataclass, make_dataclass
from itertools import takewhile
from pathlib import Path
from typing import Annotated

import tyro

from torchhebb.cli.flags import parse
from torchhebb.errors import UserError, unknown_name
from torchhebb.recipes import get_recipe, list_recipes
from torchhebb.train import Options, new_run_folder, read_config, run_recipe


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


def run(arguments: list[str]) -> int:
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
