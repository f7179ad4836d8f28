"""Held-out accuracy of a whitened network with one of its parts removed or changed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch

from torchhebb.bounds import at_least, distinct
from torchhebb.data import Images
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Figure, Finding, Note
from torchhebb.evaluate.figures.bars import draw_bars
from torchhebb.evaluate.probe import features_of
from torchhebb.evaluate.study import NOT_IN_CELLS, Cell, Quantity, Study, values
from torchhebb.nn import Network
from torchhebb.readouts import WideRidge
from torchhebb.readouts.base import readout_accuracy
from torchhebb.recipes.best import PARTS
from torchhebb.runs.networks import built
from torchhebb.runs.run import Run
from torchhebb.train.calibrate import calibrate
from torchhebb.train.learn import learn_images


@dataclass(frozen=True)
class Parts(Study[str]):
    """Held-out accuracy of the run's whitened network with fewer neurons, and with one of its parts removed or changed.

    Every network learns from the first training images by the recipe's plan; a ridge is fitted to `images` of them, and
    the accuracy is that on `held_out` other training images.  Test images are not used, so that settings may be chosen
    by the result.  The parts are those of `recipes.best.PARTS`; `random` keeps the patches that weights start from.

    Measures `<part>_held_out_accuracy` in %, one value per seed.
    Raises UserError for a network without whitened blocks, or settings out of range.

    Example:
        >>> Parts(parts=("whole", "random"), neurons=256).question
        'parts'
    """

    question: ClassVar[str] = "parts"
    quantities: ClassVar[dict[str, Quantity]] = {"held_out_accuracy": Quantity("held-out accuracy, %", "%")}

    parts: tuple[str, ...] = field(default=tuple(PARTS), metadata=distinct() | NOT_IN_CELLS)
    """Parts to compare."""
    neurons: int = field(default=512, metadata=at_least(1))
    """Number of neurons of every block, for the run's own network too."""
    learned_from: int = field(default=2000, metadata=at_least(1))
    """Number of images of the unsupervised pass."""
    images: int = field(default=6000, metadata=at_least(1))
    """Number of images that the ridge is fitted to."""
    held_out: int = field(default=3000, metadata=at_least(1))
    """Number of images on which the accuracy is measured."""
    ridge: WideRidge = field(default_factory=lambda: WideRidge(strengths=(1e-2, 3e-2, 1e-1)))
    """Settings of the ridge, whose strength is chosen on a part of its images."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if unknown := [name for name in self.parts if name not in PARTS]:
            raise UserError(f"parts must be among {', '.join(PARTS)}, got {', '.join(unknown)}")

    def check(self, run: Run) -> None:
        blocks = run.recipe.architecture.blocks
        if not all(block.has_setting("components") for block in blocks):
            raise UserError(f"{run.recipe.name} has blocks that do not whiten: use a run of softhebb2023-cifar10-best")
        most = len(run.data.train)
        if max(self.learned_from, self.images) + self.held_out > most:
            raise UserError(f"{run.data.name} has {most} training images: lower images, learned_from or held_out")

    def variants(self, run: Run) -> dict[str, str]:
        return {name: name for name in self.parts}

    def cell(self, run: Run, variant: str, seed: int) -> Cell:
        data = run.data.holdout(self.held_out, seed)
        network = self._network(variant, run, seed, first(data.train, self.learned_from))
        train, task = first(data.train, self.images), f"seed {seed}: {PARTS[variant].words}"
        features, tested = features_of(network, run, train, data.test, label=f"{task}: features")
        fitted = self.ridge.fit(features, train.labels, len(data.classes), seed=seed, task=task, progress=run.progress)
        return {"held_out_accuracy": readout_accuracy(fitted.readout, tested, data.test.labels)}

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        yield from self.measures(run, cells)
        yield Note("parts", {name: PARTS[name].words for name in self.parts})
        bars = {PARTS[name].words: values(of_seeds, "held_out_accuracy") for name, of_seeds in cells.items()}
        caption = (
            f"Held-out accuracy with {self.neurons} neurons per block, {self.images} labels; test images are not used."
        )
        yield Figure("parts", caption, draw_bars(bars, self.quantities["held_out_accuracy"].label))

    def _network(self, name: str, run: Run, seed: int, images: Images) -> Network:
        part, plan = PARTS[name], run.recipe.learning
        narrowed = run.recipe.architecture.with_blocks(lambda block: block.narrowed(self.neurons))
        network = built(run, seed, part.change(narrowed))
        if not part.learned:
            return calibrate(network, images, seed=seed, samples=plan.samples)
        task = f"seed {seed}: {part.words}"
        plan = replace(plan, fraction=1.0)  # of the images that are given
        return learn_images(network, images, plan, seed=seed, precision=run.precision, task=task, progress=run.progress)


def first(images: Images, count: int) -> Images:
    """The first images; training sets are shuffled."""
    return images.select(torch.arange(min(count, len(images))))
