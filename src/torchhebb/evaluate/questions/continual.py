"""Continual learning: accuracy on old tasks while new ones are learned, with and without backpropagation."""

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from torchhebb.bounds import at_least, distinct
from torchhebb.config import to_json
from torchhebb.data import Images
from torchhebb.data.tasks import Task, first_of_each_class, split_classes
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Figure, Finding, Note
from torchhebb.evaluate.figures.continual import CAPTIONS, METHODS, heat_maps
from torchhebb.evaluate.methods.continual.learners import (
    BackpropagationLearner,
    FrozenLearner,
    HebbianLearner,
    TaskLearner,
)
from torchhebb.evaluate.methods.continual.memories import Buffer, ElasticWeights, Memory, NoMemory
from torchhebb.evaluate.methods.continual.metrics import (
    average_accuracy,
    backward_transfer,
    forgetting,
    forward_transfer,
)
from torchhebb.evaluate.methods.continual.probes import Probes, by_position
from torchhebb.evaluate.methods.continual.record import Rows, as_matrix, learn_in_turn, make_folder
from torchhebb.evaluate.study import NOT_IN_CELLS, Cell, Quantity, Study
from torchhebb.nn import Network
from torchhebb.readouts import Ridge
from torchhebb.recipes.softhebb2023 import depth3
from torchhebb.runs.folder import alone_in
from torchhebb.runs.networks import built, built_for_backpropagation
from torchhebb.runs.run import Run
from torchhebb.train import Learning, Measure, Supervised
from torchhebb.train.recipe import shortened

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
_START = "backpropagation_start"  # the blocks of backpropagation before training


@dataclass(frozen=True)
class Training:
    """One network that learns all tasks: its name, its readouts, and the settings of its training."""

    name: str
    method: str
    readouts: tuple[str, ...]
    plan: Learning | Supervised | None = None
    """None for a network that does not learn."""
    memory: Mapping[str, Any] = field(default_factory=dict)
    """Settings of EWC or replay, besides the seed."""

    @property
    def is_joint(self) -> bool:
        """Whether all tasks are learned at once."""
        return _is_joint(self.method)


