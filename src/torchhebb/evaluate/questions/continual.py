"""Accuracy on old tasks while new ones are learned, without labels below the readout and by backpropagation."""

import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from torchhebb.config import to_json
from torchhebb.data import Images
from torchhebb.data.tasks import Task, first_of_each_class, split_classes
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Evaluator, Figure, Finding, Note
from torchhebb.evaluate.figures.continual import CAPTIONS, METHODS, heat_maps
from torchhebb.evaluate.methods.continual.learners import Backpropagation, Frozen, Learner, Plastic, untrained
from torchhebb.evaluate.methods.continual.memories import Buffer, ElasticWeights, Memory, NoMemory
from torchhebb.evaluate.methods.continual.metrics import (
    average_accuracy,
    backward_transfer,
    forgetting,
    forward_transfer,
)
from torchhebb.evaluate.methods.continual.probes import Probes, by_position
from torchhebb.evaluate.methods.continual.record import READOUTS, Record, Rows, as_matrix, learn_in_turn, make_folder
from torchhebb.readouts import Ridge
from torchhebb.recipes.softhebb2023 import depth3
from torchhebb.runs.folder import alone_in
from torchhebb.runs.run import Run
from torchhebb.train import Learning, Measure, Supervised
from torchhebb.train.recipe import at_least

MethodName = Literal["own", "random", "joint_own", "backpropagation", "ewc", "replay", "joint"]
ReadoutName = Literal["task_aware", "task_free"]

PORT = {
    "own_task_aware_average_accuracy": 65.5,
    "own_task_aware_backward_transfer": 0.3,
    "backpropagation_task_aware_average_accuracy": 55.5,
    "backpropagation_task_aware_backward_transfer": -16.8,
}
"""Split-CIFAR-100 in 5 tasks as an unaffiliated replication of SoftHebb-2023 reports it, on that paper's network."""

_WITHOUT_LABELS = ("own", "random", "joint_own")
_START = "backpropagation_start"  # the blocks of backpropagation before they learn: where their transfer starts


@dataclass(frozen=True)
class Training:
    """One network of a method: what it is called and what is read from it."""

    name: str
    method: str
    readouts: tuple[str, ...]


