"""Features learned on one data set and read out on another."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import fmean
from typing import ClassVar, Literal, Protocol

import torch
from torch import nn

from torchhebb.bounds import at_least, distinct
from torchhebb.data import Data, Images, list_data, load_data
from torchhebb.data.images import fingerprint
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import NOT_IN_CELLS, Evaluator, Figure, Finding, Note
from torchhebb.evaluate.figures.matrices import Matrix, draw_matrices
from torchhebb.evaluate.figures.text import plain
from torchhebb.evaluate.methods.resize import resize_to
from torchhebb.evaluate.methods.subsample import subsample
from torchhebb.evaluate.statistics import wilson
from torchhebb.nn import Network, load, save
from torchhebb.readouts import Ridge
from torchhebb.readouts.base import percent_correct, predict_logits
from torchhebb.runs.baselines import BaselineName, baseline
from torchhebb.runs.networks import built, placed, untrained
from torchhebb.runs.run import Run
from torchhebb.train import Measure
from torchhebb.train.calibrate import calibrate
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.device import autocast
from torchhebb.train.features import extract_features
from torchhebb.train.learn import learn_images
from torchhebb.train.log import Log

RANDOM = "random"

Accuracies = dict[tuple[str, str], list[float]]
"""(row, target) -> accuracy of every seed in %; a row is a source, a baseline, or `random`."""


@dataclass(frozen=True)
class Transfer(Evaluator):
    """Blocks learned without labels on one data set (source), their frozen features read out on another (target).

    All networks have the run's architecture, with its input, and its plan of learning; the run's own network stands
    for its data set, the others are learned at the first call and kept in RUN/transfer/.  Images of other channels
    and sizes are brought to the input by `resize_to`.  Measures:

        <source>_to_<target>_accuracy      test accuracy of the readout in %
        <source>_to_<target>_ratio         the same in % of the accuracy of the target's native network
        <source>_mean_ratio                its mean over the targets that are not the source
        <target>_native_accuracy           of the network that was learned on the target itself
        <target>_random_accuracy           of the weights as drawn, batch norm calibrated on the target

    Raises UserError for a data set that cannot be had, two of one name, numbers of images below 1, or baselines, which
    have learned from all images, together with networks that learn from some.
    Source: SPHeRe-2025, transfer between data sets.
    """

    question: ClassVar[str] = "transfer"

    sources: tuple[str, ...] = field(default=(), metadata=NOT_IN_CELLS)
    """Data sets to learn on; by default the run's own and all targets."""
    targets: tuple[str, ...] = field(default=(), metadata=NOT_IN_CELLS)
    """Data sets to read out on; by default all that can be had here, from half to twice as large as the input."""
    baselines: tuple[BaselineName, ...] = field(default=(), metadata=distinct(empty=True) | NOT_IN_CELLS)
    """Networks that learned from the run's data by other means, such as backpropagation, as further rows."""
    learning_images: int | None = field(default=None, metadata=at_least(1))
    """How many images networks learn from, drawn once; with None all, and the run's network is one of them."""
    train_images: int | None = field(default=None, metadata=at_least(1))
    """How many training images of a target the readout is fitted to, drawn once; None is all of them."""
    test_images: int | None = field(default=None, metadata=at_least(1))
    """How many test images of a target, drawn once; None is all of them."""
    batch_norm: Literal["frozen", "recalibrated"] = field(default="frozen", metadata=NOT_IN_CELLS)
    """Statistics of transferred networks: as learned on the source, or averaged again over the target's images."""
    readout: Literal["ridge", "trained"] = "ridge"
    """Ridge regression, cheap, or the readout of the run's recipe."""
    ridge: Ridge = field(default_factory=lambda: Ridge(project=2048))
    """Features that are not wider than `project` are not projected."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.baselines and self.learning_images is not None:
            raise UserError("baselines learn from all images of the run: leave learning_images out")

    def run(self, run: Run) -> Iterator[Finding]:
        targets, left_out = self._targets(run)
        sources = _named([self._load(run, name) for name in self.sources] or [run.data, *targets.values()])
        learned = _named([*sources.values(), *targets.values()])
        makers: dict[str, Maker] = {name: partial(self._learned, run, data) for name, data in learned.items()}
        others = {f"{name}_{label_of(run.data)}": partial(_compared, run, name) for name in self.baselines}
        makers |= others | {RANDOM: partial(untrained, run)}
        rows = [*sources, *others]
        found: Accuracies = {}
        for seed in run.seeds:
            for target, data in targets.items():
                for row in dict.fromkeys([*rows, target, RANDOM]):
                    recalibrated = self.batch_norm == "recalibrated" and row not in (target, RANDOM)
                    task = f"seed {seed}: {row} to {target}"
                    accuracy = self.keep(
                        run,
                        partial(self._read_out, run, makers[row], data, seed, task, recalibrated=recalibrated),
                        row=row,
                        source=learned[row].fingerprint if row in learned else None,
                        target=data.fingerprint,
                        seed=seed,
                        recalibrated=recalibrated,
                    )
                    found.setdefault((row, target), []).append(accuracy)
        yield from _measures(found, rows, {name: self._size(data) for name, data in targets.items()})
        yield Note("left_out", left_out)
        yield Note("test_images", {name: self._size(data) for name, data in targets.items()})
        yield from _matrix(found, rows, list(targets))

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
            except UserError:  # its words name folders, which are no part of an answer
                left_out[name] = "it cannot be had here"
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

    def _learned(self, run: Run, data: Data, seed: int, _target: Images) -> Network:
        """The network that learned from a data set: the run's own, or another that is kept in its folder."""
        if data is run.data and self.learning_images is None:
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

    def _read_out(self, run: Run, make: "Maker", data: Data, seed: int, task: str, *, recalibrated: bool) -> float:
        """Test accuracy in % of a readout on a network's frozen features of a target."""
        shape, classes = run.recipe.architecture.input_shape, len(data.classes)
        train = resize_to(subsample(data.train, self.train_images), shape)
        test = resize_to(subsample(data.test, self.test_images), shape)
        network = make(seed, train)
        if recalibrated:
            calibrate(network, train, seed=seed, learned=True)
        with autocast(run.precision, run.device):
            seen, unseen = (
                extract_features(network, images, device=run.device, label=f"{task}: features", progress=run.progress)
                for images in (train, test)
            )
        if self.readout == "trained":
            plan, label = run.recipe.readout, f"{task}: readout"
            readout: nn.Module = plan.fit(
                seen, train.labels, classes, seed=seed, task=label, progress=run.progress
            ).readout
        else:
            project = self.ridge.project
            fits = project is None or project < seen.shape[1]
            ridge = self.ridge if fits else replace(self.ridge, project=None)
            run.progress.start(f"{task}: readout", 1, "readouts")
            readout = ridge.fit(seen, train.labels, classes, seed=seed).readout
            run.progress.finish()
        return percent_correct(predict_logits(readout, unseen).cpu(), test.labels)


