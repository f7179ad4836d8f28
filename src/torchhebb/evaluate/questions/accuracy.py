"""Accuracy of every readout on the same frozen features."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import ClassVar, Literal

from torch import Tensor, nn

from torchhebb.bounds import distinct
from torchhebb.data import Stream
from torchhebb.evaluate.evaluator import Finding, Note
from torchhebb.evaluate.study import NOT_IN_CELLS, Cell, Quantity, Study, count_test_images, values
from torchhebb.readouts import Labels, Logistic, Neighbors, ReadoutPlan, Ridge
from torchhebb.readouts.base import readout_accuracy
from torchhebb.runs.run import Run
from torchhebb.train.accuracy import model_accuracy

ReadoutName = Literal["trained", "ridge", "logistic", "neighbors", "labels"]


@dataclass(frozen=True)
class Accuracy(Study[ReadoutName]):
    """Test accuracy of several readouts on the same frozen features, with the baselines of the run.

    With `test_data` the same readouts are also tested on another data set with the same classes, such as imagenetv2 for
    a run on imagenet: `<test_data>_test_accuracy` and `<test_data>_<readout>_test_accuracy`.

    Measures `test_accuracy` (the readout trained with the run) and `<readout>_test_accuracy` in %, one value per seed,
    with the 95 % Wilson interval over test images.  The note `chosen` has the settings that each readout chose on
    held-out training images.
    Raises UserError before anything is fitted if a readout needs more memory than is free.

    Example:
        >>> Accuracy(readouts=("trained", "ridge")).question
        'accuracy'
    """

    question: ClassVar[str] = "accuracy"
    keeps_cells: ClassVar[bool] = False
    quantities: ClassVar[dict[str, Quantity]] = {"accuracy": Quantity("test accuracy, %", "%", count_test_images)}

    readouts: tuple[ReadoutName, ...] = field(
        default=("trained", "ridge", "logistic", "neighbors", "labels"), metadata=distinct() | NOT_IN_CELLS
    )
    """Readouts to compare; `trained` is the one that was trained with the run."""
    ridge: Ridge = field(default_factory=Ridge)
    """Ridge regression on one-hot targets, in closed form."""
    logistic: Logistic = field(default_factory=Logistic)
    """Logistic regression by full-batch L-BFGS."""
    neighbors: Neighbors = field(default_factory=Neighbors)
    """k nearest neighbours by cosine similarity."""

    test_data: str | None = None
    """Name of another data set with the same classes, on whose test images the readouts are tested too."""

    def variants(self, run: Run) -> dict[str, ReadoutName]:
        return {"" if name == "trained" else f"{name}_": name for name in self.readouts}

    def check(self, run: Run) -> None:
        for seed in run.seeds if self._plans() else ():
            width = prod(run.feature_shape(seed))
            for plan in self._plans().values():
                plan.check(len(run.data.train), width, run.device)

    def cell(self, run: Run, variant: ReadoutName, seed: int) -> Cell:
        """`accuracy` on the test images, `other` on those of `test_data`, and the settings that were `chosen`."""
        plan, chosen = self._plans().get(variant), {}
        shape = run.feature_shape(seed) if variant == "labels" else None  # a neuron is a channel
        if plan is None:
            readout = run.readout(seed)
        else:
            features, classes = _shaped(run.features(seed, "train"), shape), len(run.data.classes)
            fitted = plan.fit(features, run.data.train.labels, classes, seed=seed)
            readout, chosen = fitted.readout, fitted.notes
        found = {"accuracy": _tested(readout, run, seed, shape), "chosen": chosen}
        if self.test_data is not None:
            found["other"] = _tested(readout, run.with_test_data(self.test_data), seed, shape)
        return found

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        for prefix, of_seeds in cells.items():
            name = f"{prefix}test_accuracy"
            measure = self.measure(run, name, values(of_seeds, "accuracy"), "accuracy")
            yield replace(measure, published=run.recipe.published_for(name))
        if self.test_data is not None:
            other = run.with_test_data(self.test_data)
            for prefix, of_seeds in cells.items():
                name = f"{self.test_data}_{prefix}test_accuracy"
                yield self.measure(other, name, values(of_seeds, "other"), "accuracy")
        for measure in run.result.measures:
            if measure.name != "test_accuracy":
                yield replace(self.measure(run, measure.name, measure.values, "accuracy"), published=measure.published)
        yield Note("test_images", count_test_images(run))
        yield Note("training", {"command": run.result.command, "seconds": round(run.result.seconds, 1)})
        chosen = {name: values(cells[f"{name}_"], "chosen") for name in self._plans()}
        yield Note("chosen", {name: list(found) for name, found in chosen.items()})

    def _plans(self) -> dict[str, ReadoutPlan]:
        """The readouts to fit."""
        plans: dict[str, ReadoutPlan] = {
            "ridge": self.ridge,
            "logistic": self.logistic,
            "neighbors": self.neighbors,
            "labels": Labels(),
        }
        return {name: plans[name] for name in self.readouts if name in plans}


def _shaped(features: Tensor, shape: tuple[int, ...] | None) -> Tensor:
    """Features (N, F) in another shape of each sample; None leaves them flat."""
    return features if shape is None else features.unflatten(1, shape)


def _tested(readout: nn.Module, run: Run, seed: int, shape: tuple[int, ...] | None) -> float:
    """Accuracy in % on the test images of a run."""
    if isinstance(run.data.train, Stream):  # the features of such data are too many to keep
        network = run.network(seed)
        return model_accuracy(network, run.data.test, readout=readout, device=run.device, precision=run.precision)
    test = _shaped(run.features(seed, "test"), shape)
    return readout_accuracy(readout, test, run.data.test.labels)
