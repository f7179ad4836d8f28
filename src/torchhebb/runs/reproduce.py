"""Running the experiments of a paper within a time budget: the fastest first, with results saved at once."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal, Protocol

from torchhebb.data import Store
from torchhebb.errors import UserError, unknown_name
from torchhebb.progress import SILENT, Progress
from torchhebb.recipes import get_recipe
from torchhebb.recipes.experiment import Experiment
from torchhebb.runs.folder import alone_in, read_config, same_training
from torchhebb.runs.options import TrainOptions
from torchhebb.runs.run import Run, open_run
from torchhebb.runs.training import run_recipe
from torchhebb.train import Recipe, Result, read_result

_UNITS = {"s": 1, "m": 60, "h": 3600}
_SAVES_PER_BUDGET = 5  # so that even a budget below the usual interval of checkpoints leaves one


@dataclass(frozen=True)
class Outcome:
    """The outcome of an experiment: its result, or its estimated cost if it was not run, or why it failed."""

    item: Experiment
    status: Literal["new", "kept", "interrupted", "not run", "failed"]
    result: Result | None = None
    seconds: float = 0.0
    reason: str = ""


class Asker(Protocol):
    """What answers the questions of items; questions know runs, and runs do not know questions."""

    def settings(self, item: Experiment) -> Any:
        """The question's settings, as JSON holds them."""

    def answer(self, item: Experiment, run: Run, command: str) -> Result:
        """What the item's question finds about a run."""


class BudgetSpent(Exception):
    """The time limit is reached; raised when work reports its progress, so that checkpoints and store stay complete."""


class Deadline:
    """Progress that stops the work at the time limit."""

    def __init__(self, progress: Progress, end: float) -> None:
        self.progress, self.end = progress, end

    def start(self, label: str, total: int, unit: str) -> None:
        self._check()
        self.progress.start(label, total, unit)

    def advance(self, n: int) -> None:
        self.progress.advance(n)
        if time.monotonic() >= self.end:
            self.progress.finish()
            raise BudgetSpent

    def finish(self) -> None:
        self.progress.finish()

    def _check(self) -> None:
        if time.monotonic() >= self.end:
            raise BudgetSpent


def reproduce(
    items: Sequence[Experiment],
    folder: Path,
    *,
    budget: float,
    asker: Asker,
    options: TrainOptions | None = None,
    results: Path | None = None,
    store: Store | None = None,
    progress: Progress = SILENT,
    command: str = "torchhebb.reproduce",
) -> list[Outcome]:
    """Run the experiments that fit into `budget` seconds; `folder` holds a run folder for each recipe, to be resumed.

    Reduced experiments come first.  An experiment starts if its estimated time fits into the rest of the budget, or if
    its run has been started before.  One that is unfinished at the end is stopped; the next call continues it from its
    last checkpoint.  If the data or the memory for an experiment is missing, only this experiment fails.

    Args: asker, which evaluates the questions, `torchhebb.evaluate.items.ExperimentQuestions()`; results, a folder in
    which results are also kept, as <recipe>/<question>-<cpu or gpu>.json.
    Returns the outcomes in the order of cost.  Raises UserError if `folder` holds other versions of these recipes, or
    if another process uses it.
    """
    end = time.monotonic() + budget
    options = options or TrainOptions()
    options = replace(options, checkpoint_seconds=min(options.checkpoint_seconds, budget / _SAVES_PER_BUDGET))
    deadline = Deadline(progress, end)
    outcomes = []
    with alone_in(folder):
        for item in sorted(items, key=lambda item: (item.full, item.training_seconds + item.seconds)):
            run_folder = folder / item.recipe
            _check_version(run_folder, item)
            try:
                if (kept := _kept(run_folder, item, asker)) is not None:
                    if results is not None:
                        kept.keep(results)
                    outcomes.append(Outcome(item, "kept", kept))
                    continue
                left, cost = end - time.monotonic(), _cost(item, run_folder)
                if left <= 0 or (cost > left and not _under_way(item, run_folder)):
                    outcomes.append(Outcome(item, "not run", seconds=cost))
                    continue
                result = _answer(item, run_folder, asker, options, results, store, deadline, command)
                outcomes.append(Outcome(item, "new", result))
            except BudgetSpent:
                outcomes.append(Outcome(item, "interrupted"))
            except (UserError, OSError) as error:
                outcomes.append(Outcome(item, "failed", reason=str(error)))
    return outcomes


