"""Test accuracy of a network of local losses when one part of its recipe is changed at a time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from torchhebb.bounds import at_least, distinct, each_at_least
from torchhebb.config import to_json
from torchhebb.errors import UserError
from torchhebb.evaluate.answers import accuracy, from_letters, points, to_letters
from torchhebb.evaluate.evaluator import Figure, Finding, Note
from torchhebb.evaluate.figures.intervals import draw_intervals
from torchhebb.evaluate.figures.panels import Panel
from torchhebb.evaluate.methods.ablation_variants import (
    Variant,
    changed,
    deepened,
    local_blocks,
    start_from_softhebb,
    until,
    widened,
)
from torchhebb.evaluate.methods.subsample import subsample
from torchhebb.evaluate.probe import ReadoutChoice, chosen_plan, features_of
from torchhebb.evaluate.statistics import mean_curve
from torchhebb.evaluate.study import NOT_IN_CELLS, Cell, Quantity, Study, count_test_images, values
from torchhebb.nn import Network
from torchhebb.readouts import Ridge
from torchhebb.readouts.base import predict_logits
from torchhebb.runs.networks import learn_run, placed
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Measure
from torchhebb.train.calibrate import calibrate

Change = Literal[
    "structure",
    "orthogonality",
    "projection",
    "channels",
    "slope",
    "softhebb_blocks",
    "softhebb_start",
    "random",
    "depth",
    "random_depth",
]
UNCHANGED = "unchanged"
ACCURACY = "test accuracy, %"


@dataclass(frozen=True)
class Ablation(Study[Variant]):
    """Test accuracy of a network of local losses with one part of its recipe changed at a time.

    Every variant is trained by the recipe's plan and has the same readout:

        structure, orthogonality   one term of the loss alone
        projection_<d>             p of d dimensions
        channels_x<f>              f times as many channels
        slope_<s>                  the negative slope of the leaky ReLU: 0 is the ReLU, 1 is no activation
        softhebb_blocks            the same channels and loss in SoftHebb-2023's blocks, without a residual
        softhebb_start             the convolutions start from weights that SoftHebb learned in one pass
        random                     weights as drawn, with calibrated batch norm
        depth_<n>                  n blocks: the first n of the run; beyond its depth, the last block is repeated with
                                   the same channels and residual, without pooling, so that maps keep their size
        random_depth_<n>           the same blocks with weights as drawn

    One network serves all depths: no gradient crosses a block, so its first n blocks are the network of depth n.
    A variant that equals the recipe is left out.  Measures, with one value per seed:

        <variant>_test_accuracy    in %, with the 95 % Wilson interval over test images; `unchanged` is the recipe
        <variant>_difference       from the recipe in points, with the 95 % interval over test images, paired
        depth_<n>_gain             from the next smaller depth in points, with the same interval

    and the curves `depth` and `random_depth`.  The note `depth_pays_until` is the largest depth up to which the
    interval of every gain lies above 0.  All numbers are measured on the test images; no setting is chosen by them.
    Raises UserError for settings out of range, a run that does not learn by local losses, or a variant that cannot be
    built.
    Source: SPHeRe-2025, its ablations and depth.

    Example:
        >>> Ablation(changes=("depth",), depths=(1, 2)).question
        'ablation'
    """

    question: ClassVar[str] = "ablation"
    keeps_cells: ClassVar[bool] = False  # their answers are kept, under a key without the words for figures
    quantities: ClassVar[dict[str, Quantity]] = {"test_accuracy": Quantity(ACCURACY, "%", count_test_images)}

    changes: tuple[Change, ...] = field(default=get_args(Change), metadata=NOT_IN_CELLS)
    """Parts of the recipe to change, one at a time."""
    projections: tuple[int, ...] = field(
        default=(32, 64, 128, 512), metadata=each_at_least(1, empty=True) | NOT_IN_CELLS
    )
    """Numbers of dimensions of the projection to compare."""
    channel_factors: tuple[float, ...] = field(
        default=(0.5, 2.0), metadata=distinct(above=0, empty=True) | NOT_IN_CELLS
    )
    """Factors by which to multiply the channels of all blocks."""
    slopes: tuple[float, ...] = field(default=(0.0, 0.5, 1.0), metadata=each_at_least(0, empty=True) | NOT_IN_CELLS)
    """Negative slopes of the leaky ReLU to compare."""
    depths: tuple[int, ...] = field(default=(1, 2, 3, 4, 5, 6), metadata=each_at_least(1, empty=True) | NOT_IN_CELLS)
    """Numbers of blocks to compare."""
    epochs: int | None = field(default=None, metadata=at_least(1))
    """Passes over the images, for the unchanged network too; None takes the recipe's."""
    learning_images: int | None = field(default=None, metadata=at_least(1))
    """Number of training images that the blocks learn from, drawn once; None takes all."""
    readout_images: int | None = field(default=None, metadata=at_least(1))
    """Number of training images that the readout is fitted to, drawn once; None takes all."""
    readout: ReadoutChoice = "ridge"
    """Ridge regression, which is fast, or the readout of the run's recipe."""
    ridge: Ridge = field(default_factory=lambda: Ridge(project=1024))
    """Settings of the ridge; `project` applies only to features that are wider."""

    def check(self, run: Run) -> None:
        plan = run.recipe.readout if self.readout == "trained" else self.ridge
        plan.check_samples(subsample(run.data.train, self.readout_images).labels, (1,))
        for name, variant in self.variants(run).items():
            try:
                variant.build(0)
            except (ValueError, RuntimeError) as error:
                raise UserError(f"the variant {name} cannot be built: {str(error).splitlines()[0]}") from error

    def variants(self, run: Run) -> dict[str, Variant]:
        """All variants by name, the unchanged network first; variants that equal it are left out."""
        base = run.recipe.architecture
        local_blocks(base)
        depths = tuple(sorted({*self.depths}))
        deep = deepened(base, depths[-1]) if depths else base
        found: dict[Change, dict[str, Variant]] = {
            "structure": {"structure": Variant("structure alone", changed(base, structure=1.0, orthogonality=0.0))},
            "orthogonality": {
                "orthogonality": Variant("orthogonality alone", changed(base, structure=0.0, orthogonality=1.0))
            },
            "projection": {
                f"projection_{width}": Variant(f"projection to {width}", changed(base, projection=width))
                for width in self.projections
            },
            "channels": {
                f"channels_x{factor:g}": Variant(f"channels x {factor:g}", widened(base, factor))
                for factor in self.channel_factors
            },
            "slope": {
                f"slope_{slope:g}": Variant(_slope_words(slope), changed(base, negative_slope=slope))
                for slope in self.slopes
            },
            "softhebb_blocks": {"softhebb_blocks": Variant("in SoftHebb's blocks", base, "softhebb_blocks")},
            "softhebb_start": {"softhebb_start": Variant("from SoftHebb's weights", base, "softhebb_start")},
            "random": {"random": Variant("random weights", base, "random")},
            "depth": {"depth": Variant("local losses", deep, depths=depths)} if depths else {},
            "random_depth": {"random_depth": Variant("random weights", deep, "random", depths)} if depths else {},
        }
        unchanged = Variant(UNCHANGED, base)
        asked = {name: variant for change in self.changes for name, variant in found[change].items()}
        different = {name: v for name, v in asked.items() if replace(v, label=UNCHANGED) != unchanged}
        return {UNCHANGED: unchanged, **different}

    def cell(self, run: Run, variant: Variant, seed: int) -> Cell:
        """`answers`: right (1) or wrong (0) on every test image, a letter each, for every depth."""
        work = partial(self._read_out, run, seed, f"seed {seed}: {variant.label}", variant)
        plan = None if self.readout == "ridge" else to_json(run.recipe.readout)
        return {"answers": self.keep(run, work, seed=seed, variant=to_json(replace(variant, label="")), plan=plan)}

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        variants, right = self.variants(run), dict[str, Tensor]()
        for name, of_seeds in cells.items():
            for number, depth in enumerate(variants[name].depths or [0]):
                of_depth = [answers[number] for answers in values(of_seeds, "answers")]
                right[f"{name}_{depth}" if depth else name] = from_letters(of_depth)
        dots: dict[str, Measure] = {}
        for name, found in right.items():
            measure = accuracy(f"{name}_test_accuracy", found)
            yield measure
            if name in variants:
                dots[variants[name].label] = measure
            if name != UNCHANGED:
                yield difference(f"{name}_difference", found, right[UNCHANGED])
        curves = {variant.label: _curve(name, variant, right) for name, variant in variants.items() if variant.depths}
        yield from curves.values()
        if "depth" in variants:
            yield from _gains(variants["depth"].depths, right)
        yield Note("test_images", count_test_images(run))
        caption = (
            "Test accuracy with one thing changed at a time: a dot for each seed, bars are 95 % intervals over test "
            "images. Against depth, bars are the standard deviation over seeds. Dotted and dashed: the unchanged "
            "network."
        )
        levels = {UNCHANGED: dots[UNCHANGED].mean}
        ticks = {depth: f"{depth:g}" for curve in curves.values() for depth in curve.x}
        panel = Panel(ACCURACY, curves, levels, ticks=ticks) if curves else None
        yield Figure("variants", caption, draw_intervals(dots, ACCURACY, panel, reference=UNCHANGED))

    def _read_out(self, run: Run, seed: int, task: str, variant: Variant) -> list[str]:
        network, test = self._learned(run, seed, task, variant), run.data.test
        train, classes, found = subsample(run.data.train, self.readout_images), len(run.data.classes), []
        for depth in variant.depths or [len(variant.architecture.blocks)]:
            features, tested = features_of(until(network, depth), run, train, test, label=f"{task}: features")
            plan, label = chosen_plan(self.readout, self.ridge, run, features.shape[1]), f"{task}: readout"
            fitted = plan.fit(features, train.labels, classes, seed=seed, task=label, progress=run.progress)
            found.append(to_letters(predict_logits(fitted.readout, tested).cpu().argmax(1) == test.labels))
        return found

    def _learned(self, run: Run, seed: int, task: str, variant: Variant) -> Network:
        images, plan = subsample(run.data.train, self.learning_images), run.recipe.learning
        if self.epochs is not None:
            plan = replace(plan, epochs=self.epochs)
        as_run = plan == run.recipe.learning and len(images) == len(run.data.train)
        if as_run and variant.kind == "sphere" and variant.architecture == run.recipe.architecture:
            return run.network(seed)
        network = placed(variant.build(seed), run.device)
        if variant.kind == "random":
            return calibrate(network, images, seed=seed)
        if variant.kind == "softhebb_start":
            how: dict[str, Any] = {"precision": run.precision, "progress": run.progress}
            start_from_softhebb(network, images, seed=seed, task=f"{task}: SoftHebb", **how)
        return learn_run(network, run, seed, images=images, plan=plan, task=f"{task}: learning")


