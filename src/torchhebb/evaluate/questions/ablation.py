"""What do local losses need? The recipe of a run learned again, one thing changed at a time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from torchhebb.config import to_json
from torchhebb.errors import UserError, unknown_name
from torchhebb.evaluate.ablation_variants import (
    Variant,
    changed,
    deepened,
    local_blocks,
    start_from_softhebb,
    until,
    widened,
)
from torchhebb.evaluate.evaluator import Evaluator, Figure, Finding, Note
from torchhebb.evaluate.methods.subsample import subsample
from torchhebb.evaluate.statistics import mean_curve, mean_interval, wilson
from torchhebb.nn import Network
from torchhebb.readouts import Ridge
from torchhebb.readouts.adam import fit_linear, predict_logits
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Measure
from torchhebb.train.calibrate import calibrate
from torchhebb.train.device import autocast
from torchhebb.train.features import extract_features
from torchhebb.train.learn import learn_images

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

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


@dataclass(frozen=True)
class Ablation(Evaluator):
    """Test accuracy of variants of the run's recipe, each learned by its plan and read out alike.

        structure, orthogonality   one term of the loss alone
        projection_<d>             p of d dimensions
        channels_x<f>              f times as many channels
        slope_<s>                  the leaky relu's negative slope: 0 is the relu, 1 no activation at all
        softhebb_blocks            the same channels and loss in SoftHebb-2023's blocks, without a residual
        softhebb_start             the convolutions start from what SoftHebb learned in one pass
        random                     nothing learned, batch norm calibrated
        depth_<n>                  n blocks: the run's first n; above as many as it has, its last one is repeated with
                                   the same channels and residual and without pooling, so that maps keep their size
        random_depth_<n>           the same blocks with nothing learned

    All depths are read off one network: no gradient comes down, so its first n blocks are the network of depth n.
    What equals the recipe is left out.  Measures, a value a seed:

        <variant>_test_accuracy    in %, with the 95 % Wilson interval over test images; `unchanged` is the recipe
        <variant>_difference       from the recipe in points, with the 95 % interval over test images, paired
        depth_<n>_gain             from the next smaller depth in points, with the same interval

    and the curves `depth` and `random_depth`.  `depth_pays_until` notes the depth from which on a further block's gain
    is not above 0 by its interval.  All numbers are reports on the test images; nothing is chosen by them.
    Raises UserError for settings out of range, a run that does not learn by local losses, or a variant that cannot be
    built.
    Source: SPHeRe-2025, its ablations and depth.
    """

    question: ClassVar[str] = "ablation"

    variants: tuple[Change, ...] = get_args(Change)
    """What to change."""
    projections: tuple[int, ...] = (32, 64, 128, 512)
    """Dimensions of the projection."""
    channel_factors: tuple[float, ...] = (0.5, 2.0)
    """By what to multiply the channels of all blocks."""
    slopes: tuple[float, ...] = (0.0, 0.5, 1.0)
    """Negative slopes of the activation."""
    depths: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    """Numbers of blocks."""
    epochs: int | None = None
    """Passes over the learning images, also of the unchanged network; None is the recipe's."""
    learning_images: int | None = None
    """How many training images the blocks learn from, drawn once; None is all of them."""
    readout_images: int | None = None
    """How many training images the readout is fitted to, drawn once; None is all of them."""
    readout: Literal["ridge", "trained"] = "ridge"
    """Ridge regression, cheap, or the readout of the run's recipe."""
    ridge: Ridge = field(default_factory=lambda: Ridge(project=1024))
    """Features that are not wider than `project` are not projected."""

    def run(self, run: Run) -> Iterator[Finding]:
        self._check()
        variants = self._variants(run)
        right: dict[str, Tensor] = {}
        for name, variant in variants.items():
            answers = [self._piece(run, seed, name, variant) for seed in run.seeds]
            for number, depth in enumerate(variant.depths or [0]):
                of_seeds = [[letter == "1" for letter in answer[number]] for answer in answers]
                right[f"{name}_{depth}" if depth else name] = torch.tensor(of_seeds)
        for name, found in right.items():
            yield accuracy_measure(name, found)
            if name != UNCHANGED:
                yield difference(f"{name}_difference", found, right[UNCHANGED])
        curves = [_curve(name, variant, right) for name, variant in variants.items() if variant.depths]
        yield from curves
        if "depth" in variants:
            yield from _gains(variants["depth"].depths, right)
        yield Note("test_images", len(run.data.test))
        labels = {name: variant.label for name, variant in variants.items()}
        depth = len(run.recipe.architecture.blocks)
        caption = (
            "Test accuracy with one thing changed at a time: a dot a seed, bars are 95 % intervals over test images; "
            "against depth, bars are the spread over seeds.  Dotted: the unchanged network."
        )
        yield Figure("variants", caption, _figure(right, labels, curves, depth))

    def _check(self) -> None:
        for name in self.variants:
            if name not in get_args(Change):
                raise unknown_name("variant", name, get_args(Change))
        for setting in ("projections", "depths"):
            if any(value < 1 for value in getattr(self, setting)):
                raise UserError(f"{setting} must be at least 1 each, got {getattr(self, setting)}")
        if any(factor <= 0 for factor in self.channel_factors):
            raise UserError(f"channel_factors must be positive, got {self.channel_factors}")
        for setting in ("epochs", "learning_images", "readout_images"):
            value = getattr(self, setting)
            if value is not None and value < 1:
                raise UserError(f"{setting} must be at least 1, got {value}")

    def _variants(self, run: Run) -> dict[str, Variant]:
        """All variants by name, the unchanged one first."""
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
        unchanged = Variant("unchanged", base)
        asked = {name: variant for change in self.variants for name, variant in found[change].items()}
        asked = {name: v for name, v in asked.items() if replace(v, label=unchanged.label) != unchanged}
        for name, variant in asked.items():
            try:
                variant.build(0)
            except (ValueError, RuntimeError) as error:
                raise UserError(f"the variant {name} cannot be built: {str(error).splitlines()[0]}") from error
        return {UNCHANGED: unchanged, **asked}

    def _piece(self, run: Run, seed: int, name: str, variant: Variant) -> list[str]:
        """Right (1) or wrong (0) on every test image, a letter each, for every depth that is read out."""
        plan = self.ridge if self.readout == "ridge" else run.recipe.readout
        return run.once(
            partial(self._answers, run, seed, f"seed {seed}: {name}", variant),
            question=self.question,
            seed=seed,
            architecture=to_json(variant.architecture),
            variant=[variant.kind, variant.depths],
            images=[self.epochs, self.learning_images, self.readout_images],
            readout=to_json(plan),
            precision=run.precision,
        )

    def _answers(self, run: Run, seed: int, task: str, variant: Variant) -> list[str]:
        network = self._learned(run, seed, task, variant)
        train, found = subsample(run.data.train, self.readout_images), []
        for depth in variant.depths or [len(variant.architecture.blocks)]:
            part, label = until(network, depth), f"{task}: readout"
            with autocast(run.precision, run.device):
                seen, unseen = (
                    extract_features(part, images, device=run.device, label=f"{task}: features", progress=run.progress)
                    for images in (train, run.data.test)
                )
            logits = predict_logits(self._fit(run, seed, label, seen, train.labels), unseen).cpu()
            found.append("".join("01"[hit] for hit in (logits.argmax(1) == run.data.test.labels).tolist()))
        return found

    def _learned(self, run: Run, seed: int, task: str, variant: Variant) -> Network:
        images, plan = subsample(run.data.train, self.learning_images), run.recipe.learning
        if self.epochs is not None:
            plan = replace(plan, epochs=self.epochs)
        as_run = plan == run.recipe.learning and len(images) == len(run.data.train)
        if as_run and variant.kind == "sphere" and variant.architecture == run.recipe.architecture:
            return run.network(seed)
        network = variant.build(seed).to(run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if variant.kind == "random":
            return calibrate(network, images, seed=seed)
        learning: dict[str, Any] = {"seed": seed, "precision": run.precision, "progress": run.progress}
        if variant.kind == "softhebb_start":
            start_from_softhebb(network, images, task=f"{task}: SoftHebb", **learning)
        return learn_images(network, images, plan, task=f"{task}: learning", **learning)

    def _fit(self, run: Run, seed: int, task: str, features: Tensor, labels: Tensor) -> nn.Module:
        classes = len(run.data.classes)
        if self.readout == "trained":
            plan = run.recipe.readout
            return fit_linear(features, labels, classes, plan, seed=seed, task=task, progress=run.progress)
        project = self.ridge.project
        fits = project is None or project < features.shape[1]
        ridge = self.ridge if fits else replace(self.ridge, project=None)
        return ridge.fit(features, labels, classes, seed=seed).readout


def accuracy_measure(name: str, right: Tensor) -> Measure:
    """From right or wrong (seeds, images)."""
    values = tuple((100 * right.double().mean(1)).tolist())
    return Measure(f"{name}_test_accuracy", "%", values, None, wilson(values, right.shape[1]))


def difference(name: str, right: Tensor, other: Tensor) -> Measure:
    """Points of accuracy above another, both right or wrong (seeds, images), image by image.

    >>> difference("more", torch.tensor([[True, True]]), torch.tensor([[False, True]])).values
    (50.0,)
    """
    points = 100 * (right.double() - other.double())
    return Measure(name, "points", tuple(points.mean(1).tolist()), None, mean_interval(points.mean(0)))


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
    return mean_curve(name, "blocks", "test accuracy, %", variant.depths, torch.stack(accuracies, 1).tolist())


def _figure(right: Mapping[str, Tensor], labels: Mapping[str, str], curves: list[Curve], own_depth: int) -> "Canvas":
    """A dot a seed and a bar a variant; beside them accuracy against depth."""
    from matplotlib.figure import Figure as Canvas

    dots = {name: accuracy_measure(name, found) for name, found in right.items() if name in labels}
    canvas = Canvas(figsize=(9.6 if curves else 5.6, 1.0 + 0.26 * max(len(dots), 9)), layout="constrained")
    axes = canvas.subplots(1, 2 if curves else 1, squeeze=False, width_ratios=(1.2, 1) if curves else None)[0]
    for row, measure in enumerate(dots.values()):
        axes[0].plot(measure.interval, (row, row), color="C0", linewidth=2, alpha=0.4)
        axes[0].plot(measure.values, [row] * len(measure.values), "o", color="C0", markersize=4)
    axes[0].axvline(dots[UNCHANGED].mean, color="grey", linestyle=":", linewidth=1)
    axes[0].set_yticks(range(len(dots)), [labels[name] for name in dots])
    axes[0].invert_yaxis()
    axes[0].set_xlabel("test accuracy, %")
    for number, curve in enumerate(curves):
        axes[1].errorbar(
            curve.x,
            curve.y,
            curve.std,
            color=f"C{number}",
            marker="o",
            markersize=4,
            capsize=2,
            label=labels[curve.name],
        )
    if curves:
        axes[1].axvline(own_depth, color="grey", linestyle=":", linewidth=1)
        axes[1].set(xlabel="blocks", ylabel="test accuracy, %", xticks=curves[0].x)
        axes[1].legend(frameon=False, fontsize=8)
    for part in axes:
        part.grid(alpha=0.25)
        part.tick_params(labelsize=8)
    return canvas
