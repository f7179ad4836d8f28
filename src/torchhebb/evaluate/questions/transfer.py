"""Accuracy of features that are learned on one data set and read out on another."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import fmean
from typing import ClassVar, Literal

import torch

from torchhebb.bounds import at_least, distinct
from torchhebb.data import Data, Images, list_data, load_data
from torchhebb.data.images import fingerprint
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Figure, Finding, Note
from torchhebb.evaluate.figures.matrices import Matrix, draw_matrices
from torchhebb.evaluate.figures.text import plain
from torchhebb.evaluate.methods.resize import resize_to
from torchhebb.evaluate.methods.subsample import subsample
from torchhebb.evaluate.probe import ReadoutChoice, chosen_plan, features_of
from torchhebb.evaluate.study import NOT_IN_CELLS, Cell, Quantity, Study, values
from torchhebb.nn import Network, load, save
from torchhebb.readouts import Ridge
from torchhebb.readouts.base import readout_accuracy
from torchhebb.runs.baselines import BaselineName, baseline
from torchhebb.runs.networks import built, placed, untrained
from torchhebb.runs.run import Run
from torchhebb.train import Measure
from torchhebb.train.calibrate import calibrate
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.learn import learn_images
from torchhebb.train.log import Log
from torchhebb.train.wilson import wilson

RANDOM = "random"

Accuracies = Mapping[tuple[str, str], Sequence[float]]
"""(row, target) -> accuracies in %, one per seed; a row is a source, a baseline, or `random`."""


@dataclass(frozen=True, eq=False)
class Row:
    """A source of features: the data set that a network learned on, a baseline or, with neither, random weights."""

    name: str
    source: Data | None = None
    baseline: BaselineName | None = None


@dataclass(frozen=True, eq=False)
class Pair:
    """A network, and the data set (with its label) on which its features are read out."""

    row: Row
    target: str
    data: Data


Sets = tuple[dict[str, Row], dict[str, Data], dict[str, str]]
"""The rows by their names, the targets by their labels, and why other data sets are not among them."""


@dataclass(frozen=True)
class Transfer(Study[Pair]):
    """Test accuracy of features that are learned without labels on one data set and read out on another.

    The blocks learn on the source, and a readout of their frozen features is fitted to the target.  All networks have
    the run's architecture and learning plan.  The run's own network is used for its data set; the others are trained at
    the first call and kept in RUN/transfer/.  Images of other sizes or channels are converted by `resize_to`.
    Measures:

        <source>_to_<target>_accuracy      test accuracy of the readout in %
        <source>_to_<target>_ratio         the same in % of the accuracy of the target's native network
        <source>_mean_ratio                its mean over all targets but the source
        <target>_native_accuracy           of the network that learned on the target itself
        <target>_random_accuracy           of weights as drawn, with batch norm calibrated on the target

    Raises UserError for a data set that is not available, two data sets with the same name, settings out of range, or
    baselines, which learn from all images, together with `learning_images`.
    Source: SPHeRe-2025, transfer between data sets.

    Example:
        >>> Transfer(targets=("mnist",)).question
        'transfer'
    """

    question: ClassVar[str] = "transfer"
    keeps_cells: ClassVar[bool] = False  # their accuracies are kept, under the fingerprints of the images
    quantities: ClassVar[dict[str, Quantity]] = {
        "accuracy": Quantity("test accuracy, %", "%"),
        "ratio": Quantity("in % of the native network", "%"),
    }

    sources: tuple[str, ...] = field(default=(), metadata=NOT_IN_CELLS)
    """Data sets to learn on; an empty list takes the run's own and all targets."""
    targets: tuple[str, ...] = field(default=(), metadata=NOT_IN_CELLS)
    """Data sets to read out on; an empty list takes all available ones from half to twice the size of the input."""
    baselines: tuple[BaselineName, ...] = field(default=(), metadata=distinct(empty=True) | NOT_IN_CELLS)
    """Baselines that learn from the run's data, such as backpropagation, as further sources."""
    learning_images: int | None = field(default=None, metadata=at_least(1))
    """Number of images that networks learn from, drawn once; None takes all, and uses the run's own network."""
    train_images: int | None = field(default=None, metadata=at_least(1))
    """Number of training images of a target that the readout is fitted to, drawn once; None takes all."""
    test_images: int | None = field(default=None, metadata=at_least(1))
    """Number of test images of a target, drawn once; None takes all."""
    batch_norm: Literal["frozen", "recalibrated"] = field(default="frozen", metadata=NOT_IN_CELLS)
    """Batch norm statistics of transferred networks: those of the source, or averaged over the target's images."""
    readout: ReadoutChoice = "ridge"
    """Ridge regression, which is fast, or the readout of the run's recipe."""
    ridge: Ridge = field(default_factory=lambda: Ridge(project=2048))
    """Settings of the ridge; `project` applies only to features that are wider."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.baselines and self.learning_images is not None:
            raise UserError("baselines learn from all images of the run: leave learning_images out")

    def check(self, run: Run) -> None:
        plan = run.recipe.readout if self.readout == "trained" else self.ridge
        for data in self._sets(run)[1].values():
            plan.check_samples(subsample(data.train, self.train_images).labels, (1,))

    def variants(self, run: Run) -> dict[str, Pair]:
        rows, targets, _ = self._sets(run)
        return {
            f"{row.name} to {target}": Pair(row, target, data)
            for target, data in targets.items()
            for row in {**rows, target: rows.get(target, Row(target, data)), RANDOM: Row(RANDOM)}.values()
        }

    def cell(self, run: Run, variant: Pair, seed: int) -> Cell:
        """The `accuracy` in % on the test images of the target."""
        row, target = variant.row, variant.target
        recalibrated = self.batch_norm == "recalibrated" and row.name not in (target, RANDOM)
        accuracy = self.keep(
            run,
            partial(self._read_out, run, variant, seed, f"seed {seed}: {row.name} to {target}", recalibrated),
            row=row.name,
            source=None if row.source is None else row.source.fingerprint,
            target=variant.data.fingerprint,
            seed=seed,
            recalibrated=recalibrated,
        )
        return {"accuracy": accuracy}

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        rows, targets, left_out = self._sets(run)
        pairs = ((row, target) for row in (*rows, *targets, RANDOM) for target in targets)
        found = {pair: values(cells[name], "accuracy") for pair in pairs if (name := " to ".join(pair)) in cells}
        images = {name: self._size(data) for name, data in targets.items()}
        yield from self._measures(run, found, list(rows), images)
        yield Note("left_out", left_out)
        yield Note("test_images", images)
        yield from _matrix(found, list(rows), list(targets))

    def _sets(self, run: Run) -> Sets:
        """The data sets of the question, which are loaded once: a missing one can take long to look for."""
        key = ("transfer", run.data.fingerprint, self.sources, self.targets, self.baselines)
        if key not in run.loaded:
            run.loaded[key] = self._find_sets(run)
        sets: Sets = run.loaded[key]
        return sets

    def _find_sets(self, run: Run) -> Sets:
        targets, left_out = self._targets(run)
        sources = _named([self._load(run, name) for name in self.sources] or [run.data, *targets.values()])
        _named([*sources.values(), *targets.values()])
        rows = [Row(name, source=data) for name, data in sources.items()]
        rows += [Row(f"{name}_{label_of(run.data)}", baseline=name) for name in self.baselines]
        return {row.name: row for row in rows}, targets, left_out

    def _measures(
        self, run: Run, found: Accuracies, rows: Sequence[str], images: Mapping[str, int]
    ) -> Iterator[Measure]:
        """Args: images, the number of test images of every target."""

        def accuracy(name: str, row: str, target: str) -> Measure:
            measure = self.measure(run, name, found[row, target], "accuracy")
            return replace(measure, interval=wilson(measure.values, images[target]))

        for row in rows:
            ratios = {target: _ratio(found, row, target) for target in images if target != row}
            for target, ratio in ratios.items():
                yield accuracy(f"{row}_to_{target}_accuracy", row, target)
                yield self.measure(run, f"{row}_to_{target}_ratio", ratio, "ratio")
            if ratios:
                means = [fmean(of_seed) for of_seed in zip(*ratios.values(), strict=True)]
                yield self.measure(run, f"{row}_mean_ratio", means, "ratio")
        for target in images:
            yield accuracy(f"{target}_native_accuracy", target, target)
            yield accuracy(f"{target}_{RANDOM}_accuracy", RANDOM, target)

    def _targets(self, run: Run) -> tuple[dict[str, Data], dict[str, str]]:
        """The data sets to read out on by their labels, and why others that have a name are not among them."""
        if self.targets:
            return _named([self._load(run, name) for name in self.targets]), {}
        found, left_out = [run.data], {}
        side = run.recipe.architecture.input_shape[1]
        for name in list_data():
            if name == run.data.name:
                continue
            try:
                data = self._load(run, name)
            except UserError:  # its message names folders, which a result does not contain
                left_out[name] = "it is not available here"
                continue
            if side / 2 <= data.image_size[0] <= 2 * side:
                found.append(data)
            else:
                left_out[name] = f"its images are {data.image_size[0]} pixels high, the input {side}"
        return _named(found), left_out

    def _load(self, run: Run, name: str) -> Data:
        if name == run.data.name:
            return run.data
        return load_data(name, data_dir=run.data_dir, store=run.store, progress=run.progress)

    def _size(self, data: Data) -> int:
        return len(data.test) if self.test_images is None else min(self.test_images, len(data.test))

    def _learned(self, run: Run, data: Data, seed: int) -> Network:
        """The network that learned from a data set: the run's own, or another that is kept in its folder."""
        if data.name == run.data.name and self.learning_images is None:
            return run.network(seed)
        name = f"{label_of(data)}-{data.fingerprint}-{self.learning_images or 'all'}-{seed}"
        folder = run.folder / "transfer" / name
        path = folder / "model.safetensors"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            images = resize_to(subsample(data.train, self.learning_images), run.recipe.architecture.input_shape)
            network = learn_images(
                built(run, seed),
                images,
                run.recipe.learning,
                seed=seed,
                precision=run.precision,
                store=run.store,
                key=f"{fingerprint([images])} in {run.precision}",
                checkpoint=Checkpoint(folder, log=Log(folder / "metrics.jsonl")),
                task=f"seed {seed}: {label_of(data)}: learning",
                progress=run.progress,
            )
            save(network, path)
        network = load(path)  # type: ignore[assignment]
        return placed(network, run.device).eval()

    def _read_out(self, run: Run, pair: Pair, seed: int, task: str, recalibrated: bool) -> float:
        """Test accuracy in % of a readout on a network's frozen features of a target."""
        shape, data = run.recipe.architecture.input_shape, pair.data
        train = resize_to(subsample(data.train, self.train_images), shape)
        test = resize_to(subsample(data.test, self.test_images), shape)
        network = self._network(run, pair.row, seed, train)
        if recalibrated:
            calibrate(network, train, seed=seed, learned=True)
        features, tested = features_of(network, run, train, test, label=f"{task}: features")
        plan, label = chosen_plan(self.readout, self.ridge, run, features.shape[1]), f"{task}: readout"
        fitted = plan.fit(features, train.labels, len(data.classes), seed=seed, task=label, progress=run.progress)
        return readout_accuracy(fitted.readout, tested, test.labels)

    def _network(self, run: Run, row: Row, seed: int, target: Images) -> Network:
        """The frozen network of a row; batch norm of random weights is calibrated on the target."""
        if row.source is not None:
            return self._learned(run, row.source, seed)
        if row.baseline is None:
            return untrained(run, seed, target)
        return baseline(run, seed, row.baseline, readout=False)


