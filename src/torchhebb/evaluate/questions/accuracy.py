"""How well do the frozen features classify? Every readout on the same features."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import sqrt
from typing import ClassVar, Literal

import torch
from torch import Tensor

from torchhebb.data import Stream
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Evaluator, Finding, Note
from torchhebb.readouts import Labels, Logistic, Neighbors, ReadoutPlan, Ridge
from torchhebb.readouts.adam import predict_logits
from torchhebb.readouts.base import percent_correct
from torchhebb.runs.run import Run
from torchhebb.train import Measure
from torchhebb.train.sources import tested_accuracy

_NORMAL_95 = 1.959963984540054
ReadoutName = Literal["trained", "ridge", "logistic", "neighbors", "labels"]


@dataclass(frozen=True)
class Accuracy(Evaluator):
    """Test accuracy of every readout on the same frozen features, beside the baselines of the run.

    With `test_data` the same readouts also answer on the test images of another data set with the same classes, such as
    imagenetv2 for a run on imagenet: `<test_data>_test_accuracy` and `<test_data>_<readout>_test_accuracy`.

    Measures `test_accuracy` (the readout trained with the run) and `<readout>_test_accuracy` in %, a value a seed, with
    the 95 % Wilson interval over test images; what each readout chose on held-out training images is noted.
    Raises UserError before anything is fitted if a readout needs more memory than is free.
    """

    question: ClassVar[str] = "accuracy"

    readouts: tuple[ReadoutName, ...] = ("trained", "ridge", "logistic", "neighbors", "labels")
    """Which readouts to fit; `trained` is the run's own."""
    ridge: Ridge = field(default_factory=Ridge)
    """Ridge regression on one-hot targets, in closed form."""
    logistic: Logistic = field(default_factory=Logistic)
    """Logistic regression by full-batch L-BFGS."""
    neighbors: Neighbors = field(default_factory=Neighbors)
    """k nearest neighbours by cosine similarity."""

    test_data: str | None = None
    """The name of another data set, whose test images the readouts answer on too."""

    def run(self, run: Run) -> Iterator[Finding]:
        values: dict[str, list[float]] = {name: [] for name in self.readouts}
        chosen: dict[str, list[dict[str, float]]] = {name: [] for name in self.readouts if name != "trained"}
        other = None if self.test_data is None else run.beside(self.test_data)
        others: dict[str, list[float]] = {name: [] for name in self.readouts if other is not None}
        for seed in run.seeds:
            train = run.features(seed, "train") if chosen else None
            for name in chosen:
                assert train is not None
                self._plan(name).check(len(train), train.shape[1], run.device)
            shape = run.feature_shape(seed)
            run.progress.start(f"seed {seed}: readouts", len(values), "readouts")
            for name in values:
                readout = self._readout(name, run, seed, train, shape, chosen)
                values[name].append(self._accuracy(name, readout, run, seed, shape))
                if other is not None:
                    others[name].append(self._accuracy(name, readout, other, seed, shape))
                run.progress.advance(1)
            run.progress.finish()
        images = len(run.data.test)
        for name, accuracies in values.items():
            trained = name == "trained"
            full = "test_accuracy" if trained else f"{name}_test_accuracy"
            published = run.recipe.published_for(full)
            yield Measure(full, "%", tuple(accuracies), published, wilson(accuracies, images))
        for name, accuracies in others.items():
            assert other is not None
            full = f"{self.test_data}_{'' if name == 'trained' else name + '_'}test_accuracy"
            yield Measure(full, "%", tuple(accuracies), None, wilson(accuracies, len(other.data.test)))
        for measure in run.result.measures:
            if measure.name != "test_accuracy":
                yield Measure(measure.name, "%", measure.values, measure.published, wilson(measure.values, images))
        yield Note("test_images", images)
        yield Note("training", {"command": run.result.command, "seconds": round(run.result.seconds, 1)})
        yield Note("chosen", chosen)

    def _plan(self, name: str) -> ReadoutPlan:
        plans: dict[str, ReadoutPlan] = {
            "ridge": self.ridge,
            "logistic": self.logistic,
            "neighbors": self.neighbors,
            "labels": Labels(),
        }
        if name not in plans:
            raise UserError(f"readouts must be among trained, {', '.join(plans)}, got {name!r}")
        return plans[name]

    def _readout(
        self,
        name: str,
        run: Run,
        seed: int,
        train: Tensor | None,
        shape: tuple[int, ...],
        chosen: dict[str, list[dict[str, float]]],
    ) -> torch.nn.Module:
        if name == "trained" or train is None:
            return run.readout(seed)
        if name == "labels":  # a neuron is a channel, not one of its positions
            train = train.unflatten(1, shape)
        fitted = self._plan(name).fit(train, run.data.train.labels, len(run.data.classes), seed=seed)
        chosen[name].append(fitted.notes)
        return fitted.readout

    def _accuracy(self, name: str, readout: torch.nn.Module, run: Run, seed: int, shape: tuple[int, ...]) -> float:
        if isinstance(run.data.train, Stream):  # such data give too many features to keep, of the test images too
            network = run.network(seed)
            return tested_accuracy(network, readout, run.data.test, device=run.device, precision=run.precision)
        test = run.features(seed, "test")
        if name == "labels":
            test = test.unflatten(1, shape)
        return percent_correct(predict_logits(readout, test).cpu(), run.data.test.labels)


def wilson(accuracies: tuple[float, ...] | list[float], images: int) -> tuple[float, float]:
    """The 95 % interval in % of the mean accuracy over the images of one test set, whatever the number of seeds.

        (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    It stays within [0, 100] and is not empty at either end.
    Source: Wilson 1927.

    >>> tuple(round(bound, 2) for bound in wilson([50.0], 100))
    (40.38, 59.62)
    """
    p, z2 = sum(accuracies) / len(accuracies) / 100, _NORMAL_95**2
    centre = p + z2 / (2 * images)
    spread = _NORMAL_95 * sqrt(p * (1 - p) / images + z2 / (4 * images**2))
    low, high = ((centre + sign * spread) / (1 + z2 / images) for sign in (-1, 1))
    return 100 * max(0.0, low), 100 * min(1.0, high)