class Maker(Protocol):
    """(seed, training images of the target) -> the frozen network whose features are read out."""

    def __call__(self, seed: int, target: Images, /) -> Network: ...


def label_of(data: Data) -> str:
    """What a data set is called in measures and figures: its name, or that of its folder."""
    return data.name.rstrip("/").rpartition("/")[2].rpartition(":")[2]


def _named(sets: Sequence[Data]) -> dict[str, Data]:
    sets = [data for i, data in enumerate(sets) if data.name not in [other.name for other in sets[:i]]]
    named = {label_of(data): data for data in sets}
    if len(named) < len(sets) or RANDOM in named:
        raise UserError(f"data sets must have names of their own, got {', '.join(data.name for data in sets)}")
    return named


def _compared(run: Run, name: BaselineName, seed: int, _target: Images) -> Network:
    return baseline(run, seed, name)


def _measures(found: Accuracies, rows: Sequence[str], targets: Mapping[str, int]) -> Iterator[Measure]:
    """`targets`: the number of test images of each."""
    for row in rows:
        ratios = {target: _ratio(found, row, target) for target in targets if target != row}
        for target, ratio in ratios.items():
            accuracy = found[row, target]
            interval = wilson(accuracy, targets[target])
            yield Measure(f"{row}_to_{target}_accuracy", "%", tuple(accuracy), None, interval)
            yield Measure(f"{row}_to_{target}_ratio", "%", ratio)
        if ratios:
            yield Measure(f"{row}_mean_ratio", "%", tuple(map(fmean, zip(*ratios.values(), strict=True))))
    for target, images in targets.items():
        for name, row in (("native", target), (RANDOM, RANDOM)):
            accuracy = found[row, target]
            yield Measure(f"{target}_{name}_accuracy", "%", tuple(accuracy), None, wilson(accuracy, images))


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
        "Blocks learned without labels on the data set of a row, frozen, and read out on that of a column: accuracy, "
        "and the same in % of a network that learned on the column itself. The last row has random weights."
    )
    words = [plain(name.replace("_", " ")) for name in rows], [plain(name.replace("_", " ")) for name in targets]
    panels = [
        Matrix("test accuracy, %", torch.tensor(accuracy), *words, "read out on", "learned on"),
        Matrix("in % of the native network", torch.tensor(ratio), *words, "read out on"),
    ]
    yield Figure("matrix", caption, draw_matrices(panels, digits=1))