@dataclass(frozen=True)
class Continual(Evaluator):
    """Accuracy on every task after each task: one network learns the classes of a data set a few at a time.

    Measures `<method>_<readout>_average_accuracy`, `_forgetting`, `_backward_transfer`, `_forward_transfer` in %, a
    value a seed; the readouts are `task_aware`, `task_free` and the same with `_kept`, as
    docs/papers/continual.md says.  Joint training has an average accuracy alone; forward transfer needs a readout
    before a task is learned, so `task_aware` alone has it.  Every
    (method, seed) is kept in RUN/pieces/ as soon as it is complete, and until then each of its stages in
    RUN/continual/.
    Raises UserError, before anything is learned, for settings that do not fit the data or the memory.
    """

    question: ClassVar[str] = "continual"

    tasks: int = 5
    """How many tasks the classes are divided into."""
    class_order: int = 0
    """0 keeps the natural order of the classes; any other seed permutes them."""
    methods: tuple[MethodName, ...] = ("own", "random", "joint_own", "backpropagation", "ewc", "replay", "joint")
    """Who learns: the network of the run, random weights, backpropagation alone, with EWC or replay; all at once."""
    readouts: tuple[ReadoutName, ...] = ("task_aware", "task_free")
    """Whether the task of a test image is told; backpropagation is trained once for each."""
    images_per_class: int | None = None
    """Training images of a class that are learned from; None takes all."""
    probe_images_per_class: int | None = 100
    """How many of these the readouts are fitted to."""
    test_images_per_class: int | None = None
    """Test images of a class; None takes all."""
    learning_epochs: int | None = None
    """Passes over a task without labels; None takes the recipe's."""
    supervised_epochs: int | None = None
    """Passes over a task by backpropagation; None takes the recipe's."""
    ewc_strength: float = 1000.0
    """How strongly EWC holds the weights that old tasks need."""
    ewc_images: int = 200
    """Images of a task that EWC measures the importance of weights on."""
    replay_images: int = 2000
    """Images that replay may store in all."""
    ridge: Ridge = field(default_factory=Ridge)
    """How readouts are fitted; `project` makes wide features cheap."""

    def run(self, run: Run) -> Iterator[Finding]:
        tasks, probed = self._tasks(run)
        self._check(run, probed)
        folder = run.folder / "continual"
        make_folder(folder)
        found: dict[str, dict[str, list[Rows]]] = {method: {} for method in self.methods}
        starts: dict[str, list[Tensor]] = {method: [] for method in self.methods}
        changes: dict[str, list[list[float]]] = {}
        with alone_in(folder):
            for seed in run.seeds:
                probes = Probes(probed, self.ridge, run, seed)
                for method in self.methods:
                    for training in self._trainings(method):
                        record = self._record(run, seed, tasks, probes, training)
                        changes.setdefault(training.name, []).append(record.change)
                        for readout, rows in record.matrices.items():
                            found[method].setdefault(readout, []).append(rows)
                    if "task_aware" in self.readouts and not _is_joint(method):
                        origin = self._trainings("random" if method in _WITHOUT_LABELS else _START)[0]
                        start = self._record(run, seed, tasks, probes, origin)
                        starts[method].append(as_matrix(start.matrices["task_aware"])[0])
        for name, by_readout in found.items():
            yield from self._measures(run, name, by_readout, starts[name])
        yield Note("classes", [list(task.classes) for task in tasks])
        yield Note("matrices", found)
        yield Note("change", changes)
        if is_ported(run, self):
            yield Note("published", "of an unaffiliated replication, not of the paper")
        for readout in found[self.methods[0]]:
            mean = {METHODS[m]: torch.stack([as_matrix(rows) for rows in found[m][readout]]).mean(0) for m in found}
            yield Figure(readout, CAPTIONS[readout], heat_maps(mean))

    def _measures(
        self, run: Run, method: str, by_readout: dict[str, list[Rows]], starts: list[Tensor]
    ) -> Iterator[Measure]:
        for readout, seeds in by_readout.items():
            matrices = [as_matrix(rows) for rows in seeds]
            values = {"average_accuracy": [average_accuracy(matrix) for matrix in matrices]}
            if not _is_joint(method):
                values["forgetting"] = [forgetting(matrix) for matrix in matrices]
                values["backward_transfer"] = [backward_transfer(matrix) for matrix in matrices]
                if readout == "task_aware":
                    pairs = zip(matrices, starts, strict=True)
                    values["forward_transfer"] = [forward_transfer(matrix, start) for matrix, start in pairs]
            for quantity, numbers in values.items():
                name = f"{method}_{readout}_{quantity}"
                yield Measure(name, "%", tuple(numbers), PORT.get(name) if is_ported(run, self) else None)

    def _tasks(self, run: Run) -> tuple[tuple[Task, ...], tuple[Task, ...]]:
        """The tasks to learn and those to probe; their labels are positions in the order of the tasks."""
        data = run.data
        train = _limited(data.train, self.images_per_class)
        whole = replace(data, train=train, test=_limited(data.test, self.test_images_per_class))
        tasks = by_position(split_classes(whole, self.tasks, seed=self.class_order))
        return tasks, tuple(replace(task, train=_limited(task.train, self.probe_images_per_class)) for task in tasks)

    def _check(self, run: Run, probed: Sequence[Task]) -> None:
        if self.tasks < 2:
            raise UserError(f"tasks must be at least 2, got {self.tasks}")
        for kind, chosen, known in (("methods", self.methods, METHODS), ("readouts", self.readouts, READOUTS)):
            if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(known):
                raise UserError(f"{kind} must be different names among {', '.join(known)}, got {', '.join(chosen)}")
        counts = [len(task.train) for task in probed]
        samples = sum(counts) if "task_free" in self.readouts else max(counts)
        width = math.prod(run.feature_shape(run.seeds[0]))
        if self.ridge.project is not None and not 1 <= self.ridge.project < width:
            raise UserError(f"ridge.project must lie from 1 to {width - 1}, got {self.ridge.project}")
        self.ridge.check(samples, width, run.device)
        at_least(0, ewc_strength=self.ewc_strength)
        at_least(1, ewc_images=self.ewc_images)
        at_least(0, learning_epochs=self.learning_epochs or 0, supervised_epochs=self.supervised_epochs or 0)
        if "replay" in self.methods and self.replay_images < len(run.data.classes):
            raise UserError(
                f"replay_images must be at least one a class, {len(run.data.classes)}, got {self.replay_images}"
            )

    def _trainings(self, method: str) -> list[Training]:
        """Without labels one training serves all readouts; with labels each readout has a loss of its own."""
        if method == _START:
            return [Training(method, method, ("task_aware",))]
        if method in _WITHOUT_LABELS:
            return [Training(method, method, self.readouts)]
        return [Training(f"{method}_{readout}", method, (readout,)) for readout in self.readouts]

    def _record(self, run: Run, seed: int, tasks: Sequence[Task], probes: Probes, training: Training) -> Record:
        """The record of a training, made where it is not kept yet under these settings."""
        key = {
            "question": self.question,
            "training": training.name,
            "seed": seed,
            "readouts": list(training.readouts),
            "precision": run.precision,
            **self._settings(run, training.method),
        }
        digest = hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=4).hexdigest()
        folder = run.folder / "continual" / f"{training.name}-{seed}-{digest}"

        def make() -> dict[str, Any]:
            learner = self._learner(run, seed, training)
            label = f"seed {seed}: {training.name.replace('_', ' ')}"
            joint = _is_joint(training.method)
            return asdict(
                learn_in_turn(learner, tasks, probes, folder, readouts=training.readouts, joint=joint, label=label)
            )

        record = Record(**run.once(make, **key))
        shutil.rmtree(folder, ignore_errors=True)
        return record

    def _settings(self, run: Run, method: str) -> dict[str, Any]:
        """The settings that a method depends on."""
        names = ["tasks", "class_order", "images_per_class", "probe_images_per_class", "test_images_per_class", "ridge"]
        names += {"ewc": ["ewc_strength", "ewc_images"], "replay": ["replay_images"]}.get(method, [])
        settings = {name: to_json(getattr(self, name)) for name in names}
        if method in ("own", "joint_own"):
            settings["learning"] = to_json(self._learning(run))
        elif method not in ("random", _START):
            settings["supervised"] = to_json(self._supervised(run))
        return settings

    def _learner(self, run: Run, seed: int, training: Training) -> Learner:
        method = training.method
        if method == "random":
            return Frozen(run, seed, run.recipe.architecture.build(seed))
        if method == _START:
            return Frozen(run, seed, untrained(run, seed)[0])  # type: ignore[arg-type]
        if method in _WITHOUT_LABELS:
            return Plastic(run, seed, self._learning(run))
        memories: dict[str, Memory] = {
            "ewc": ElasticWeights(self.ewc_strength, self.ewc_images, seed),
            "replay": Buffer(self.replay_images, seed),
        }
        heads = self.tasks if training.readouts == ("task_aware",) else 1
        return Backpropagation(run, seed, self._supervised(run), memories.get(method, NoMemory()), tasks=heads)

    def _learning(self, run: Run) -> Learning:
        plan = run.recipe.learning
        return plan if self.learning_epochs is None else replace(plan, epochs=self.learning_epochs)

    def _supervised(self, run: Run) -> Supervised:
        plan = run.recipe.supervised
        return plan if self.supervised_epochs is None else replace(plan, epochs=self.supervised_epochs)


def _is_joint(method: str) -> bool:
    return method.startswith("joint")


def is_ported(run: Run, settings: Continual) -> bool:
    """Whether the replication has reported this: SoftHebb-2023's network, all images of CIFAR-100, 5 tasks, 1 pass."""
    limits = (settings.images_per_class, settings.probe_images_per_class, settings.test_images_per_class)
    recipe, epochs = run.recipe, settings.learning_epochs
    same_data = recipe.data == "cifar100" and settings.tasks == 5 and limits == (None, None, None)
    same_plan = (recipe.learning.epochs if epochs is None else epochs) == 1 and settings.supervised_epochs is None
    return same_data and same_plan and recipe.architecture == depth3((3, 32, 32))


def _limited(images: Images, count: int | None) -> Images:
    return images if count is None else first_of_each_class(images, count)
