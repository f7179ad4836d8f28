"""How many labels do features need? Accuracy against the labels given to the readout."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from statistics import fmean, stdev
from typing import ClassVar

import torch
from torch import Tensor

from torchhebb.config import to_json
from torchhebb.data import Images
from torchhebb.errors import UserError, unknown_name
from torchhebb.evaluate.evaluator import Evaluator, Figure, Finding, Note
from torchhebb.evaluate.figures.panels import Panel, draw_panels
from torchhebb.evaluate.methods.probe import Probe, at_least_one
from torchhebb.evaluate.methods.resize import draw
from torchhebb.evaluate.questions.accuracy import wilson
from torchhebb.runs.baselines import ContenderName, contender, contender_label
from torchhebb.runs.networks import untrained
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Measure
from torchhebb.train.supervised import backpropagation_model, fit_supervised, supervised_accuracy

COMPARED: tuple[ContenderName, ...] = ("own", "hard", "ranked", "random", "backpropagation")

Features = tuple[Tensor, Tensor]
"""Of the training and of the test images."""


@dataclass(frozen=True)
class LabelEfficiency(Evaluator):
    """Test accuracy against the labelled images of each class that the readout is given.

    The layers below have learned from all training images, without labels; random ones have their batch norm calibrated
    on them.  Which images have labels is drawn anew several times, from the seed and the number of the draw, the same
    for everyone; fewer are always a part of more.  Backpropagation learns end to end from the labelled images alone,
    as in the recipe but for at least `least_steps` steps.  Nothing is chosen on the test images.

    Curve of each contender: accuracy in % against labelled images, mean and spread over seeds and draws.  Measures:

        <contender>_<n>_per_class_accuracy      in %, a value a seed and draw
        <contender>_all_accuracy                with every label, in %, a value a seed

    Numbers of labels that some class does not have are left out, and noted as `left_out`.
    Raises UserError for settings out of range or an unknown contender.
    Source: SoftHebb-2023, few labels.
    """

    question: ClassVar[str] = "label_efficiency"

    contenders: tuple[ContenderName, ...] = ("own", "random")
    """Whose features, of own, hard, ranked and random; and backpropagation, end to end."""
    labels: tuple[int, ...] = (10, 50, 100, 500)
    """Labelled images of each class."""
    all_labels: bool = True
    """Whether all training labels stand at the end."""
    draws: int = 3
    """How often the labelled images are drawn."""
    least_steps: int = 1000
    """Steps that backpropagation takes at the least, by more epochs where there are few images."""
    probe: Probe = field(default_factory=lambda: Probe(holdout=0.2))
    """The readout; `images` bounds the training images that labels are drawn from."""

    def run(self, run: Run) -> Iterator[Finding]:
        self._check()
        train, classes = draw(run.data.train, self.probe.images), len(run.data.classes)
        most = int(torch.bincount(train.labels, minlength=classes).min())
        levels: list[int | None] = [n for n in sorted({*self.labels}) if n <= most]
        left_out = [n for n in sorted({*self.labels}) if n not in levels]
        levels += [None] if self.all_labels else []
        if not levels:
            raise UserError(f"labels must be at most {most}, as many as every class has, got {self.labels}")
        curves: dict[str, Curve] = {}
        for name in self.contenders:
            by_level: dict[int | None, tuple[float, ...]] = {level: () for level in levels}
            for seed in run.seeds:
                features = cache(partial(self._features, run, seed, name, train))  # only where a piece is missing
                for level in levels:
                    by_level[level] += tuple(self._accuracies(run, seed, name, level, train, features))
            for level, values in by_level.items():
                words = "all" if level is None else f"{level}_per_class"
                yield Measure(f"{name}_{words}_accuracy", "%", values, None, wilson(values, len(run.data.test)))
            x = [len(train) if level is None else level * classes for level in levels]
            curves[contender_label(run, name)] = _curve(name, x, list(by_level.values()))
            yield curves[contender_label(run, name)]
        yield Note("left_out", left_out)
        yield Note("test_images", len(run.data.test))
        caption = "Test accuracy against the labelled images that the readout is given, over seeds and draws of them."
        yield Figure("curves", caption, draw_panels([_panel(curves)], columns=1))

    def _check(self) -> None:
        if not self.contenders or len({*self.contenders}) < len(self.contenders):
            raise UserError(f"contenders must be given once each, got {self.contenders}")
        if unknown := [name for name in self.contenders if name not in COMPARED]:
            raise unknown_name("contender to give labels to", unknown[0], COMPARED)
        if min(self.labels, default=2) < 2:
            raise UserError(f"labels must be at least 2 each, one to fit to and one to choose on, got {self.labels}")
        at_least_one(draws=self.draws, least_steps=self.least_steps)
        self.probe.check()

    def _accuracies(
        self,
        run: Run,
        seed: int,
        name: ContenderName,
        level: int | None,
        train: Images,
        features: Callable[[], Features],
    ) -> list[float]:
        """The test accuracy in % of every draw of so many labels of each class; None is all, which is one draw."""

        def work(number: int) -> float:
            index = torch.arange(len(train)) if level is None else labelled(train.labels, level, seed, number)
            if name == "backpropagation":
                return self._backpropagation(run, seed, train.select(index))
            fitted, tested = features()
            chosen, labels = index.to(fitted.device), train.labels[index]
            return self.probe.accuracy(fitted[chosen], labels, tested, run.data.test.labels, run, seed)

        steps = self.least_steps if name == "backpropagation" else None
        key = {"question": self.question, "contender": name, "seed": seed, "labels": level, "least_steps": steps}
        key |= {"probe": to_json(self.probe), "precision": run.precision}
        return [
            run.once(partial(work, number), draw=number, **key) for number in range(1 if level is None else self.draws)
        ]

    def _features(self, run: Run, seed: int, name: ContenderName, train: Images) -> Features:
        """What is read out of a contender."""
        network = untrained(run, seed) if name == "random" else contender(run, seed, name)
        label = f"seed {seed}: {contender_label(run, name)}: features"
        fitted, tested = (self.probe.features(network, images, run, label) for images in (train, run.data.test))
        return fitted, tested

    def _backpropagation(self, run: Run, seed: int, images: Images) -> float:
        """Test accuracy in % of the same blocks, trained end to end on the labelled images alone."""
        plan = run.recipe.supervised
        enough = math.ceil(self.least_steps / math.ceil(len(images) / plan.batch_size))
        model = backpropagation_model(run.recipe.architecture, len(run.data.classes), seed)
        model.to(run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        fit_supervised(
            model,
            images,
            replace(plan, epochs=max(plan.epochs, enough)),
            seed=seed,
            precision=run.precision,
            task=f"seed {seed}: backpropagation, {len(images)} labels",
            progress=run.progress,
        )
        return supervised_accuracy(model, run.data.test)


def labelled(labels: Tensor, per_class: int, seed: int, number: int) -> Tensor:
    """Indices, rising, of so many images of each class; those of fewer are among those of more.

    Args: number, of the draw; it and the seed alone decide.  Classes without so many give all that they have.

    >>> labels = torch.tensor([0, 1, 0, 1, 0, 1])
    >>> labels[labelled(labels, 2, seed=0, number=1)].sort().values.tolist()
    [0, 0, 1, 1]
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
    order = torch.randperm(len(labels), generator=generator)
    parts = [order[labels[order] == name][:per_class] for name in labels.unique()]
    return torch.cat(parts).sort().values


def _curve(name: str, x: Sequence[int], levels: Sequence[Sequence[float]]) -> Curve:
    """The mean of the values at each x, with their spread, which is 0 for a single one."""
    std = tuple(stdev(values) if len(values) > 1 else 0.0 for values in levels)
    mean = tuple(map(fmean, levels))
    return Curve(name, "labelled images", "test accuracy, %", tuple(map(float, x)), mean, std if any(std) else None)


def _panel(curves: Mapping[str, Curve]) -> Panel:
    ticks = {x: f"{x:,.0f}" for x in next(iter(curves.values())).x}
    return Panel("test accuracy, %", curves, x_scale="log", ticks=ticks)
