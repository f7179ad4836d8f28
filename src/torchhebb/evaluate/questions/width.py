"""Accuracy against the number of neurons, up to widths whose features no memory holds."""

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from torchhebb.bounds import SIZE, above, at_least, distinct, each, rising
from torchhebb.config import to_json, to_key
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Figure, Finding, Note
from torchhebb.evaluate.figures.bars import draw_bars
from torchhebb.evaluate.figures.panels import Panel, draw_panels
from torchhebb.evaluate.statistics import mean_curve
from torchhebb.evaluate.study import NOT_IN_CELLS, Cell, Quantity, Study, count_test_images, values
from torchhebb.memory import free_bytes
from torchhebb.nn import Network
from torchhebb.readouts.base import percent_correct
from torchhebb.readouts.iterative import LANDMARKS, iterative_ridges
from torchhebb.readouts.products import TILE, Centred, Exponential, SampleProducts, Scaled, Tiled
from torchhebb.recipes.patches import CHANGES, LEARNERS, PLAN
from torchhebb.runs.networks import built, learn_run
from torchhebb.runs.run import Run
from torchhebb.train.calibrate import calibrate
from torchhebb.train.device import product_dtype
from torchhebb.train.patch_features import PatchFeatures

_LOG = logging.getLogger(__name__)
_SAVE_SECONDS = 600.0
KERNELS = ("linear", "exponential")


