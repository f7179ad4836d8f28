"""How much accuracy is left on corrupted test images, beside networks of the same size?"""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from torchhebb.data import Batches
from torchhebb.data.corruptions import CORRUPTIONS, Corruption
from torchhebb.errors import UserError, unknown_name
from torchhebb.evaluate.evaluator import Evaluator, Figure, Finding, Note
from torchhebb.evaluate.statistics import mean_interval, wilson
from torchhebb.runs.baselines import CONTENDERS, ContenderName, contender, contender_label
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Measure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

BATCH = 250  # of all networks alike, so that a batch and its noise are the same for each

Severities = tuple[float, ...]
Answers = dict[tuple[str, str], Tensor]
"""(contender, corruption) -> right or wrong (seeds, 1 + severities, images), the first row on clean images."""


@dataclass(frozen=True)
class Noise(Evaluator):
    """Accuracy on corrupted test images; every contender sees the same images with the same draws.

    Curves `<corruption> <contender>`: accuracy in % against the severity, from clean images on.  Measures:

        <contender>_clean_accuracy, <contender>_accuracy_at_<std>    in %, without and with Gaussian noise
        <contender>_gaussian_noise_robustness    area under the curve over that of one without loss, in %
        <contender>_robustness                   its mean over all corruptions; each of them is noted
        <corruption>_advantage                   by how many points of accuracy, on average over the severities,
                                                 the own network loses less than backpropagation

    The interval of an advantage is for the test images, paired: each is answered by both networks.  Chance counts as
    accuracy, so no robustness falls to 0.
    Raises UserError for severities that do not rise from above 0, a std in `measured` that is not among those of
    the noise, or an unknown contender.
    Source: SoftHebb-2022, Gaussian noise on test images; Hendrycks and Dietterich 2019 for the others.
    """

    question: ClassVar[str] = "noise"

    contenders: tuple[ContenderName, ...] = ("own", "hard", "random", "backpropagation")
    """Which networks to ask."""
    images: int | None = None
    """How many test images, drawn once; None is all of them."""
    measured: Severities = (0.1, 0.3, 0.5)
    """At which std of the Gaussian noise accuracies are measures as well."""
    gaussian_noise: Severities = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
    """Std of the noise.  An empty list leaves a corruption out, here as below."""
    shot_noise: Severities = (0.1, 0.2, 0.4, 0.8)
    """Std of a white pixel."""
    impulse_noise: Severities = (0.03, 0.06, 0.12, 0.25)
    """Share of the pixels that turn black or white."""
    gaussian_blur: Severities = (0.5, 0.75, 1.0, 1.5)
    """Std of the kernel in pixels."""
    contrast: Severities = (0.25, 0.5, 0.75, 0.9)
    """Share of the contrast that is lost."""
    brightness: Severities = (0.1, 0.2, 0.3, 0.5)
    """Light added to every pixel."""
    pixelate: Severities = (0.25, 0.4, 0.5, 0.65)
    """Share of the rows and columns that is lost."""
    rotation: Severities = (10.0, 20.0, 30.0, 45.0)
    """Degrees."""

    def run(self, run: Run) -> Iterator[Finding]:
        grid = self._grid()
        answers = self._answers(run, grid)
        for name in self.contenders:
            yield from self._accuracies(name, answers, grid)
            for corruption, severities in grid.items():
                yield _curve(name, corruption, severities, answers[name, corruption])
        yield from self._robustness(answers, grid)
        if {"own", "backpropagation"} <= set(self.contenders):
            for corruption, severities in grid.items():
                own, other = answers["own", corruption], answers["backpropagation", corruption]
                yield advantage(corruption, own, other, severities)
        yield Note("test_images", next(iter(answers.values())).shape[2])
        yield Figure(
            "corruptions",
            "Accuracy on corrupted test images.",
            _figure({name: contender_label(run, name) for name in self.contenders}, answers, grid),
        )

    def _grid(self) -> dict[str, Severities]:
        """The severities of every corruption that is asked for, after a check of all settings."""
        if unknown := [name for name in self.contenders if name not in CONTENDERS]:
            raise unknown_name("contender", unknown[0], CONTENDERS)
        grid = {name: tuple(getattr(self, name)) for name in CORRUPTIONS}
        for name, severities in grid.items():
            if any(not low < high for low, high in zip((0.0, *severities), severities, strict=False)):
                raise UserError(f"{name} must be severities that rise from above 0, got {severities}")
            for severity in severities:
                CORRUPTIONS[name](severity)
        if missing := set(self.measured) - set(grid["gaussian_noise"]):
            raise UserError(f"measured must be among gaussian_noise {grid['gaussian_noise']}, got {min(missing)}")
        if not any(grid.values()) or not self.contenders:
            raise UserError("contenders and the severities of at least one corruption must be given, got none")
        if self.images is not None and self.images < 1:
            raise UserError(f"images must be at least 1, got {self.images}")
        return {name: severities for name, severities in grid.items() if severities}

    def _answers(self, run: Run, grid: Mapping[str, Severities]) -> Answers:
        test = run.data.test
        if self.images is not None and self.images < len(test):
            test = test.select(torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[: self.images])
        batches = Batches(test.images, BATCH, labels=test.labels, shuffle=False, device=run.device)
        found: dict[tuple[str, str], list[Tensor]] = {(n, c): [] for n in self.contenders for c in grid}
        for seed in run.seeds:
            networks: dict[str, nn.Module] = {n: contender(run, seed, n).classifier for n in self.contenders}
            for name, severities in grid.items():
                corruptions = (CORRUPTIONS["gaussian_noise"](0.0), *map(CORRUPTIONS[name], severities))
                rows = [self._right(networks, batches, corruption, seed, run) for corruption in corruptions]
                for network in networks:
                    found[network, name].append(torch.stack([row[network] for row in rows]))
        return {key: torch.stack(seeds) for key, seeds in found.items()}

    def _right(
        self, networks: Mapping[str, nn.Module], batches: Batches, corruption: Corruption, seed: int, run: Run
    ) -> dict[str, Tensor]:
        """Which images (N,) every network classifies correctly; kept with the run."""
        kept = run.once(
            lambda: _classify(networks, batches, corruption, seed, run),
            question=self.question,
            seed=seed,
            corruption=repr(corruption),
            contenders=list(networks),
            images=self.images,
        )
        return {name: torch.tensor([answer == "1" for answer in kept[name]]) for name in networks}

    def _accuracies(self, name: str, answers: Answers, grid: Mapping[str, Severities]) -> Iterator[Measure]:
        right = answers[name, next(iter(grid))]
        yield _accuracy(f"{name}_clean_accuracy", right[:, 0])
        for std in self.measured:
            at = 1 + grid["gaussian_noise"].index(std)
            yield _accuracy(f"{name}_accuracy_at_{std:g}", answers[name, "gaussian_noise"][:, at])

    def _robustness(self, answers: Answers, grid: Mapping[str, Severities]) -> Iterator[Finding]:
        each = {
            name: {
                corruption: robustness(answers[name, corruption], severities) for corruption, severities in grid.items()
            }
            for name in self.contenders
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
    accuracy = right.double().mean(2)
    return 100 * _mean_over(accuracy, severities) / accuracy[:, 0].clamp_min(1e-12)


def advantage(corruption: str, own: Tensor, other: Tensor, severities: Severities) -> Measure:
    """Points of accuracy that `own` loses less than `other`, both (seeds, 1 + severities, images), image by image."""
    lost, lost_by_other = (
        right[:, 0].double() - _mean_over(right.double().transpose(1, 2), severities) for right in (own, other)
    )
    saved = 100 * (lost_by_other - lost)  # (seeds, images)
    points = tuple(saved.mean(1).tolist())
    return Measure(f"{corruption}_advantage", "points", points, None, mean_interval(saved.mean(0)))


@torch.no_grad()
def _classify(
    networks: Mapping[str, nn.Module], batches: Batches, corruption: Corruption, seed: int, run: Run
) -> dict[str, str]:
    """Right (1) or wrong (0), an image a letter; the draws follow from the corruption and the seed alone."""
    generator = torch.Generator(run.device).manual_seed(zlib.crc32(repr((seed, corruption)).encode()))
    found = dict.fromkeys(networks, "")
    run.progress.start(f"seed {seed}: {corruption}", len(batches.images), "images")
    for x, labels in batches.epoch(0):
        x = corruption(x, generator)
        for name, network in networks.items():
            right = (network(x).argmax(1) == labels).tolist()
            found[name] += "".join("01"[answer] for answer in right)
        run.progress.advance(len(x))
    run.progress.finish()
    return found


def _mean_over(values: Tensor, severities: Severities) -> Tensor:
    """The mean of a broken line along the last dim, over the range of severities from 0."""
    x = torch.tensor((0.0, *severities), dtype=torch.float64)
    return torch.trapezoid(values, x, dim=-1) / x[-1]


def _accuracy(name: str, right: Tensor) -> Measure:
    values = tuple((100 * right.double().mean(1)).tolist())
    return Measure(name, "%", values, None, wilson(values, right.shape[1]))


def _curve(name: str, corruption: str, severities: Severities, right: Tensor) -> Curve:
    accuracy = 100 * right.double().mean(2)
    std = tuple(accuracy.std(0).tolist()) if len(accuracy) > 1 else None
    label, y = CORRUPTIONS[corruption].label, tuple(accuracy.mean(0).tolist())
    return Curve(f"{corruption} {name}", label, "test accuracy, %", (0.0, *severities), y, std)


def _figure(contenders: Mapping[ContenderName, str], answers: Answers, grid: Mapping[str, Severities]) -> "Canvas":
    """Small multiples: one corruption each, one line a contender."""
    from matplotlib.figure import Figure as Canvas

    columns = min(4, len(grid))
    rows = -(-len(grid) // columns)
    canvas = Canvas(figsize=(2.4 * columns, 2.2 * rows + 0.4), layout="constrained")
    panels = canvas.subplots(rows, columns, squeeze=False, sharey=True)
    for panel in panels.flat[len(grid) :]:
        panel.set_visible(False)
    for panel, (corruption, severities) in zip(panels.flat, grid.items(), strict=False):
        for name, label in contenders.items():
            curve = _curve(name, corruption, severities, answers[name, corruption])
            width = 2.0 if name == "own" else 1.2
            panel.errorbar(curve.x, curve.y, curve.std, label=label, linewidth=width, capsize=2)
        panel.set_title(corruption.replace("_", " "), fontsize=9)
        panel.set_xlabel(curve.x_label, fontsize=8)
        panel.tick_params(labelsize=8)
        panel.grid(alpha=0.25)
    for row in panels:
        row[0].set_ylabel("test accuracy, %", fontsize=8)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside upper left", ncols=len(contenders), frameon=False, fontsize=9)
    return canvas
