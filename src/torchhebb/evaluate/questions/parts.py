"""What does each part of a whitened network give? Networks with one part changed, on held-out training images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import torch

from torchhebb.data import Images
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Evaluator, Figure, Finding, Note
from torchhebb.nn import Architecture, Network, WhitenedBlock
from torchhebb.readouts import WideRidge
from torchhebb.readouts.base import percent_correct
from torchhebb.recipes.best import PARTS
from torchhebb.runs.run import Run
from torchhebb.train import Measure
from torchhebb.train.device import autocast
from torchhebb.train.features import extract_features
from torchhebb.train.learn import calibrate, learn_images

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


@dataclass(frozen=True)
class Parts(Evaluator):
    """Held-out accuracy of a ridge on the features of the run's network, narrowed, and of others that lack one part.

    Every network learns from the first images of the training set as the recipe says, and is read out on `images` of
    them; the accuracy is that on `held_out` others of the training set.  The test images are not touched, so the answer
    may choose.  The parts are those of `recipes.best.PARTS`; `random` keeps the patches that weights start from.

    Measures `<part>_held_out_accuracy` in %, a value a seed; a figure of all.
    Raises UserError for a network without whitened blocks, or settings out of range.
    """

    question: ClassVar[str] = "parts"

    parts: tuple[str, ...] = tuple(PARTS)
    """Which networks to compare."""
    neurons: int = 512
    """Of every block; the run's own network is narrowed to as many."""
    learned_from: int = 2000
    """Images of the unsupervised pass."""
    images: int = 6000
    """Images that the ridge is fitted to."""
    held_out: int = 3000
    """Images that the accuracy is measured on."""
    ridge: WideRidge = field(default_factory=lambda: WideRidge(strengths=(1e-2, 3e-2, 1e-1)))
    """The readout; its strength is chosen on a part of its own images."""

    def run(self, run: Run) -> Iterator[Finding]:
        self._check(run)
        values: dict[str, list[float]] = {name: [] for name in self.parts}
        for seed in run.seeds:
            for name, line in values.items():
                line.append(self._piece(name, run, seed))
        for name, line in values.items():
            yield Measure(f"{name}_held_out_accuracy", "%", tuple(line))
        yield Note("parts", {name: PARTS[name].words for name in self.parts})
        caption = (
            f"Held-out accuracy with {self.neurons} neurons a block, {self.images} labels; the test set is unseen."
        )
        yield Figure("parts", caption, _figure(values))

    def _piece(self, name: str, run: Run, seed: int) -> float:
        return run.once(
            lambda: self._accuracy(name, run, seed),
            question=self.question,
            part=name,
            architecture=str(PARTS[name].change(self._narrowed(run.recipe.architecture))),
            learned=PARTS[name].learned,
            seed=seed,
            precision=run.precision,
            sizes=[self.learned_from, self.images, self.held_out],
            ridge=str(self.ridge),
        )

    def _check(self, run: Run) -> None:
        if not all(isinstance(block, WhitenedBlock) for block in run.recipe.architecture.blocks):
            raise UserError(f"{run.recipe.name} has blocks that do not whiten: ask a run of softhebb2023-cifar10-best")
        if unknown := [name for name in self.parts if name not in PARTS]:
            raise UserError(f"parts must be among {', '.join(PARTS)}, got {', '.join(unknown)}")
        for name in ("neurons", "learned_from", "images", "held_out"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}")
        most = len(run.data.train)
        if max(self.learned_from, self.images) + self.held_out > most:
            raise UserError(f"{run.data.name} has {most} training images: lower images, learned_from or held_out")

    def _narrowed(self, architecture: Architecture) -> Architecture:
        blocks = []
        for block in architecture.blocks:
            assert isinstance(block, WhitenedBlock)
            project = None if block.project is None else min(block.project, self.neurons)
            components = block.components
            if components is not None and project is not None:
                components = min(components, project * block.kernel_size**2)
            channels = min(block.channels, self.neurons)
            blocks.append(replace(block, channels=channels, project=project, components=components))
        return replace(architecture, blocks=tuple(blocks))

    def _accuracy(self, name: str, run: Run, seed: int) -> float:
        data = run.data.holdout(self.held_out, seed)
        network = self._network(name, run, seed, first(data.train, self.learned_from))
        train, task = first(data.train, self.images), f"seed {seed}: {PARTS[name].words}"
        with autocast(run.precision, run.device):
            features, tested = (
                extract_features(network, images, device=run.device, label=f"{task}: features", progress=run.progress)
                for images in (train, data.test)
            )
        readout = self.ridge.fit(
            features, train.labels, len(data.classes), seed=seed, label=task, progress=run.progress
        )
        return percent_correct(readout.readout(tested.float()).cpu(), data.test.labels)

    def _network(self, name: str, run: Run, seed: int, images: Images) -> Network:
        part, plan = PARTS[name], run.recipe.learning
        network = part.change(self._narrowed(run.recipe.architecture)).build(seed)
        network.to(run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if not part.learned:
            return calibrate(network, images, seed=seed, samples=plan.samples)
        task = f"seed {seed}: {part.words}"
        plan = replace(plan, share=1.0)  # of the images named here
        return learn_images(network, images, plan, seed=seed, precision=run.precision, task=task, progress=run.progress)


def first(images: Images, count: int) -> Images:
    """The first of some images; training sets are shuffled."""
    return images.select(torch.arange(min(count, len(images))))


def _figure(values: dict[str, Sequence[float]] | dict[str, list[float]]) -> "Canvas":
    """A bar a network, the whole one first, with its difference from it."""
    from matplotlib.figure import Figure as Canvas

    names = list(values)
    means = [sum(line) / len(line) for line in values.values()]
    canvas = Canvas(figsize=(7.2, 0.34 * len(names) + 0.9), layout="constrained")
    axes = canvas.subplots()
    places = range(len(names), 0, -1)
    colours = ["tab:blue" if index == 0 else "tab:grey" for index in range(len(names))]
    axes.barh(places, means, color=colours, height=0.7)
    for place, line in zip(places, values.values(), strict=True):
        axes.plot(line, [place] * len(line), "k.", markersize=4)
    for place, mean in zip(places, means, strict=True):
        axes.text(mean + 0.3, place, f"{mean:.1f}  ({mean - means[0]:+.1f})", va="center", fontsize=8)
    axes.set_yticks(list(places), [PARTS[name].words for name in names], fontsize=8)
    axes.set_xlim(min(means) - 5, max(means) + 5)
    axes.set_xlabel("held-out accuracy, %", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    return canvas