def difference(name: str, right: Tensor, other: Tensor) -> Measure:
    """The difference of two accuracies in points, paired by image; both are right or wrong answers (seeds, images).

    >>> difference("more", torch.tensor([[True, True]]), torch.tensor([[False, True]])).values
    (50.0,)
    """
    return points(name, 100 * (right.double() - other.double()))


def _gains(depths: tuple[int, ...], right: Mapping[str, Tensor]) -> Iterator[Finding]:
    pays, still = depths[0], True
    for less, more in zip(depths, depths[1:], strict=False):
        gain = difference(f"depth_{more}_gain", right[f"depth_{more}"], right[f"depth_{less}"])
        assert gain.interval is not None
        still = still and gain.interval[0] > 0
        pays = more if still else pays
        yield gain
    yield Note("depth_pays_until", pays)


def _slope_words(slope: float) -> str:
    return {0.0: "relu", 1.0: "no activation"}.get(slope, f"negative slope {slope:g}")


def _curve(name: str, variant: Variant, right: Mapping[str, Tensor]) -> Curve:
    accuracies = [100 * right[f"{name}_{depth}"].double().mean(1) for depth in variant.depths]
    return mean_curve(name, "blocks", ACCURACY, variant.depths, torch.stack(accuracies, 1).tolist())
