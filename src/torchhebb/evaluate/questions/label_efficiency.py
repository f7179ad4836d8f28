"""Test accuracy against the number of labels for the readout."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import ClassVar, Literal

import torch
from torch import Tensor

from torchhebb.bounds import at_least, bound, distinct
from torchhebb.data import Images
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Figure, Finding, Note
from torchhebb.evaluate.figures.panels import Panel, draw_panels
from torchhebb.evaluate.methods.subsample import subsample
from torchhebb.evaluate.probe import Probe
from torchhebb.evaluate.statistics import points_curve
from torchhebb.evaluate.study import NOT_IN_CELLS, Cell, Quantity, Study, count_test_images, values
from torchhebb.runs.baselines import baseline, baseline_label
from torchhebb.runs.networks import built_for_backpropagation, untrained
from torchhebb.runs.run import Run
from torchhebb.train import Curve
from torchhebb.train.accuracy import model_accuracy
from torchhebb.train.supervised import fit_supervised

Compared = Literal["own", "hard", "ranked", "random", "backpropagation"]

_TWO_EACH = bound(
    "at least 2 each, one to fit to and one to choose on", lambda values: all(value >= 2 for value in values)
)

Features = tuple[Tensor, Tensor]
"""Those of the training images and those of the test images."""


@dataclass(frozen=True)
class LabelEfficiency(Study[Compared]):
    """Test accuracy against the number of labelled images per class that the readout is fitted to.

    The layers have learned from all training images without labels; random weights have their batch norm calibrated on
    these images.  The labelled images are drawn several times, by the seed and the number of the draw, and are the same
    for all networks; a smaller draw is a part of a larger one.  Backpropagation learns end to end from the labelled
    images alone, by the recipe's plan but for at least `least_steps` steps.  No setting is chosen on the test images.

    Curves, one for each network: accuracy in % against labelled images, mean and standard deviation over seeds and
    draws.  Measures:

        <baseline>_<n>_per_class_accuracy      in %, one value per seed and draw
        <baseline>_all_accuracy                with all labels, in %, one value per seed

    Numbers of labels that some class does not have are left out; the note `left_out` lists them.
    Raises UserError for settings out of range or an unknown baseline.
    Source: SoftHebb-2023, few labels.

    Example:
        >>> LabelEfficiency(labels=(10, 100), draws=1).question
        'label_efficiency'
    """

    question: ClassVar[str] = "label_efficiency"
    keeps_cells: ClassVar[bool] = False
    quantities: ClassVar[dict[str, Quantity]] = {"accuracy": Quantity("test accuracy, %", "%", count_test_images)}

    baselines: tuple[Compared, ...] = field(default=("own", "random"), metadata=distinct() | NOT_IN_CELLS)
    """Networks whose features are read out, and backpropagation, which is trained end to end."""
    labels: tuple[int, ...] = field(default=(10, 50, 100, 500), metadata=_TWO_EACH | NOT_IN_CELLS)
    """Numbers of labelled images per class."""
    all_labels: bool = field(default=True, metadata=NOT_IN_CELLS)
    """Whether to measure with all training labels too."""
    draws: int = field(default=3, metadata=at_least(1) | NOT_IN_CELLS)
    """Number of times that the labelled images are drawn."""
    least_steps: int = field(default=1000, metadata=at_least(1))
    """Smallest number of steps of backpropagation; few images are shown for more epochs."""
    probe: Probe = field(default_factory=lambda: Probe(holdout=0.2))
    """Settings of the readout; `images` limits the training images that labels are drawn from."""

    def check(self, run: Run) -> None:
        if not self._levels(run):
            most = _fewest_labels(self._train(run), run)
            raise UserError(f"labels must be at most {most}, as many as every class has, got {self.labels}")

    def variants(self, run: Run) -> dict[str, Compared]:
        return {name: name for name in self.baselines}

    def cell(self, run: Run, variant: Compared, seed: int) -> Cell:
        """The test accuracies in % of all draws, by the number of labels; each accuracy is kept separately."""
        train = self._train(run)
        features = cache(partial(self._features, run, seed, variant, train))  # only where one is not kept

        def accuracy(level: int | None, number: int) -> float:
            index = torch.arange(len(train)) if level is None else labelled(train.labels, level, seed, number)
            if variant == "backpropagation":
                return self._backpropagation(run, seed, train.select(index))
            fitted, tested = features()
            chosen, labels = index.to(fitted.device), train.labels[index]
            return self.probe.accuracy(fitted[chosen], labels, tested, run.data.test.labels, run, seed)

        return {
            words: [
                self.keep(run, partial(accuracy, level, draw), variant=variant, seed=seed, labels=level, draw=draw)
                for draw in range(1 if level is None else self.draws)
            ]
            for words, level in self._levels(run).items()
        }

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        levels, classes = self._levels(run), len(run.data.classes)
        x = [len(self._train(run)) if level is None else level * classes for level in levels.values()]
        curves: dict[str, Curve] = {}
        for name, of_seeds in cells.items():
            of_levels: list[list[float]] = [sum(values(of_seeds, words), []) for words in levels]
            for words, accuracies in zip(levels, of_levels, strict=True):
                yield self.measure(run, f"{name}_{words}_accuracy", accuracies, "accuracy")
            curves[baseline_label(run, self.variants(run)[name])] = curve = points_curve(
                name, "labelled images", "test accuracy, %", list(zip(x, of_levels, strict=True))
            )
            yield curve
        yield Note("left_out", [n for n in sorted({*self.labels}) if n not in levels.values()])
        yield Note("test_images", count_test_images(run))
        caption = "Test accuracy against the number of labelled images, over seeds and draws of the images."
        yield Figure("curves", caption, draw_panels([_panel(curves)], columns=1))

    def _train(self, run: Run) -> Images:
        """The images that labels are drawn from."""
        return subsample(run.data.train, self.probe.images)

    def _levels(self, run: Run) -> dict[str, int | None]:
        """The numbers of labels that every class has, by their part in the names of measures; None is all."""
        most = _fewest_labels(self._train(run), run)
        levels: dict[str, int | None] = {f"{n}_per_class": n for n in sorted({*self.labels}) if n <= most}
        return levels | ({"all": None} if self.all_labels else {})

    def _features(self, run: Run, seed: int, name: Compared, train: Images) -> Features:
        """The features of a network on the training and the test images."""
        network = untrained(run, seed) if name == "random" else baseline(run, seed, name, readout=False)
        label = f"seed {seed}: {baseline_label(run, name)}: features"
        fitted, tested = (self.probe.features(network, images, run, label) for images in (train, run.data.test))
        return fitted, tested

    def _backpropagation(self, run: Run, seed: int, images: Images) -> float:
        """Test accuracy in % of the same blocks, trained end to end on the labelled images alone."""
        plan = run.recipe.supervised
        enough = math.ceil(self.least_steps / math.ceil(len(images) / plan.batch_size))
        model = built_for_backpropagation(run, seed)
        fit_supervised(
            model,
            images,
            replace(plan, epochs=max(plan.epochs, enough)),
            seed=seed,
            precision=run.precision,
            task=f"seed {seed}: backpropagation, {len(images)} labels",
            progress=run.progress,
        )
        return model_accuracy(model, run.data.test)


def _fewest_labels(train: Images, run: Run) -> int:
    """How many images the smallest class has."""
    return int(torch.bincount(train.labels, minlength=len(run.data.classes)).min())


def labelled(labels: Tensor, per_class: int, seed: int, number: int) -> Tensor:
    """Increasing indices of `per_class` images of each class; a smaller draw is a part of a larger one.

    Args: number, that of the draw, which is determined by it and the seed.  A class with fewer images gives all.

    >>> labels = torch.tensor([0, 1, 0, 1, 0, 1])
    >>> labels[labelled(labels, 2, seed=0, number=1)].sort().values.tolist()
    [0, 0, 1, 1]
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
    order = torch.randperm(len(labels), generator=generator)
    parts = [order[labels[order] == name][:per_class] for name in labels.unique()]
    return torch.cat(parts).sort().values


def _panel(curves: Mapping[str, Curve]) -> Panel:
    ticks = {x: f"{x:,.0f}" for x in next(iter(curves.values())).x}
    return Panel("test accuracy, %", curves, x_scale="log", ticks=ticks)