def choose_experiments(items: Sequence[Experiment], patterns: Sequence[str]) -> list[Experiment]:
    """Items whose name or recipe holds one of the shell patterns; all of them if there is no pattern.

    Raises UserError for a pattern that matches nothing.

    >>> first = Experiment("mnist", "softhebb2023-mnist", "accuracy", 1, 1)
    >>> second = Experiment("radii", "softhebb2023-digits", "diagnostics", 1, 1)
    >>> [experiment.name for experiment in choose_experiments([first, second], ["digits"])]
    ['radii']
    """
    if not patterns:
        return list(items)
    chosen = []
    for pattern in patterns:
        found = [i for i in items if any(fnmatch(name, f"*{pattern}*") for name in (i.name, i.recipe))]
        if not found:
            raise unknown_name("item", pattern, {name for i in items for name in (i.name, i.recipe)})
        chosen += [item for item in found if item not in chosen]
    return chosen


def parse_duration(text: str) -> float:
    """Seconds of 90s, 30m or 2h; raises UserError for anything else.

    >>> parse_duration("90s"), parse_duration("1.5h")
    (90.0, 5400.0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if match is None or float(match[1]) <= 0:
        raise UserError(f"a budget is a positive time such as 90s, 30m or 2h, got {text!r}")
    return float(match[1]) * _UNITS[match[2]]


def _recipe(item: Experiment) -> Recipe:
    recipe = get_recipe(item.recipe)
    return recipe if item.seeds is None else replace(recipe, seeds=item.seeds)


def _seeds_done(run_folder: Path) -> int:
    """How many seeds of a run folder are trained."""
    path = run_folder / "result.json"
    return len(read_result(path).seeds) if path.exists() else 0


def _kept(run_folder: Path, item: Experiment, asker: Asker) -> Result | None:
    """The existing result, unless it has fewer seeds or other settings."""
    path = run_folder / f"{item.question}.json"
    if not path.exists() or _has_another_plan(item, run_folder):
        return None
    result = read_result(path)
    enough = len(result.seeds) >= _recipe(item).seeds and result.notes.get("settings") == asker.settings(item)
    return result if enough else None


def _under_way(item: Experiment, run_folder: Path) -> bool:
    """Whether a training, of the run or of a baseline that the item compares, was started but not finished."""
    if not (run_folder / "config.json").exists():
        return False
    compared = item.settings.get("baselines", ())
    begun = [path for name in compared for path in run_folder.glob(f"baselines/{name}-*/checkpoint.safetensors")]
    if any(not path.with_name("model.safetensors").exists() for path in begun):
        return True
    return _seeds_done(run_folder) < read_config(run_folder)[0].seeds


def _has_another_plan(item: Experiment, run_folder: Path) -> bool:
    """Whether the run would train backpropagation otherwise than its recipe does now."""
    return read_config(run_folder)[0].supervised != get_recipe(item.recipe).supervised


def _cost(item: Experiment, run_folder: Path) -> float:
    """Estimated seconds for what is still to be done."""
    seeds = _recipe(item).seeds
    return item.seconds + item.training_seconds * (1 - min(1.0, _seeds_done(run_folder) / seeds))


def _answer(
    item: Experiment,
    run_folder: Path,
    asker: Asker,
    options: TrainOptions,
    results: Path | None,
    store: Store | None,
    progress: Progress,
    command: str,
) -> Result:
    """Train if needed, evaluate, and save the result."""
    recipe = _recipe(item)
    if _seeds_done(run_folder) < recipe.seeds or _has_another_plan(item, run_folder):
        run_recipe(recipe, options, folder=run_folder, store=store, progress=progress, command=command)
    run = open_run(run_folder, options, seeds=recipe.seeds, store=store, progress=progress)
    result = asker.answer(item, run, command)
    if results is not None:
        result.keep(results)
    return result


def _check_version(run_folder: Path, item: Experiment) -> None:
    recipe = get_recipe(item.recipe)
    try:
        if not (run_folder / "config.json").exists():
            return
        known, _ = read_config(run_folder)
    except (UserError, OSError):  # unreadable or damaged: the item fails of it, and alone
        return
    if known.baselines != recipe.baselines or not same_training(known, recipe):
        raise UserError(f"{run_folder} holds another version of {item.recipe}: choose another folder with --out")
