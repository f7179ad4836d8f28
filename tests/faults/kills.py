"""SIGKILL of every command that keeps something, over recipes of all families; then the same call again."""

import pickle
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torchhebb.runs.reproduce
import torchhebb.runs.run
import torchhebb.runs.training
from tests.faults.campaign import RIGHT, Case, Kind, Outcome, Surface, in_child
from tests.faults.command import Said
from tests.faults.damaged_project import difference
from tests.faults.killer import count_moments, in_process, killed
from tests.faults.project import COMMANDS, SEARCH, SMALL, Project, make_project
from tests.small_runs import RECIPES
from tests.tiny import few_digits, learned, untimed
from torchhebb.data import Store
from torchhebb.errors import UserError, printable
from torchhebb.evaluate.items import ExperimentQuestions
from torchhebb.files import parse_json
from torchhebb.process import tune_process
from torchhebb.recipes.experiment import Experiment
from torchhebb.runs import TrainOptions, read_config, run_recipe
from torchhebb.train import Recipe, read_result

OPTIONS = TrainOptions(device="cpu", precision="float32", checkpoint_seconds=0.0)
BY_MOMENT = 0.75
"""The part of kills that comes inside a step of writing; the others come at a random time."""

Comparable = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A call that is killed: `begin` makes what it finds, `call` begins it or goes on, `result` is what it leaves."""

    begin: Callable[[Project], None]
    call: Callable[[Project], Said]
    result: Callable[[Project], Comparable]


def nothing(project: Project) -> None:
    shutil.rmtree(project.work, ignore_errors=True)
    project.work.mkdir(parents=True)


def without(project: Project, *names: str) -> None:
    """The whole project but for what these patterns name."""
    project.restore()
    for name in names:
        for path in project.work.glob(name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def train(name: str, project: Project) -> Said:
    """A run of a small recipe of `tests/small_runs.py` on few digits."""
    tune_process()
    _few_digits()
    folder = project.work / "run"
    recipe, options = read_config(folder) if (folder / "config.json").exists() else (_recipe(name), OPTIONS)
    run_recipe(recipe, options, folder=folder, store=Store(project.work / "store"))
    return Said(0, "", "")


def reproduce(project: Project) -> Said:
    """Two items of one recipe and one of another."""
    tune_process()
    _few_digits()
    torchhebb.runs.reproduce.get_recipe = _recipe  # type: ignore[assignment]
    items = [
        Experiment("radii", "layer", "diagnostics", 1, 1),
        Experiment("accuracy", "layer", "accuracy", 1, 1, {"readouts": ("trained",)}),
        Experiment("blocks", "shallow", "diagnostics", 2, 1),
    ]
    outcomes = torchhebb.runs.reproduce.reproduce(
        items,
        project.work / "reproduced",
        budget=600.0,
        asker=ExperimentQuestions(),
        options=OPTIONS,
        results=project.work / "results",
        store=Store(project.work / "store"),
    )
    for outcome in outcomes:
        if outcome.status == "failed":
            raise UserError(outcome.reason)
        assert outcome.status in ("new", "kept"), outcome
    return Said(0, "", "")


def _few_digits() -> None:
    for module in (torchhebb.runs.training, torchhebb.runs.run):
        module.load_data = lambda *_, **__: few_digits()  # type: ignore[attr-defined]


def _recipe(name: str) -> Recipe:
    return replace(RECIPES[name](), seeds=1, name=name)


def command(arguments: Sequence[str], project: Project) -> Said:
    return project.say(*arguments)


def go_on(arguments: Sequence[str], run: str, project: Project) -> Said:
    """A training by the command line: anew, or --resume where the run has begun."""
    began = (project.work / run / "config.json").exists()
    return project.say(*(("train", "--resume", run) if began else arguments))


def of_run(name: str, project: Project) -> Comparable:
    """Weights, readouts, baselines, measures and log of a run, and what of hidden files it leaves."""
    folder = project.work / name
    files: Comparable = dict(learned(folder))
    files.pop("checkpoint.safetensors", None)
    log = folder / "metrics.jsonl"
    measures = {path.name: read_result(path).measures for path in folder.glob("*.json") if path.stem in RESULTS}
    return {**files, "log": untimed(log), "measures": measures, "left": leftovers(folder)}


RESULTS = ("result", "noise", "diagnostics", "accuracy", "low_precision")


def leftovers(folder: Path) -> list[str]:
    """Files that were written beside their place and are of no use to anybody."""
    hidden = [path for path in folder.rglob(".*") if path.is_file() and path.suffix != ".lock" and path.name != ".lock"]
    return sorted(path.name.split(".")[1] for path in hidden)


def of_command(name: str, project: Project) -> Comparable:
    return {"result": COMMANDS[name].result(project.work, Said(0, "", ""))}


def of_reproduced(project: Project) -> Comparable:
    runs = {name: of_run(f"reproduced/{name}", project) for name in ("layer", "shallow")}
    kept = sorted((project.work / "results").rglob("*.json"))
    return {**runs, "results": {path.name: read_result(path).measures for path in kept}}


def of_search(project: Project) -> Comparable:
    """A trial under way is given up, so numbers and draws may differ: how many are finished, and the recipe's own."""
    lines = [parse_json(line) for line in (project.work / "search" / "trials.jsonl").read_text().splitlines()]
    first = min(lines, key=lambda line: line["number"])
    best = parse_json((project.work / "search" / "best.json").read_bytes())
    highest = max(sum(line["accuracies"]) for line in lines)
    assert sum(best["held_out_accuracies"]) == highest, "the best trial is not the best"
    own = [line["accuracies"] for line in lines if line["fields"] == first["fields"]]
    return {
        "finished": sum(bool(line["accuracies"]) for line in lines),
        "fields": sorted(first["fields"]),
        "own": own[:1],
    }


