"""One method and seed: tasks are learned in turn, with all readouts after each; an interrupted run continues."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torchhebb.data.tasks import Task, join
from torchhebb.errors import UserError
from torchhebb.evaluate.methods.continual.learners import TaskLearner
from torchhebb.evaluate.methods.continual.probes import Probes, stack
from torchhebb.nn import LinearReadout
from torchhebb.nn.packing import pack, unpack
from torchhebb.nn.tensors import read_tensors, write_tensors
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.log import Log

READOUTS = ("task_aware", "task_free")

Row = list[float | None]
Rows = list[Row]


@dataclass(frozen=True)
class Record:
    """Accuracies in % by readout, one row per stage, None for tasks that have not arrived; |dw| / |w| of each stage."""

    matrices: dict[str, Rows]
    change: list[float]


def as_matrix(rows: Rows) -> Tensor:
    """Rows of numbers as a tensor, NaN for None.

    >>> as_matrix([[90.0, None], [70.0, 80.0]]).tolist()
    [[90.0, nan], [70.0, 80.0]]
    """
    return torch.tensor([[math.nan if x is None else x for x in row] for row in rows], dtype=torch.float64)


def learn_in_turn(
    learner: TaskLearner,
    tasks: Sequence[Task],
    probes: Probes,
    folder: Path,
    *,
    readouts: Sequence[str],
    joint: bool,
    label: str,
) -> Record:
    """Train `learner` on the tasks one after another (with `joint`, all at once), and fit readouts after each.

    Every stage is kept in `folder`, so that an interrupted training continues with the next stage.
    """
    make_folder(folder)
    checkpoint = Checkpoint(folder, log=Log(folder / "metrics.jsonl"))
    parts = [range(len(tasks))] if joint else [range(number, number + 1) for number in range(len(tasks))]
    kept: list[LinearReadout] = []
    stages: list[dict[str, Any]] = []
    for number, new in enumerate(parts, 1):
        images = join([tasks[j].train for j in new])
        name = f"{label}, all tasks" if joint else f"{label}, task {number}"
        file = folder / f"stage-{number}.safetensors"
        if file.exists():
            tensors, stage = read_tensors(file)
            unpack(tensors, model=learner.model)
            kept += _unpack_kept(tensors, len(new), learner)
        else:
            before = _weights(learner)
            learner.learn(images, number == 1, checkpoint, name)
            stage = {"change": ((_weights(learner) - before).norm() / before.norm()).item()}
            probes.show(learner.network, name)
            if learner.head is None:
                kept += [probes.of_task(j) for j in new]
            stage["rows"] = _rows(learner, probes, None if joint else kept, new.stop, readouts)
            ours = {f"kept{j}": probe for j, probe in enumerate(kept[-len(new) :])} if kept else {}
            write_tensors(pack(model=learner.model, **ours), stage, file)
        stages.append(stage)
        learner.remember(images)
    matrices = {name: [stage["rows"][name] for stage in stages] for name in stages[0]["rows"]}
    return Record(matrices, [stage["change"] for stage in stages])


def make_folder(folder: Path) -> None:
    """Make a folder; raises UserError if that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}; make it writable, then ask again") from error


def _rows(
    learner: TaskLearner, probes: Probes, kept: Sequence[LinearReadout] | None, seen: int, readouts: Sequence[str]
) -> dict[str, Row]:
    """The row of every matrix after `seen` tasks; kept is None for joint training."""
    rows: dict[str, Row] = {}
    if "task_aware" in readouts:
        rows["task_aware"] = probes.task_aware()
    if "task_free" in readouts:
        rows["task_free"] = probes.task_free(seen)
    if learner.head is None and kept is None:
        return rows | {f"{name}_kept": rows[name] for name in readouts}
    by_kept = probes.kept(learner.head or stack(kept or []), seen)
    return rows | {f"{name}_kept": by_kept[name] for name in readouts}


def _weights(learner: TaskLearner) -> Tensor:
    """All weights that the features depend on, as one vector, without those that only a local loss uses."""
    named = learner.network.named_parameters()
    return torch.cat([weight.detach().flatten().double() for name, weight in named if ".auxiliary." not in name])


def _unpack_kept(tensors: dict[str, Tensor], count: int, learner: TaskLearner) -> list[LinearReadout]:
    if learner.head is not None:
        return []
    found = []
    for j in range(count):
        classes, width = tensors[f"kept{j}.weight"].shape
        readout = LinearReadout(width, classes).to(next(learner.model.parameters()).device)
        unpack(tensors, **{f"kept{j}": readout})
        found.append(readout.eval())
    return found