@dataclass(frozen=True)
class Continual(Study[Training]):
    """Accuracy on every task after each task, when one network learns the classes of a data set a few at a time.

    Measures `<method>_<readout>_average_accuracy`, `_forgetting`, `_backward_transfer`, `_forward_transfer` in %, one
    value per seed.  The readouts are `task_aware`, `task_free` and the same with `_kept`; docs/papers/continual.md
    explains them.  Joint training has only an average accuracy.  Only `task_aware` has a forward transfer, which needs
    a readout before the task is learned.  Every (method, seed) is kept in RUN/pieces/ once it is complete; until then
    its stages are kept in RUN/continual/.
    Raises UserError, before anything is learned, for settings that do not fit the data or the memory.

    Example:
        >>> Continual(tasks=10, methods=("own", "random")).question
        'continual'
    """

    question: ClassVar[str] = "continual"
    quantities: ClassVar[dict[str, Quantity]] = {
        "average_accuracy": Quantity("accuracy over all tasks in the end, %", "%"),
        "forgetting": Quantity("loss since the best stage, %", "%"),
        "backward_transfer": Quantity("change since a task was learned, %", "%"),
        "forward_transfer": Quantity("gain before a task is learned, %", "%"),
    }

    tasks: int = field(default=5, metadata=at_least(2))
    """Number of tasks that the classes are divided into."""
    class_order: int = field(default=0, metadata=at_least(0))
    """Seed of a permutation of the classes; 0 keeps their order."""
    methods: tuple[MethodName, ...] = field(
        default=("own", "random", "joint_own", "backpropagation", "ewc", "replay", "joint"),
        metadata=distinct() | NOT_IN_CELLS,
    )
    """Methods to compare: the run's network, random weights, backpropagation alone, with EWC, and with replay;
    `joint_own` and `joint` learn all tasks at once."""
    readouts: tuple[ReadoutName, ...] = field(default=("task_aware", "task_free"), metadata=distinct() | NOT_IN_CELLS)
    """Whether the task of a test image is known; backpropagation is trained once for each readout."""
    images_per_class: int | None = field(default=None, metadata=at_least(1))
    """Number of training images of each class; None takes all."""
    probe_images_per_class: int | None = field(default=100, metadata=at_least(1))
    """Number of these images of each class that the readouts are fitted to; None takes all."""
    test_images_per_class: int | None = field(default=None, metadata=at_least(1))
    """Number of test images of each class; None takes all."""
    learning_epochs: int | None = field(default=None, metadata=at_least(0) | NOT_IN_CELLS)
    """Passes over a task without labels; None takes the recipe's."""
    supervised_epochs: int | None = field(default=None, metadata=at_least(0) | NOT_IN_CELLS)
    """Passes over a task by backpropagation; None takes the recipe's."""
    ewc_strength: float = field(default=1000.0, metadata=at_least(0) | NOT_IN_CELLS)
    """Strength of EWC's penalty on changes of weights that are important for old tasks."""
    ewc_images: int = field(default=200, metadata=at_least(1) | NOT_IN_CELLS)
    """Number of images of a task on which EWC measures the importance of weights."""
    replay_images: int = field(default=2000, metadata=at_least(1) | NOT_IN_CELLS)
    """Total number of images that replay stores."""
    ridge: Ridge = field(default_factory=Ridge)
    """Ridge regression of the readouts; `project` reduces the time for wide features."""

    def check(self, run: Run) -> None:
        _, probed = self._tasks(run)
        counts = [len(task.train) for task in probed]
        samples = sum(counts) if "task_free" in self.readouts else max(counts)
        width = math.prod(run.feature_shape(run.seeds[0]))
        if self.ridge.project is not None and not 1 <= self.ridge.project < width:
            raise UserError(f"ridge.project must lie from 1 to {width - 1}, got {self.ridge.project}")
        self.ridge.check(samples, width, run.device)
        if "replay" in self.methods and self.replay_images < len(run.data.classes):
            raise UserError(
                f"replay_images must be at least one a class, {len(run.data.classes)}, got {self.replay_images}"
            )

    def variants(self, run: Run) -> dict[str, Training]:
        """The trainings of all methods, and the untrained networks that forward transfer is compared with."""
        origins = [self._origin(method) for method in self.methods] if "task_aware" in self.readouts else []
        methods = dict.fromkeys([*self.methods, *(origin for origin in origins if origin is not None)])
        return {training.name: training for method in methods for training in self._trainings(run, method)}

    def cells(self, run: Run) -> dict[str, list[Cell]]:
        folder = run.folder / "continual"
        make_folder(folder)
        with alone_in(folder):
            return super().cells(run)

    def kept_cell(self, run: Run, variant: Training, seed: int) -> Cell:
        """The cell; its stages are deleted once it is complete."""
        cell = super().kept_cell(run, variant, seed)
        shutil.rmtree(self._stages(run, variant, seed), ignore_errors=True)
        return cell

    def cell(self, run: Run, variant: Training, seed: int) -> Cell:
        """A `Record` of the accuracies after every task.  Its stages are kept until it is complete."""
        tasks, probed = self._tasks(run)
        return asdict(
            learn_in_turn(
                self._learner(run, seed, variant),
                tasks,
                Probes(probed, self.ridge, seed=seed, precision=run.precision, progress=run.progress),
                self._stages(run, variant, seed),
                readouts=variant.readouts,
                joint=variant.is_joint,
                label=f"seed {seed}: {variant.name.replace('_', ' ')}",
            )
        )

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        found: dict[str, dict[str, list[Rows]]] = {method: {} for method in self.methods}
        changes: dict[str, list[list[float]]] = {}
        for method, by_readout in found.items():
            for training in self._trainings(run, method):
                of_seeds = cells[training.name]
                changes[training.name] = [cell["change"] for cell in of_seeds]
                for readout in of_seeds[0]["matrices"]:
                    by_readout[readout] = [cell["matrices"][readout] for cell in of_seeds]
            origin = self._origin(method)
            yield from self._measures(run, method, by_readout, cells.get(origin, ()) if origin else ())
        yield Note("classes", [list(task.classes) for task in self._tasks(run)[0]])
        yield Note("matrices", found)
        yield Note("change", changes)
        if is_ported(run, self):
            yield Note("published", "of an unaffiliated replication, not of the paper")
        for readout in found[self.methods[0]]:
            mean = {METHODS[m]: torch.stack([as_matrix(rows) for rows in found[m][readout]]).mean(0) for m in found}
            yield Figure(readout, CAPTIONS[readout], heat_maps(mean))

    def _measures(
        self, run: Run, method: str, by_readout: Mapping[str, Sequence[Rows]], origin: Sequence[Cell]
    ) -> Iterator[Measure]:
        """Every quantity of a method by readout; `origin` are the cells of the untrained network."""
        for readout, of_seeds in by_readout.items():
            matrices = [as_matrix(rows) for rows in of_seeds]
            numbers = {"average_accuracy": [average_accuracy(matrix) for matrix in matrices]}
            if not _is_joint(method):
                numbers["forgetting"] = [forgetting(matrix) for matrix in matrices]
                numbers["backward_transfer"] = [backward_transfer(matrix) for matrix in matrices]
                if readout == "task_aware":
                    starts = [as_matrix(cell["matrices"]["task_aware"])[0] for cell in origin]
                    pairs = zip(matrices, starts, strict=True)
                    numbers["forward_transfer"] = [forward_transfer(matrix, start) for matrix, start in pairs]
            for quantity, of_quantity in numbers.items():
                measure = self.measure(run, f"{method}_{readout}_{quantity}", of_quantity, quantity)
                yield replace(measure, published=PORT.get(measure.name)) if is_ported(run, self) else measure

    def _tasks(self, run: Run) -> tuple[tuple[Task, ...], tuple[Task, ...]]:
        """The tasks to learn and those for the readouts; labels are positions in the order of the tasks."""
        data = run.data
        train = _limited(data.train, self.images_per_class)
        whole = replace(data, train=train, test=_limited(data.test, self.test_images_per_class))
        tasks = by_position(split_classes(whole, self.tasks, seed=self.class_order))
        return tasks, tuple(replace(task, train=_limited(task.train, self.probe_images_per_class)) for task in tasks)

    def _origin(self, method: str) -> str | None:
        """The untrained network with which the forward transfer of a method is compared."""
        if _is_joint(method):
            return None
        return "random" if method in _WITHOUT_LABELS else _START

    def _trainings(self, run: Run, method: str) -> list[Training]:
        """The trainings of a method: one for all readouts without labels, one for each readout with labels."""
        if method == _START:
            return [Training(method, method, ("task_aware",))]
        if method == "random":
            return [Training(method, method, self.readouts)]
        if method in _WITHOUT_LABELS:
            return [Training(method, method, self.readouts, shortened(run.recipe.learning, self.learning_epochs))]
        taught = shortened(run.recipe.supervised, self.supervised_epochs)
        memories: dict[str, dict[str, Any]] = {
            "ewc": {"strength": self.ewc_strength, "images": self.ewc_images},
            "replay": {"size": self.replay_images},
        }
        memory = memories.get(method, {})
        return [Training(f"{method}_{readout}", method, (readout,), taught, memory) for readout in self.readouts]

    def _stages(self, run: Run, training: Training, seed: int) -> Path:
        """The folder with the stages of a training, until it is complete."""
        key = json.dumps(self.key(run, variant=to_json(training), seed=seed), sort_keys=True)
        digest = blake2b(key.encode(), digest_size=4).hexdigest()
        return run.folder / "continual" / f"{training.name}-{seed}-{digest}"

    def _learner(self, run: Run, seed: int, training: Training) -> TaskLearner:
        how: dict[str, Any] = {"seed": seed, "precision": run.precision, "progress": run.progress}
        if training.method == "random":
            return FrozenLearner(built(run, seed), seed)
        if isinstance(training.plan, Learning):
            return HebbianLearner(built(run, seed), training.plan, **how)
        layers = built_for_backpropagation(run, seed)
        if training.plan is None:
            network = layers[0]
            assert isinstance(network, Network)
            return FrozenLearner(network, seed)
        memory: Memory = NoMemory()
        if training.method == "ewc":
            memory = ElasticWeights(**training.memory, seed=seed)
        elif training.method == "replay":
            memory = Buffer(**training.memory, seed=seed)
        heads = self.tasks if training.readouts == ("task_aware",) else 1
        return BackpropagationLearner(layers, training.plan, memory, heads=heads, **how)


def _is_joint(method: str) -> bool:
    return method.startswith("joint")


def is_ported(run: Run, settings: Continual) -> bool:
    """Whether the replication reports this setting: SoftHebb-2023's network, CIFAR-100 whole, 5 tasks, 1 pass."""
    limits = (settings.images_per_class, settings.probe_images_per_class, settings.test_images_per_class)
    recipe, epochs = run.recipe, settings.learning_epochs
    same_data = recipe.data == "cifar100" and settings.tasks == 5 and limits == (None, None, None)
    same_plan = (recipe.learning.epochs if epochs is None else epochs) == 1 and settings.supervised_epochs is None
    return same_data and same_plan and recipe.architecture == depth3((3, 32, 32))


def _limited(images: Images, count: int | None) -> Images:
    return images if count is None else first_of_each_class(images, count)