OWN = ("train", "--data", "parquet:photos.parquet", *SMALL, "--checkpoint-seconds", "0", "--out", "own")
LOW = ("evaluate", "low_precision", "run", "--bits", "4", "--methods", "nearest", "afterwards")
HARD = ("evaluate", "noise", "run", "--baselines", "own", "hard", "--measured", "0.5", "--images", "8")
TASKS = {
    **{
        f"train, {words}": Task(nothing, partial(train, name), partial(of_run, "run"))
        for name, words in (
            ("layer", "SoftHebb-2022"),
            ("conv", "SoftHebb-2023"),
            ("local", "SPHeRe-2025"),
            ("whitened", "whitened blocks"),
        )
    },
    "train, own images": Task(
        lambda project: without(project, "store/*", "store/.locks"), partial(go_on, OWN, "own"), partial(of_run, "own")
    ),
    "evaluate, noise": Task(
        lambda project: without(project, "run/pieces", "run/noise*"),
        partial(command, COMMANDS["evaluate"].arguments),
        partial(of_run, "run"),
    ),
    "evaluate, learning again": Task(Project.restore, partial(command, LOW), partial(of_run, "run")),
    "evaluate, a baseline": Task(Project.restore, partial(command, HARD), partial(of_run, "run")),
    "reproduce": Task(nothing, reproduce, of_reproduced),
    "search": Task(lambda project: without(project, "search"), partial(command, (*SEARCH, "--trials", "3")), of_search),
    "embed": Task(
        lambda project: without(project, "half.npz.shards"),
        partial(command, COMMANDS["embed"].arguments),
        partial(of_command, "embed"),
    ),
    "report": Task(
        lambda project: without(project, "run/report.html"),
        partial(command, COMMANDS["report"].arguments),
        partial(of_command, "report"),
    ),
}


def spoken(task: Task, project: Project) -> Said:
    """What a call said; of Python's, its error as the command line says it."""
    try:
        return task.call(project)
    except UserError as error:
        return Said(2, "", f"torchhebb: {printable(str(error))}\n")


def must(task: Task, project: Project) -> None:
    """A call that must end well."""
    said = spoken(task, project)
    if said.code != 0:
        raise RuntimeError(f"it ended with {said.code}: {said.error}")


@dataclass(frozen=True)
class Undisturbed:
    """A task that was never killed: what it leaves, how many steps of writing it has, how long it takes."""

    result: Comparable
    moments: int
    seconds: float


def undisturbed(project: Project, name: str) -> Undisturbed:
    """Found out once, and kept in the folder."""
    path, task = project.folder / f"undisturbed {name}", TASKS[name]
    if not path.exists():
        in_child(partial(task.begin, project))
        moments, seconds = count_moments(partial(must, task, project), project.folder)
        path.write_bytes(pickle.dumps(Undisturbed(in_child(partial(task.result, project)), moments, seconds)))
    return pickle.loads(path.read_bytes())


def draw(times: int, project: Project, random: random.Random, folder: Path) -> Case:
    name = random.choice(sorted(TASKS))
    known = undisturbed(project, name)
    kills: list[tuple[int | None, float, float | None]] = []
    for _ in range(times):
        if random.random() < BY_MOMENT:
            kills.append((random.randint(1, known.moments), random.choice((0.0, 0.3, 0.9)), None))
        else:
            kills.append((None, 0.0, random.uniform(0.0, known.seconds)))
    words = ", ".join(
        f"after {seconds:.2f} s" if moment is None else f"in step {moment} of {known.moments}"
        for moment, _, seconds in kills
    )
    return Case(f"{name}: killed {words}", partial(outcome, project, name, known, kills), name)


def outcome(
    project: Project, name: str, known: Undisturbed, kills: Sequence[tuple[int | None, float, float | None]]
) -> Outcome:
    task = TASKS[name]
    task.begin(project)
    call = partial(must, task, project)
    landed = 0
    for moment, part, seconds in kills:
        code = killed(call, project.folder, moment=moment, part=part, seconds=seconds)
        landed += code == -9
        if code not in (0, -9):
            return Outcome(Kind.TRACEBACK, f"it ended with exit code {code} before its kill {landed + 1}")
    code, said = in_process(call, project.folder)
    if code != 0:
        return Outcome(Kind.TRACEBACK, f"going on ended with exit code {code}: {said[-600:]}")
    found = task.result(project)
    if found != known.result:
        return Outcome(Kind.DIFFERENCE, difference(known.result, found))
    return replace(RIGHT, detail=f"{landed} kills landed")


SURFACES = (
    Surface(
        "one-kill",
        "Kills",
        "SIGKILL once, in the middle of a write, before a sync, a rename or a removal, or at a random time; then the "
        "same command goes on. Right: what an undisturbed one leaves, bit for bit but for times, and no half-written "
        "file. A search gives up the trial under way: right is that finished ones stay, and as many are finished.",
        make_project,
        partial(draw, 1),
        cases=300,
        quick=1,
        seconds=120.0,
        isolated=True,
    ),
    Surface(
        "five-kills",
        "Kills",
        "SIGKILL up to five times in a row, each time while the command goes on from the last one.",
        make_project,
        partial(draw, 5),
        cases=40,
        quick=0,
        seconds=300.0,
        isolated=True,
    ),
)