@dataclass(frozen=True)
class Width(Study[tuple[str, str]]):
    """Accuracy of a ridge on more and more neurons of whitened patches, random or learned, in bounded memory.

    Groups of neurons, each a network of the run's architecture with its own draw of patches, are computed for all
    images, and forgotten once the products of the images have been summed: memory is that of the products, 4 bytes for
    a pair of images, and of one group.  At each width a ridge is solved from the products: `linear` in the features, or
    on the `exponential` of the products, which is not.  The products are kept in the run folder, so that a stopped
    question goes on.  Features are computed in bfloat16 or float32, whichever is faster here, and a question that goes
    on stays with what it began in.

    Accuracy is that on `held_out` training images, by a ridge on the others, and where `test` is set that on the test
    images, by a ridge on all training images with the strength, and scale, that did best on those held out.

    Each of the `changes`, such as another grid or size of the patches, is a network of its own beside the run's.

    Measures `<learner>_<width>_neurons_<kernel>_held_out_accuracy` in %, and `..._test_accuracy`, with a change
    `<learner>_<change>_<width>...`; curves of both.
    Raises UserError for an architecture other than one whitened block, settings out of range, or too little memory.
    Source: Coates, Ng and Lee 2011; Thiry et al. 2021, for accuracy against the number of patches.

    Example:
        >>> Width().question
        'width'
    """

    question: ClassVar[str] = "width"
    quantities: ClassVar[dict[str, Quantity]] = {
        "held_out_accuracy": Quantity("held-out accuracy, %", "%"),
        "test_accuracy": Quantity("test accuracy, %", "%", count_test_images),
    }
    keeps_cells: ClassVar[bool] = False  # each width is kept by itself

    learners: tuple[str, ...] = field(default=("random",), metadata=distinct() | NOT_IN_CELLS)
    """How the neurons come about; `random` leaves them the patches that they start from."""
    changes: tuple[str, ...] = field(default=("none",), metadata=distinct() | NOT_IN_CELLS)
    """Changes to the block or to how it is read, each by itself; `none` is the run's own."""
    neurons: tuple[int, ...] = field(default=(512, 1024, 2048), metadata=rising(above=0) | NOT_IN_CELLS)
    """Widths, multiples of `group`."""
    group: int = field(default=512, metadata=SIZE)
    """Neurons that are drawn, and compete, together."""
    kernel_sizes: tuple[int, ...] = field(default=(), metadata=each(SIZE, empty=True))
    """Sides of the patches, one a group, in turn; none leaves the block's own to all."""
    images: int | None = field(default=None, metadata=at_least(1))
    """Images that the ridge is fitted to, besides those held out; None is all."""
    held_out: int = field(default=5000, metadata=at_least(1))
    """Training images that choose, and that the held-out accuracy is of."""
    learned_from: int = field(default=2000, metadata=at_least(1))
    """Images of the unsupervised pass of a group that learns."""
    strengths: tuple[float, ...] = field(default=(0.03, 0.06, 0.1), metadata=each(above(0), empty=True))
    """Strengths of the linear ridge, in units of the mean squared length of a sample; none leaves it out."""
    scales: tuple[float, ...] = field(default=(0.05, 0.1, 0.2), metadata=each(above(0), empty=True))
    """Scales of the exponential, of products whose mean squared length is 1; none leaves it out."""
    exponential_strengths: tuple[float, ...] = field(default=(0.03, 0.06), metadata=each(above(0)))
    """Strengths of the ridge on it."""
    test: bool = False
    """Answer to the test images too."""
    keep_products: bool = field(default=False, metadata=NOT_IN_CELLS)
    """Keep the products in the run folder, to continue with more neurons or other strengths: 7 GB for 60,000 images."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if unknown := [name for name in self.learners if name not in LEARNERS]:
            raise UserError(f"learners must be among {', '.join(LEARNERS)}, got {', '.join(unknown)}")
        if unknown := [name for name in self.changes if name not in CHANGES]:
            raise UserError(f"changes must be among {', '.join(CHANGES)}, got {', '.join(unknown)}")
        if self.kernel_sizes and (sized := [name for name in self.changes if name.startswith("patches_")]):
            raise UserError(f"kernel_sizes must be left out with the change {sized[0]}, which sets them too")
        if not self.strengths and not self.scales:
            raise UserError("strengths and scales must not both be empty: one of them says what to solve")
        if wrong := [width for width in self.neurons if width % self.group]:
            raise UserError(f"neurons must be multiples of group, {self.group}, got {wrong[0]}")

    def check(self, run: Run) -> None:
        blocks, most = run.recipe.architecture.blocks, len(run.data.train)
        if len(blocks) != 1 or not blocks[0].has_setting("components"):
            raise UserError(
                f"{run.recipe.name} is not one block of whitened patches: evaluate a run of a recipe patches-*"
            )
        for name in self.changes:
            if name != "none" and CHANGES[name].change(run.recipe.architecture) == run.recipe.architecture:
                raise UserError(f"changes must leave out {name}: {run.recipe.name} has that already")
        if (self.images or 1) + self.held_out > most:
            raise UserError(f"{run.data.name} has {most} training images: lower images or held_out")
        if all(
            self.has_kept(run, **self._key(*variant, seed, width))
            for variant in self.variants(run).values()
            for seed in run.seeds
            for width in self.neurons
        ):
            return
        fitted = self.held_out + (self.images or most - self.held_out)
        others = len(run.data.test) if self.test else 0
        cells = max(
            architecture.output_shape().numel() // architecture.blocks[0].width
            for architecture in (CHANGES[name].change(run.recipe.architecture) for name in self.changes)
        )
        features = 2 * (fitted + others) * cells * self.group
        solved = 2 * fitted**2 + 4 * TILE * LANDMARKS * fitted
        needed = 2 * fitted**2 + 4 * others * fitted + max(solved, features)
        if needed > (free := free_bytes(torch.device("cpu"))):
            raise UserError(
                f"products of {fitted:,} images need {needed / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free: "
                "lower images or group"
            )

    def variants(self, run: Run) -> dict[str, tuple[str, str]]:
        return {
            learner if change == "none" else f"{learner}_{change}": (learner, change)
            for learner in self.learners
            for change in self.changes
        }

    def cell(self, run: Run, variant: tuple[str, str], seed: int) -> Cell:
        learner, change = variant
        products = _Products(self, run, learner, seed, change)
        found: Cell = {}
        for width in self.neurons:
            found |= self.keep(run, partial(self._solved, products, width), **self._key(learner, change, seed, width))
        if not self.keep_products:
            products.path.unlink(missing_ok=True)
        return found

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        yield from self.measures(run, cells)
        panels = []
        for quantity, described in self.quantities.items():
            curves = {}
            for name, of_seeds in cells.items():
                for kernel in KERNELS:
                    names = [f"{width}_neurons_{kernel}_{quantity}" for width in self.neurons]
                    if all(name in of_seeds[0] for name in names):
                        lines = [[cell[name] for name in names] for cell in of_seeds]
                        words = f"{in_words(*self.variants(run)[name])}, {kernel}"
                        curves[words] = mean_curve(
                            f"{words}, {quantity}", "neurons", described.label, self.neurons, lines
                        )
            yield from curves.values()
            if curves:
                ticks = {float(width): f"{width:,}" for width in self.neurons}
                panels.append(Panel(described.label, curves, x_scale="log", ticks=ticks))
        if len(self.neurons) > 1:
            yield Figure("curves", "Accuracy against the number of neurons.", draw_panels(panels))
        elif len(cells) > 1:
            described = self.quantities["held_out_accuracy"]
            for kernel in KERNELS:
                quantity = f"{self.neurons[0]}_neurons_{kernel}_held_out_accuracy"
                bars = {
                    in_words(*self.variants(run)[name]): values(of_seeds, quantity)
                    for name, of_seeds in cells.items()
                    if quantity in of_seeds[0]
                }
                if bars:
                    caption = f"Held-out accuracy of the {kernel} ridge on {self.neurons[0]:,} neurons."
                    yield Figure(kernel, caption, draw_bars(bars, described.label))
        for name, of_seeds in cells.items():
            scores = [{name: value for name, value in cell.items() if name.endswith("_scores")} for cell in of_seeds]
            yield Note(f"{name}_held_out_scores", scores)

    def _key(self, learner: str, change: str, seed: int, width: int) -> dict[str, Any]:
        changed = {} if change == "none" else {"change": change}
        return {"learner": learner, "seed": seed, "width": width, **changed}

    def _solved(self, products: "_Products", width: int) -> Cell:
        """The accuracies at a width, and what was chosen for them."""
        summed = products.at(width)
        centred = Centred(summed)
        linear = Scaled(centred, 1 / centred.mean_diagonal())
        found: Cell = {}
        if self.strengths:
            found |= self._chosen(f"{width}_neurons_linear", products, [("strength", linear, self.strengths)])
        if self.scales:
            curved = [
                (f"scale {scale}, strength", _exponential(linear, scale), self.exponential_strengths)
                for scale in self.scales
            ]
            found |= self._chosen(f"{width}_neurons_exponential", products, curved)
        return found

    def _chosen(self, name: str, products: "_Products", kernels: Sequence[tuple[str, Tiled, Sequence[float]]]) -> Cell:
        """The ridge that did best on the held-out images, and what it answers to the test images."""
        best, chosen, scores = None, None, {}
        label, progress = f"{products.title}, {name.replace('_', ' ')}", products.run.progress
        progress.start(label, sum(len(strengths) for *_, strengths in kernels), "ridges")
        for words, kernel, strengths in kernels:
            ridges = iterative_ridges(kernel, products.targets, products.kept, strengths)
            for strength, ridge in zip(strengths, ridges, strict=True):
                score = percent_correct(ridge.held_logits, products.labels[products.kept :])
                scores[f"{words} {strength}"] = score
                if best is None or score > best:
                    best, chosen = score, (ridge, kernel)
                progress.advance(1)
        progress.finish()
        assert chosen is not None
        found = {f"{name}_held_out_accuracy": best, f"{name}_scores": scores}
        if self.test:
            ridge, kernel = chosen
            found[f"{name}_test_accuracy"] = percent_correct(ridge.logits(kernel), products.test_labels)
        return found


class _Products:
    """The products of the images over the groups of neurons of one learner and seed; kept in the run folder."""

    def __init__(self, question: Width, run: Run, learner: str, seed: int, change: str = "none") -> None:
        self.question, self.run, self.learner, self.seed, self.change = question, run, learner, seed, change
        self.title = f"seed {seed}: {in_words(learner, change)}"
        self.architecture = CHANGES[change].change(run.recipe.architecture)
        held_out = run.data.holdout(question.held_out, seed)
        kept = held_out.train
        if question.images is not None:
            kept = kept.select(torch.arange(question.images))
        self.parts = [kept, held_out.test, *([run.data.test] if question.test else [])]
        self.kept, self.labels = len(kept), torch.cat([kept.labels, held_out.test.labels])
        self.targets = one_hot(self.labels, len(run.data.classes)).float()
        self.test_labels = run.data.test.labels
        names = ("group", "images", "held_out", "learned_from", "test")
        self.key = {
            **{name: to_json(getattr(question, name)) for name in names},
            "kernel_sizes": list(question.kernel_sizes) or [to_json(self.architecture.blocks[0])["kernel_size"]],
            "architecture": to_key(self.architecture),
            "learner": to_key(LEARNERS[learner]),
            "seed": seed,
            "data": run.data.fingerprint,
        }
        digest = blake2b(json.dumps(self.key, sort_keys=True).encode(), digest_size=8).hexdigest()
        folder = run.folder / "products"
        paths = {torch.bfloat16: folder / f"{digest}.bin", torch.float32: folder / f"{digest}-float32.bin"}
        begun = [dtype for dtype, path in paths.items() if path.exists()]
        self.dtype = begun[0] if begun else product_dtype()  # what was begun goes on in the same rounding
        self.path = paths[self.dtype]
        _LOG.info("features are computed in %s", str(self.dtype).removeprefix("torch."))
        self.sums: SampleProducts | None = None
        self.groups = 0

    def at(self, width: int) -> SampleProducts:
        """The products over the first `width` neurons."""
        groups, saved = width // self.question.group, time.monotonic()
        if self.sums is None or self.groups > groups:
            self.sums, self.groups = self._none(), 0
            self.groups = self.sums.restore(self.path, self.key)
            if self.groups > groups:
                self.sums, self.groups = self._none(), 0
        while self.groups < groups:
            label = f"{self.title}, products with neurons from {self.groups * self.question.group}"
            self.sums.add(self._features(self.groups), label=label, progress=self.run.progress)
            self.groups += 1
            if self.groups == groups or time.monotonic() - saved > _SAVE_SECONDS:
                self._save(self.sums)
                saved = time.monotonic()
        return self.sums

    def _save(self, sums: SampleProducts) -> None:
        try:
            sums.save(self.path, self.key, self.groups)
        except UserError as error:  # the sums of an hour are kept even if the disk is full
            _LOG.warning("%s; the sums go on, and a stop would lose them", error)

    def _none(self) -> SampleProducts:
        return SampleProducts(*map(len, self.parts))

    def _features(self, group: int) -> Tensor:
        """The features of a group of neurons of all images, in the order of the parts."""
        features = PatchFeatures(self._network(group), self.dtype)
        out = torch.empty(sum(map(len, self.parts)), features.width, dtype=torch.float16)
        label = f"{self.title}, neurons from {group * self.question.group}"
        for rows, images in zip(out.split([len(part) for part in self.parts]), self.parts, strict=True):
            features.fill(rows, images, label=label, progress=self.run.progress)
        return out

    def _network(self, group: int) -> Network:
        question, rule = self.question, LEARNERS[self.learner].rule
        block, sizes = self.architecture.blocks[0].with_settings(channels=question.group), question.kernel_sizes
        if sizes:
            block = block.with_settings(kernel_size=sizes[group % len(sizes)])
        architecture = replace(self.architecture, blocks=(block if rule is None else block.with_rule(rule),))
        seed = 1000 * self.seed + group
        network, images = built(self.run, seed, architecture), self.parts[0]
        if rule is None:
            return calibrate(network, images, seed=seed, samples=self.run.recipe.learning.samples)
        learned_from = images.select(torch.arange(min(question.learned_from, len(images))))
        return learn_run(network, self.run, seed, images=learned_from, plan=PLAN, task=f"group {group}: learning")


def in_words(learner: str, change: str) -> str:
    """How the neurons of a variant come about, and what is changed."""
    return LEARNERS[learner].words + ("" if change == "none" else f", {CHANGES[change].words}")


def _exponential(linear: Tiled, scale: float) -> Tiled:
    """Centred, and in units of its mean diagonal."""
    centred = Centred(Exponential(linear, scale))
    return Scaled(centred, 1 / centred.mean_diagonal())
