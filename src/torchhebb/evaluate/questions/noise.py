"""Accuracy on corrupted test images, compared with networks of the same size."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor, nn

from torchhebb.bounds import above, at_least, distinct, each, rising
from torchhebb.data import Batches, Images
from torchhebb.data.corruptions import CORRUPTIONS, Corruption
from torchhebb.errors import UserError
from torchhebb.evaluate.answers import accuracy, from_letters, points, to_letters
from torchhebb.evaluate.evaluator import Figure, Finding, Note
from torchhebb.evaluate.figures.panels import Panel, draw_panels
from torchhebb.evaluate.statistics import mean_curve
from torchhebb.evaluate.study import NOT_IN_CELLS, Cell, Quantity, Study
from torchhebb.runs.baselines import BaselineName, baseline, baseline_label
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Measure

BATCH = 250  # the same for all networks, so that the noise of each image is the same

Severities = tuple[float, ...]
SEVERITIES = rising(above=0, empty=True) | NOT_IN_CELLS
CLEAN = CORRUPTIONS["gaussian_noise"](0.0)

Answers = dict[str, Tensor]
"""Right or wrong (seeds, 1 + severities, images) by corruption, the first row on clean images."""


@dataclass(frozen=True)
class Noise(Study[BaselineName]):
    """Accuracy on corrupted test images; all networks see the same images with the same noise.

    Curves `<corruption> <baseline>`: accuracy in % against the severity, from 0 (clean images) on.  Measures:

        <baseline>_clean_accuracy, <baseline>_accuracy_at_<std>    in %, without and with Gaussian noise
        <baseline>_gaussian_noise_robustness    area under the curve, in % of the area without any loss of accuracy
        <baseline>_robustness                   its mean over all corruptions; the note `robustness` has each of them
        <corruption>_advantage                   how many points of accuracy less the run's network loses than
                                                 backpropagation, on average over the severities

    The interval of an advantage is over test images, paired, since both networks classify the same images.  Accuracy at
    chance level counts too, so robustness does not reach 0.
    Raises UserError for severities that do not increase from above 0, a std in `measured` that is not among those of
    the noise, or an unknown baseline.
    Source: SoftHebb-2022, Gaussian noise on test images; Hendrycks and Dietterich 2019 for the others.

    Example:
        >>> Noise(images=1000, measured=(0.3,)).question
        'noise'
    """

    question: ClassVar[str] = "noise"
    keeps_cells: ClassVar[bool] = False
    quantities: ClassVar[dict[str, Quantity]] = {"accuracy": Quantity("test accuracy, %", "%")}

    baselines: tuple[BaselineName, ...] = field(
        default=("own", "hard", "random", "backpropagation"), metadata=distinct() | NOT_IN_CELLS
    )
    """Networks to compare."""
    images: int | None = field(default=None, metadata=at_least(1))
    """Number of test images, drawn once; None takes all."""
    measured: Severities = field(default=(0.1, 0.3, 0.5), metadata=each(above(0), empty=True) | NOT_IN_CELLS)
    """Standard deviations of the Gaussian noise at which the accuracy is a measure too."""
    gaussian_noise: Severities = field(
        default=(0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0), metadata=SEVERITIES
    )
    """Standard deviations of the noise.  An empty list leaves this corruption out; so for the following ones."""
    shot_noise: Severities = field(default=(0.1, 0.2, 0.4, 0.8), metadata=SEVERITIES)
    """Standard deviations of the noise on a white pixel."""
    impulse_noise: Severities = field(default=(0.03, 0.06, 0.12, 0.25), metadata=SEVERITIES)
    """Shares of the pixels that become black or white."""
    gaussian_blur: Severities = field(default=(0.5, 0.75, 1.0, 1.5), metadata=SEVERITIES)
    """Standard deviations of the blur kernel, in pixels."""
    contrast: Severities = field(default=(0.25, 0.5, 0.75, 0.9), metadata=SEVERITIES)
    """Shares of the contrast that are removed."""
    brightness: Severities = field(default=(0.1, 0.2, 0.3, 0.5), metadata=SEVERITIES)
    """Values added to every pixel."""
    pixelate: Severities = field(default=(0.25, 0.4, 0.5, 0.65), metadata=SEVERITIES)
    """Shares of the rows and columns that are removed."""
    rotation: Severities = field(default=(10.0, 20.0, 30.0, 45.0), metadata=SEVERITIES)
    """Angles of the rotation, in degrees."""

    def check(self, run: Run) -> None:
        grid = self._grid()
        if not grid:
            raise UserError("severities of at least one corruption must be given, got none")
        if missing := set(self.measured) - set(self.gaussian_noise):
            raise UserError(f"measured must be among gaussian_noise {self.gaussian_noise}, got {min(missing)}")

    def variants(self, run: Run) -> dict[str, BaselineName]:
        return {name: name for name in self.baselines}

    def cell(self, run: Run, variant: BaselineName, seed: int) -> Cell:
        """By corruption, right (1) or wrong (0) on every image: on clean images, then at each severity."""
        images = self._images(run)
        network = cache(lambda: baseline(run, seed, variant).classifier)  # loaded once, and only if a part is missing

        def answers(corruption: Corruption) -> str:
            def work() -> str:
                return _classify(network(), images, corruption, seed, run)

            return self.keep(run, work, baseline=variant, seed=seed, corruption=repr(corruption))

        clean = answers(CLEAN)
        return {name: [clean, *map(answers, corruptions)] for name, corruptions in self._grid().items()}

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        grid, labels = self._grid(), {name: baseline_label(run, name) for name in self.baselines}
        severities = {name: tuple(corruption.severity for corruption in row) for name, row in grid.items()}
        answers: dict[str, Answers] = {
            name: {c: torch.stack([from_letters(cell[c]) for cell in of_seeds]) for c in grid}
            for name, of_seeds in cells.items()
        }
        panels: dict[str, dict[str, Curve]] = {corruption: {} for corruption in grid}
        for name in self.baselines:
            yield from self._accuracies(name, answers[name])
            for corruption in grid:
                curve = _curve(name, corruption, severities[corruption], answers[name][corruption])
                panels[corruption][labels[name]] = curve
                yield curve
        yield from self._robustness(answers, severities)
        if {"own", "backpropagation"} <= answers.keys():
            for corruption in grid:
                own, other = answers["own"][corruption], answers["backpropagation"][corruption]
                yield advantage(corruption, own, other, severities[corruption])
        yield Note("test_images", len(self._images(run)))
        drawn = [Panel(corruption.replace("_", " "), curves) for corruption, curves in panels.items()]
        yield Figure(
            "corruptions", "Accuracy in % on corrupted test images.", draw_panels(drawn, columns=4, share_y=True)
        )

    def _grid(self) -> dict[str, list[Corruption]]:
        """Every corruption of the settings, at each of its severities."""
        grid = {name: [kind(severity) for severity in getattr(self, name)] for name, kind in CORRUPTIONS.items()}
        return {name: corruptions for name, corruptions in grid.items() if corruptions}

    def _images(self, run: Run) -> Images:
        test = run.data.test
        if self.images is None or self.images >= len(test):
            return test
        return test.select(torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[: self.images])

    def _accuracies(self, name: str, answers: Answers) -> Iterator[Measure]:
        yield accuracy(f"{name}_clean_accuracy", next(iter(answers.values()))[:, 0])
        for std in self.measured:
            at = 1 + self.gaussian_noise.index(std)
            yield accuracy(f"{name}_accuracy_at_{std:g}", answers["gaussian_noise"][:, at])

    def _robustness(self, answers: Mapping[str, Answers], severities: Mapping[str, Severities]) -> Iterator[Finding]:
        each = {
            name: {corruption: robustness(right, severities[corruption]) for corruption, right in found.items()}
            for name, found in answers.items()
        }
        for name, values in each.items():
            if "gaussian_noise" in values:
                yield Measure(f"{name}_gaussian_noise_robustness", "%", tuple(values["gaussian_noise"].tolist()))
            yield Measure(f"{name}_robustness", "%", tuple(torch.stack(list(values.values())).mean(0).tolist()))
        yield Note("robustness", {n: {c: value.tolist() for c, value in values.items()} for n, values in each.items()})


def robustness(right: Tensor, severities: Severities) -> Tensor:
    """Area under accuracy against severity, over severity range x clean accuracy, in % (seeds,).

    >>> right = torch.tensor([[[1, 1, 1, 1], [1, 1, 0, 0]]])  # one seed, clean and one severity, four images
    >>> robustness(right, (0.5,))
    tensor([75.], dtype=torch.float64)
    """
    shares = right.double().mean(2)
    return 100 * _mean_over(shares, severities) / shares[:, 0].clamp_min(1e-12)


def advantage(corruption: str, own: Tensor, other: Tensor, severities: Severities) -> Measure:
    """How many points less `own` loses than `other`, both (seeds, 1 + severities, images), paired by image."""
    lost, lost_by_other = (
        right[:, 0].double() - _mean_over(right.double().transpose(1, 2), severities) for right in (own, other)
    )
    return points(f"{corruption}_advantage", 100 * (lost_by_other - lost))


@torch.no_grad()
def _classify(network: nn.Module, images: Images, corruption: Corruption, seed: int, run: Run) -> str:
    """Right (1) or wrong (0), an image a letter; the draws follow from the corruption and the seed alone."""
    generator = torch.Generator(run.device).manual_seed(zlib.crc32(repr((seed, corruption)).encode()))
    batches, found = Batches(images.images, BATCH, labels=images.labels, shuffle=False, device=run.device), ""
    run.progress.start(f"seed {seed}: {corruption}", len(images), "images")
    for x, labels in batches.epoch(0):
        found += to_letters(network(corruption(x, generator)).argmax(1) == labels)
        run.progress.advance(len(x))
    run.progress.finish()
    return found


def _mean_over(values: Tensor, severities: Severities) -> Tensor:
    """The mean along the last dim over the severities from 0, interpolated linearly."""
    x = torch.tensor((0.0, *severities), dtype=torch.float64)
    return torch.trapezoid(values, x, dim=-1) / x[-1]


def _curve(name: str, corruption: str, severities: Severities, right: Tensor) -> Curve:
    lines = (100 * right.double().mean(2)).tolist()
    label = CORRUPTIONS[corruption].label
    return mean_curve(f"{corruption} {name}", label, "test accuracy, %", (0.0, *severities), lines)