def label_of(data: Data) -> str:
    """The name of a data set in measures and figures: its own, or that of its folder."""
    return data.name.rstrip("/").rpartition("/")[2].rpartition(":")[2]


def _named(sets: Sequence[Data]) -> dict[str, Data]:
    sets = [data for i, data in enumerate(sets) if data.name not in [other.name for other in sets[:i]]]
    named = {label_of(data): data for data in sets}
    if len(named) < len(sets) or RANDOM in named:
        raise UserError(f"data sets must have different names, got {', '.join(data.name for data in sets)}")
    return named


def _ratio(found: Accuracies, row: str, target: str) -> tuple[float, ...]:
    pairs = zip(found[row, target], found[target, target], strict=True)
    return tuple(100 * accuracy / native if native else math.nan for accuracy, native in pairs)


def _matrix(found: Accuracies, rows: Sequence[str], targets: Sequence[str]) -> Iterator[Finding]:
    rows = [*rows, RANDOM]
    accuracy = [[fmean(found[row, target]) for target in targets] for row in rows]
    ratio = [[fmean(_ratio(found, row, target)) for target in targets] for row in rows]
    native = [fmean(found[target, target]) for target in targets]
    yield Note("matrix", {"rows": rows, "targets": targets, "accuracy": accuracy, "ratio": ratio, "native": native})
    caption = (
        "Test accuracy of blocks that learned without labels on the data set of a row, with a readout fitted to that "
        "of a column, and the same in % of a network that learned on the column itself. The last row: random weights."
    )
    words = [plain(name.replace("_", " ")) for name in rows], [plain(name.replace("_", " ")) for name in targets]
    panels = [
        Matrix("test accuracy, %", torch.tensor(accuracy), *words, "read out on", "learned on"),
        Matrix("in % of the native network", torch.tensor(ratio), *words, "read out on"),
    ]
    yield Figure("matrix", caption, draw_matrices(panels, digits=1))
