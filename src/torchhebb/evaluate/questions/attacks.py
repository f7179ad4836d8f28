"""Accuracy under adversarial attacks, and how an independent network classifies the attacked images."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from torchhebb.bounds import at_least, distinct, each_between
from torchhebb.data import Images
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Figure, Finding, Note
from torchhebb.evaluate.figures.gallery import NORMS, gallery
from torchhebb.evaluate.figures.panels import Panel, draw_panels
from torchhebb.evaluate.methods.attack_suite import ATTACKS, AttackName, Suite, answers_of, per_image
from torchhebb.evaluate.methods.square import check_square
from torchhebb.evaluate.statistics import mean_curve, percent
from torchhebb.evaluate.study import NOT_IN_CELLS, Cell, Quantity, Study
from torchhebb.nn import Triangle
from torchhebb.runs.baselines import BaselineName, baseline, baseline_label
from torchhebb.runs.reference_classifier import judge
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Measure
from torchhebb.train.features import batch_size_for
from torchhebb.train.perturb import Norm
from torchhebb.train.wilson import wilson

LEFT = Quantity("accuracy left of all attacks, %", "%")
JUDGED = 500  # images that the judge classifies at a time


@dataclass(frozen=True)
class Attacks(Study[BaselineName]):
    """Accuracy of whole networks, from pixels to logits, under gradient attacks and one that needs no gradient.

        fgsm      one step along the gradient of the cross-entropy
        pgd       projected gradient ascent on the cross-entropy, every restart from a random point
        margin    the same on the margin of the logits, whose gradient does not vanish where the softmax saturates
        softened  pgd on a copy of the network whose soft WTA output has a lower inverse temperature, since a sharp
                  competition masks gradients; success is tested on the network itself.  Networks without a soft WTA
                  output are not attacked so
        square    random search, without gradients

    Measures `<baseline>_<linf|l2>_<eps>_<attack>_accuracy` in % over all images; an image that is misclassified without
    an attack counts as wrong.  `worst` counts images that no attack changes at this eps or a smaller one.
    `..._<pgd|worst>_judge_agrees` and `..._judge_true` are shares in % of the successful attacks: those whose image an
    independent network (the judge) assigns to the class that the attacked network answered, and those that it still
    assigns to the true class.  They are absent where a seed has no successful attack.
    All networks compute in float32.

    Example:
        >>> Attacks(images=100, linf=(0.1,), l2=(1.0,)).question
        'attacks'
    """

    question: ClassVar[str] = "attacks"
    quantities: ClassVar[dict[str, Quantity]] = {"worst_accuracy": LEFT}

    images: int = field(default=500, metadata=at_least(1))
    """Number of test images to attack, the first ones."""
    baselines: tuple[BaselineName, ...] = field(
        default=("own", "hard", "backpropagation", "adversarial"), metadata=distinct() | NOT_IN_CELLS
    )
    """Networks to attack."""
    linf: tuple[float, ...] = field(default=(0.1, 0.2, 0.3), metadata=distinct(above=0, empty=True))
    """Radii of the L-inf ball: the largest change of a pixel."""
    l2: tuple[float, ...] = field(default=(1.0, 2.0, 3.0), metadata=distinct(above=0, empty=True))
    """Radii of the L2 ball: the Euclidean norm of the change of an image."""
    attacks: tuple[AttackName, ...] = field(default=ATTACKS, metadata=distinct())
    """Attacks to run."""
    steps: int = field(default=40, metadata=at_least(1))
    """Number of steps of the gradient attacks."""
    restarts: int = field(default=3, metadata=at_least(1))
    """Number of random restarts of the gradient attacks."""
    queries: int = field(default=1000, metadata=at_least(1))
    """Number of changes that the square attack tries on every image."""
    softness: tuple[float, ...] = field(default=(0.3, 0.6), metadata=each_between(0, 1))
    """Factors of the inverse temperature at which the softened attack computes its gradients."""
    detach_mean: bool = False
    """Let no gradient through the mean of triangles, as in the released code of SoftHebb-2023."""
    examples: int = field(default=3, metadata=at_least(0) | NOT_IN_CELLS)
    """Number of images in the galleries, for the first seed; 0 draws no gallery."""

    def check(self, run: Run) -> None:
        if not self.radii:
            raise UserError("linf and l2 must hold one radius at least, got none")
        if len(run.data.classes) < 2:
            raise UserError(f"attacks need two classes at least, {run.data.name} has {len(run.data.classes)}")
        if "square" in self.attacks:
            check_square(*run.data.image_size)

    @property
    def radii(self) -> dict[Norm, list[float]]:
        """The radii of every norm in increasing order."""
        norms: dict[Norm, list[float]] = {"inf": sorted(self.linf), "2": sorted(self.l2)}
        return {norm: radii for norm, radii in norms.items() if radii}

    @property
    def suite(self) -> Suite:
        """The attacks with their settings."""
        return Suite(self.attacks, self.steps, self.restarts, self.queries, self.softness)

    def variants(self, run: Run) -> dict[str, BaselineName]:
        return {name: name for name in self.baselines}

    def cell(self, run: Run, variant: BaselineName, seed: int) -> Cell:
        """The `Tally` of a network over all attacks and radii.  Only images that it classifies rightly are attacked."""
        images, suite, reference = self._images(run), self.suite, judge(run)
        model: nn.Module = baseline(run, seed, variant).classifier
        model = with_detached_means(model) if self.detach_mean else model
        chunk = batch_size_for(model, images, run.device)
        x, labels = _on_device(images, run)
        right = answers_of(model, x, chunk) == labels
        x, labels = x[right], labels[right]
        tally = Tally(len(images), {"clean_accuracy": 100 * len(x) / len(images)})
        attacks = suite.applicable(model)
        total = len(attacks) * sum(map(len, self.radii.values()))
        run.progress.start(f"seed {seed}: attacks on {baseline_label(run, variant)}", total, "attacks")
        for norm, radii in self.radii.items():
            worst, broken = x, torch.zeros_like(labels, dtype=torch.bool)
            by_gradient = broken
            for eps in radii:
                point = f"{NORMS[norm][0]}_{eps:g}"
                fresh = torch.zeros_like(broken)
                for attack in attacks:
                    moved = suite.move(attack, model, x, labels, norm=norm, eps=eps, seed=seed, chunk=chunk)
                    answers = answers_of(model, moved, chunk)
                    fools = answers != labels
                    worst = torch.where(per_image(fools & ~fresh), moved, worst)
                    fresh = fresh | fools
                    if attack != "square":
                        by_gradient = by_gradient | fools
                    tally.add(f"{point}_{attack}", fools)
                    if attack == "pgd":
                        tally.judge(f"{point}_pgd", answers_of(reference, moved, chunk), answers, labels)
                    run.progress.advance(1)
                broken = broken | fresh
                tally.add(f"{point}_worst", broken)
                read, answers = answers_of(reference, worst, chunk), answers_of(model, worst, chunk)
                tally.judge(f"{point}_worst", read, answers, labels)
                if "square" in attacks:
                    tally.square_alone[point] = int((broken & ~by_gradient).sum())
        run.progress.finish()
        return asdict(tally)

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        images, reference = self._images(run), judge(run)
        tallies = {name: [Tally(**cell) for cell in of_seeds] for name, of_seeds in cells.items()}
        for name, of_seeds in tallies.items():
            yield from _measures(name, of_seeds)
        panels = []
        for norm, radii in self.radii.items():
            curves = {name: _curve(name, norm, radii, of_seeds) for name, of_seeds in tallies.items()}
            yield from curves.values()
            words = {baseline_label(run, name): curves[name] for name in self.baselines}
            panels.append(Panel(LEFT.label, words))
        caption = (
            "Share of images that every attack leaves rightly classified, against the radius of the attacks "
            f"(0: no attack); the first {len(images)} test images."
        )
        yield Figure("robustness", caption, draw_panels(panels, share_y=True))
        if self.examples:
            yield from self._galleries(run, images, reference)
        x, labels = _on_device(images, run)
        seen = answers_of(reference, x, JUDGED) == labels
        yield Note("test_images", len(images))
        yield Note("precision", "float32")
        yield Note("judge_accuracy_on_clean", percent(seen))
        for note, counted in (("successful_attacks", "fooled"), ("fooled_by_square_alone", "square_alone")):
            yield Note(note, {name: [cell[counted] for cell in of_seeds] for name, of_seeds in cells.items()})

    def _images(self, run: Run) -> Images:
        return run.data.test.select(torch.arange(min(self.images, len(run.data.test))))

    def _galleries(self, run: Run, images: Images, reference: nn.Module) -> Iterator[Figure | Note]:
        seed = run.seeds[0]
        networks = {baseline_label(run, name): baseline(run, seed, name) for name in self.baselines}
        x, labels = _on_device(images, run)
        judges = [*(network.classifier for network in networks.values()), reference]
        known = torch.stack([answers_of(model, x, JUDGED) for model in judges])
        rows = _one_a_class(labels.where((known == labels).all(0), -1))[: self.examples]
        for norm in self.radii:
            if not rows:
                yield Note("gallery", "no image that all networks and the judge classify rightly without an attack")
                return
            strongest = partial(self.suite.strongest, norm=norm, seed=seed)
            yield gallery(networks, reference, x[rows], labels[rows], run.data.classes, strongest, norm=norm)


def with_detached_means(model: nn.Module) -> nn.Module:
    """A copy of the model in which no gradient passes through the means of triangles; it answers as the model does."""
    model = deepcopy(model)
    for module in model.modules():
        if isinstance(module, Triangle):
            module.detach_mean = True
    return model


@dataclass
class Tally:
    """The outcome of all attacks on one network."""

    images: int
    percent: dict[str, float]
    """Shares in % by the names of their measures."""
    fooled: dict[str, int] = field(default_factory=dict)
    """How many images each attack made the network misclassify."""
    square_alone: dict[str, int] = field(default_factory=dict)
    """How many images only the square attack made it misclassify."""

    def add(self, name: str, fools: Tensor) -> None:
        self.fooled[name] = int(fools.sum())
        self.percent[f"{name}_accuracy"] = 100 * (len(fools) - self.fooled[name]) / self.images

    def judge(self, name: str, read: Tensor, answered: Tensor, labels: Tensor) -> None:
        """Count how the judge classifies the images that the network misclassifies."""
        fools = answered != labels
        if fools.any():
            self.percent[f"{name}_judge_agrees"] = percent((read == answered)[fools])
            self.percent[f"{name}_judge_true"] = percent((read == labels)[fools])


def _measures(name: str, of_seeds: Sequence[Tally]) -> Iterator[Measure]:
    """The measures that all seeds have.  An interval is for the images behind it, the fewest of any seed."""
    for quantity in of_seeds[0].percent:
        if all(quantity in tally.percent for tally in of_seeds):
            numbers = tuple(tally.percent[quantity] for tally in of_seeds)
            attack = quantity.partition("_judge_")[0]
            judged = attack != quantity
            samples = min(tally.fooled[attack] if judged else tally.images for tally in of_seeds)
            yield Measure(f"{name}_{quantity}", LEFT.unit, numbers, None, wilson(numbers, samples))


def _curve(name: str, norm: Norm, radii: Sequence[float], of_seeds: Sequence[Tally]) -> Curve:
    short, label = NORMS[norm]
    points = ["clean_accuracy", *(f"{short}_{eps:g}_worst_accuracy" for eps in radii)]
    lines = [[tally.percent[point] for point in points] for tally in of_seeds]
    return mean_curve(f"{name} {short}", f"eps, {label}", LEFT.label, (0.0, *radii), lines)


def _on_device(images: Images, run: Run) -> tuple[Tensor, Tensor]:
    return images.images.to(run.device) / 255.0, images.labels.to(run.device)


def _one_a_class(labels: Tensor) -> list[int]:
    """The first index of each label in order of appearance; -1 is not a label."""
    first: dict[int, int] = {}
    for index, label in enumerate(labels.tolist()):
        first.setdefault(label, index)
    return [index for label, index in first.items() if label >= 0]
