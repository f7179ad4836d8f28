"""How far can an image be moved before a network errs, and would a person err as well?"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from statistics import fmean, stdev
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from torchhebb.data import Images
from torchhebb.errors import UserError, unknown_name
from torchhebb.evaluate.evaluator import Evaluator, Figure, Finding, Note
from torchhebb.evaluate.figures.gallery import NORMS, gallery, robustness
from torchhebb.evaluate.methods.square import square
from torchhebb.evaluate.statistics import wilson
from torchhebb.nn import SoftWTA
from torchhebb.runs.baselines import CONTENDERS, ContenderName, contender, contender_label
from torchhebb.runs.reference_classifier import judge
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Measure
from torchhebb.train.features import batch_size_for
from torchhebb.train.perturb import Norm, fgsm, fooled, pgd

AttackName = Literal["fgsm", "pgd", "margin", "softened", "square"]
ATTACKS: tuple[AttackName, ...] = ("fgsm", "pgd", "margin", "softened", "square")


@dataclass(frozen=True)
class Attacks(Evaluator):
    """Robust accuracy of whole networks, pixels to logits, under gradient attacks and one that needs no gradient.

        fgsm      one step along the gradient of the cross-entropy
        pgd       projected gradient ascent of the cross-entropy, every restart from a random point
        margin    the same on the margin of the logits, whose gradient outlives a saturated softmax
        softened  pgd through a copy of the network whose soft WTA output is softer, judged by the network as it is:
                  a sharp competition hides its gradient; networks without a soft WTA output are spared
        square    random search, without a gradient

    Measures `<contender>_<linf|l2>_<eps>_<attack>_accuracy` in % over all images, one that is wrong when clean being
    fooled already.  `worst` survives all attacks, image by image, at this eps and, since balls are nested, at every
    smaller one.  `..._<pgd|worst>_judge_agrees` and `..._judge_true`: the share of successful attacks in % whose
    image an independent network reads as the class that the attacked one answered, or still as the true class;
    absent where a seed has no successful attack.
    Computes in float32.
    """

    question: ClassVar[str] = "attacks"

    images: int = 500
    """The first test images; all of them where there are fewer."""
    contenders: tuple[ContenderName, ...] = ("own", "hard", "backpropagation", "adversarial")
    """Which networks to attack."""
    linf: tuple[float, ...] = (0.1, 0.2, 0.3)
    """Radii: the largest change of a pixel."""
    l2: tuple[float, ...] = (1.0, 2.0, 3.0)
    """Radii: the Euclidean length of the change of an image."""
    attacks: tuple[AttackName, ...] = ATTACKS
    """Which attacks to run."""
    steps: int = 40
    """Steps of the gradient attacks."""
    restarts: int = 3
    """Restarts of the gradient attacks."""
    queries: int = 1000
    """Changes that the square attack tries on every image."""
    softness: tuple[float, ...] = (0.3, 0.6)
    """Shares of the inverse temperature at which the softened attack takes its gradients."""
    examples: int = 3
    """Images in the galleries, on the first seed; 0 for no gallery."""

    def run(self, run: Run) -> Iterator[Finding]:
        self._check()
        images = run.data.test.select(torch.arange(min(self.images, len(run.data.test))))
        eye = judge(run)
        tallies: dict[ContenderName, list[Tally]] = {name: [] for name in self.contenders}
        for seed in run.seeds:
            for name in self.contenders:
                tallies[name].append(self._kept(run, seed, name, images, eye))
        for name, seeds in tallies.items():
            yield from _measures(name, seeds, len(images))
        panels = {
            norm: {contender_label(run, name): _curve(name, norm, radii, seeds) for name, seeds in tallies.items()}
            for norm, radii in self._radii().items()
        }
        for panel in panels.values():
            yield from panel.values()
        yield robustness(panels, len(images))
        if self.examples:
            yield from self._galleries(run, images, eye)
        seen = _answers(eye, _on_device(images, run)[0], 500).cpu() == images.labels
        yield Note("test_images", len(images))
        yield Note("precision", "float32")
        yield Note("judge_accuracy_on_clean", 100 * seen.double().mean().item())
        yield Note("successful_attacks", {name: [tally.fooled for tally in seeds] for name, seeds in tallies.items()})
        yield Note("fooled_by_square_alone", {name: [t.square_alone for t in seeds] for name, seeds in tallies.items()})

    def _check(self) -> None:
        if min(self.images, self.steps, self.restarts, self.queries) < 1 or self.examples < 0:
            given = f"{self.images}, {self.steps}, {self.restarts}, {self.queries}, {self.examples}"
            raise UserError(f"images, steps, restarts and queries must be at least 1, examples at least 0, got {given}")
        if not self.attacks or not self.contenders:
            raise UserError("attacks and contenders must each name at least one")
        for attack in self.attacks:
            if attack not in ATTACKS:
                raise unknown_name("attack", attack, ATTACKS)
        for name in self.contenders:
            if name not in CONTENDERS:
                raise unknown_name("contender", name, CONTENDERS)
        if not self.linf + self.l2 or min(self.linf + self.l2) <= 0:
            raise UserError(f"linf and l2 must hold radii above 0, got {self.linf} and {self.l2}")
        if not self.softness or not all(0 < share < 1 for share in self.softness):
            raise UserError(f"softness must hold shares between 0 and 1, got {self.softness}")

    def _radii(self) -> dict[Norm, list[float]]:
        norms: dict[Norm, list[float]] = {"inf": sorted(self.linf), "2": sorted(self.l2)}
        return {norm: radii for norm, radii in norms.items() if radii}

    def _kept(self, run: Run, seed: int, name: ContenderName, images: Images, eye: nn.Module) -> "Tally":
        settings = ("attacks", "steps", "restarts", "queries", "softness")
        kept = run.once(
            lambda: asdict(self._tally(run, seed, name, images, eye)),
            question=self.question,
            seed=seed,
            contender=name,
            images=len(images),
            radii=self._radii(),
            **{setting: getattr(self, setting) for setting in settings},
        )
        return Tally(**kept)

    def _tally(self, run: Run, seed: int, name: ContenderName, images: Images, eye: nn.Module) -> "Tally":
        """Every attack in every ball on one network.  Only images that it answers rightly when clean are attacked."""
        model = contender(run, seed, name).classifier
        chunk = batch_size_for(model, images, run.device)
        x, labels = _on_device(images, run)
        right = _answers(model, x, chunk) == labels
        x, labels = x[right], labels[right]
        tally = Tally(len(images), {"clean_accuracy": 100 * len(x) / len(images)})
        attacks = self._applicable(model)
        total = len(attacks) * sum(map(len, self._radii().values()))
        run.progress.start(f"seed {seed}: attacks on {contender_label(run, name)}", total, "attacks")
        for norm, radii in self._radii().items():
            worst, broken = x, torch.zeros_like(labels, dtype=torch.bool)
            by_gradient = broken
            for eps in radii:
                point = f"{NORMS[norm][0]}_{eps:g}"
                fresh = torch.zeros_like(broken)
                for attack in attacks:
                    moved = self._move(attack, model, x, labels, norm=norm, eps=eps, seed=seed, chunk=chunk)
                    answers = _answers(model, moved, chunk)
                    fools = answers != labels
                    worst = torch.where(_per_image(fools & ~fresh), moved, worst)
                    fresh = fresh | fools
                    if attack != "square":
                        by_gradient = by_gradient | fools
                    tally.add(f"{point}_{attack}", fools)
                    if attack == "pgd":
                        tally.judge(f"{point}_pgd", _answers(eye, moved, chunk), answers, labels)
                    run.progress.advance(1)
                broken = broken | fresh
                tally.add(f"{point}_worst", broken)
                tally.judge(f"{point}_worst", _answers(eye, worst, chunk), _answers(model, worst, chunk), labels)
                if "square" in attacks:
                    tally.square_alone[point] = int((broken & ~by_gradient).sum())
        run.progress.finish()
        return tally

    def _applicable(self, model: nn.Module) -> list[AttackName]:
        return [attack for attack in self.attacks if attack != "softened" or has_soft_output(model)]

    def _move(
        self,
        attack: AttackName,
        model: nn.Module,
        x: Tensor,
        labels: Tensor,
        *,
        norm: Norm,
        eps: float,
        seed: int,
        chunk: int,
    ) -> Tensor:
        """What one attack makes of the images; all draws follow from the seed."""
        if attack == "square":
            return square(model, x, labels, eps=eps, norm=norm, queries=self.queries, seed=seed, batch_size=chunk)
        climb = partial(pgd, model, eps=eps, norm=norm, steps=self.steps, restarts=self.restarts)
        generator = torch.Generator().manual_seed(seed)
        moved = []
        for part, truth in zip(x.split(chunk), labels.split(chunk), strict=True):
            match attack:
                case "fgsm":
                    found = fgsm(model, part, truth, eps=eps, norm=norm)
                case "softened":
                    found = part
                    for share in self.softness:
                        other = climb(part, truth, generator=generator, surrogate=soften(model, share))
                        found = torch.where(_per_image(fooled(model, found, truth)), found, other)
                case _:
                    loss: Literal["margin", "cross_entropy"] = "margin" if attack == "margin" else "cross_entropy"
                    found = climb(part, truth, generator=generator, loss=loss)
            moved.append(found)
        return torch.cat(moved)

    def _galleries(self, run: Run, images: Images, eye: nn.Module) -> Iterator[Figure | Note]:
        seed = run.seeds[0]
        networks = {contender_label(run, name): contender(run, seed, name) for name in self.contenders}
        x, labels = _on_device(images, run)
        known = torch.stack([_answers(net.classifier, x, 500) for net in networks.values()] + [_answers(eye, x, 500)])
        rows = _one_a_class(labels.where((known == labels).all(0), -1))[: self.examples]
        for norm in self._radii():
            if not rows:
                yield Note("gallery", "no image that all contenders and the judge answer rightly when clean")
                return
            strongest = partial(self._strongest, norm=norm, seed=seed)
            yield gallery(networks, eye, x[rows], labels[rows], run.data.classes, strongest, norm=norm)

    def _strongest(self, model: nn.Module, x: Tensor, labels: Tensor, *, norm: Norm, eps: float, seed: int) -> Tensor:
        """Per image, the first gradient attack that fools the model, else the last."""
        moved = x
        for attack in self._applicable(model):
            if attack != "square":
                other = self._move(attack, model, x, labels, norm=norm, eps=eps, seed=seed, chunk=len(x))
                moved = torch.where(_per_image(fooled(model, moved, labels)), moved, other)
        return moved


@dataclass
class Tally:
    """What became of the images of one network."""

    images: int
    percent: dict[str, float]
    """By name of a measure."""
    fooled: dict[str, int] = field(default_factory=dict)
    """How many images each attack turned."""
    square_alone: dict[str, int] = field(default_factory=dict)
    """How many images the square attack turned that no gradient attack did."""

    def add(self, name: str, fools: Tensor) -> None:
        self.fooled[name] = int(fools.sum())
        self.percent[f"{name}_accuracy"] = 100 * (len(fools) - self.fooled[name]) / self.images

    def judge(self, name: str, read: Tensor, answered: Tensor, labels: Tensor) -> None:
        """What the judge read in the images that made the network answer wrongly."""
        fools = answered != labels
        if fools.any():
            self.percent[f"{name}_judge_agrees"] = 100 * (read == answered)[fools].double().mean().item()
            self.percent[f"{name}_judge_true"] = 100 * (read == labels)[fools].double().mean().item()


def has_soft_output(model: nn.Module) -> bool:
    """Whether a soft WTA passes its posterior on."""
    return any(isinstance(module, SoftWTA) for module in model.modules())


def soften(model: nn.Module, share: float) -> nn.Module:
    """A copy of the model in which every soft WTA output has `share` of its inverse temperature."""
    softer = copy.deepcopy(model)
    for module in softer.modules():
        if isinstance(module, SoftWTA):
            module.inverse_temperature *= share
    return softer


def _measures(name: str, seeds: Sequence[Tally], images: int) -> Iterator[Measure]:
    for quantity in seeds[0].percent:
        if not all(quantity in tally.percent for tally in seeds):
            continue
        values = tuple(tally.percent[quantity] for tally in seeds)
        attack = quantity.partition("_judge_")[0]
        # The shares of the judge rest on the images that were turned: on the fewest of any seed, to be careful.
        basis = min(tally.fooled[attack] for tally in seeds) if attack != quantity else images
        yield Measure(f"{name}_{quantity}", "%", values, interval=wilson(values, basis))


def _curve(name: str, norm: Norm, radii: Sequence[float], seeds: Sequence[Tally]) -> Curve:
    short, label = NORMS[norm]
    points = ["clean_accuracy", *(f"{short}_{eps:g}_worst_accuracy" for eps in radii)]
    columns = [[tally.percent[point] for tally in seeds] for point in points]
    std = tuple(map(stdev, columns)) if len(seeds) > 1 else None
    y_label = "accuracy left of all attacks, %"
    return Curve(f"{name} {short}", f"eps, {label}", y_label, (0.0, *radii), tuple(map(fmean, columns)), std)


def _on_device(images: Images, run: Run) -> tuple[Tensor, Tensor]:
    return images.images.to(run.device) / 255.0, images.labels.to(run.device)


@torch.no_grad()
def _answers(model: nn.Module, x: Tensor, chunk: int) -> Tensor:
    parts = [model(part).argmax(1) for part in x.split(chunk)] if len(x) else []
    return torch.cat([torch.empty(0, dtype=torch.long, device=x.device), *parts])


def _per_image(chosen: Tensor) -> Tensor:
    return chosen.view(-1, 1, 1, 1)


def _one_a_class(labels: Tensor) -> list[int]:
    """The first index of every label but -1, in order of appearance."""
    first: dict[int, int] = {}
    for index, label in enumerate(labels.tolist()):
        first.setdefault(label, index)
    return [index for label, index in first.items() if label >= 0]
