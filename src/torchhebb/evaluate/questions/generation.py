"""Can the layer's model make objects that lie between real classes, and are they new?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from torchhebb.config import to_json
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Evaluator, Finding, Note
from torchhebb.evaluate.figures.morphs import Path, controls_figure, paths_figure, samples_figure
from torchhebb.evaluate.methods.interpolation import Causes, as_pixels, ascent, bridge, mixtures
from torchhebb.evaluate.methods.nearest import nearest_distances
from torchhebb.evaluate.statistics import wilson
from torchhebb.nn import HebbLinear, NeuronLabels, SoftWTA
from torchhebb.readouts import Labels
from torchhebb.runs.reference_classifier import judge
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Measure

NEIGHBOURS = 50
PER_CLASS = 10
LOWEST = 0.05
"""The share of real test images whose nearness to a training image counts as close."""

Pieces = dict[str, Any]


@dataclass(frozen=True)
class Generation(Evaluator):
    """Test images moved to another class, and objects made from prototypes, under the eye of an independent judge.

    Paths: `bridge` through the densities of both classes (see `interpolate`), and two controls from the same image:
    `blend`, pixel by pixel to the end of the bridge, and `ascent`, which climbs the target's posterior alone and
    goes as far as the bridge does on average.  `samples` are mixtures of prototypes of one class.

    Curves `<path> <judge or posterior> <source or target>`: probabilities along the path, with their spread over pairs.
    Measures, in % or L2 of pixels:

        <path>_end_read_as_target                     by the judge, as is samples_read_as_class
        <path>_middle_read_as_<source|target|third>   by the judge, half way
        <what>_nearest, <what>_nearest_cosine         median distance and cosine to the nearest training image
        <what>_nearest_ratio                          median distance to the nearest over the mean of the nearest 50:
                                                      0 for a copy, near 1 for a mean of many
        <what>_close, <what>_copies                   share whose distance, and whose ratio, is below the lowest 5 % of
                                                      the test images that the judge reads as the same class
        bridge_length, samples_spread                 mean distance from the image to the end; between samples of a
                                                      class, beside test_spread of test images

    <what> is test (real images), bridge_middle, bridge_end, blend_middle, ascent_end or samples.
    Raises UserError for settings out of range, a network that is not a single soft winner-take-all layer on
    unit-norm pixels, or a class that no neuron stands for.
    Source: SoftHebb-2022, synthetic objects that interpolate real classes.
    """

    question: ClassVar[str] = "generation"

    pairs: tuple[tuple[int, int], ...] = ((3, 8), (4, 9), (1, 7), (5, 6), (0, 6), (2, 7))
    """Source and target, as numbers of classes."""
    examples: int = 20
    """Test images a pair, drawn among those that the layer reads rightly."""
    steps: int = 9
    """Points of a path, ends included; odd, so that one is half way."""
    annealing: float = 0.5
    """Inverse temperature of bridges and samples over the layer's own; a lower one lets neighbouring neurons merge."""
    references: int = 1000
    """Test images whose distances are told beside those of objects."""

    def run(self, run: Run) -> Iterator[Finding]:
        self._check(run)
        works = [_Work(self, run, seed, self._causes(run, seed)) for seed in run.seeds]
        pieces: list[Pieces] = []
        run.progress.start("objects between classes", len(works), "seeds")
        for work in works:
            pieces.append(run.once(work.numbers, question=self.question, seed=work.seed, settings=to_json(self)))
            run.progress.advance(1)
        run.progress.finish()
        yield from _measures(pieces)
        yield from _curves(pieces, self.shares)
        yield Note("images", pieces[0]["images"])
        work = _Work(replace(self, examples=1), run, run.seeds[0], works[0].causes)
        paths = work.paths()
        yield paths_figure(paths["bridge"], run.data.classes, self.shares)
        yield controls_figure(paths, run.data.classes, self.shares)
        samples, classes = work.samples()
        yield samples_figure(samples, classes, work.judge(samples), run.data.classes)

    @property
    def shares(self) -> tuple[float, ...]:
        return tuple(step / (self.steps - 1) for step in range(self.steps))

    def _check(self, run: Run) -> None:
        classes = range(len(run.data.classes))
        if not self.pairs or any(a == b or a not in classes or b not in classes for a, b in self.pairs):
            raise UserError(f"pairs must be two different classes of 0 to {len(classes) - 1} each, got {self.pairs}")
        if self.steps < 3 or self.steps % 2 == 0:
            raise UserError(f"steps must be odd and at least 3, got {self.steps}")
        if self.examples < 1 or self.references < 1:
            raise UserError(f"examples and references must be at least 1, got {self.examples} and {self.references}")
        if not self.annealing > 0:
            raise UserError(f"annealing must be positive, got {self.annealing}")

    def _causes(self, run: Run, seed: int) -> Causes:
        causes = causes_of(run, seed)
        for name in sorted({number for pair in self.pairs for number in pair}):
            if not (causes.labels == name).any():
                raise UserError(f"no neuron stands for class {run.data.classes[name]}: choose pairs without it")
        return causes


def causes_of(run: Run, seed: int) -> Causes:
    """The neurons of a run's single layer with the class that each stands for on training images.

    Raises UserError for a network of another kind.
    """
    modules = dict(run.network(seed).named_children())
    block = dict(modules["block1"].named_children())
    layer, activation = block.get("layer"), block.get("activation")
    linear = isinstance(layer, HebbLinear) and not layer.rule.rectify and "norm" not in block
    if list(modules) != ["unit_norm", "block1"] or not linear or not isinstance(activation, SoftWTA):
        raise UserError(
            "generation needs a single fully connected layer of competing neurons on unit-norm pixels, "
            f"as softhebb2022 recipes have, not the network of {run.recipe.name}"
        )
    assert isinstance(layer, HebbLinear)
    readout = Labels().fit(run.features(seed, "train"), run.data.train.labels, len(run.data.classes)).readout
    assert isinstance(readout, NeuronLabels)
    bias = None if layer.bias is None else layer.bias.detach()
    return Causes(layer.weight.detach(), bias, activation.inverse_temperature, readout.labels)


class _Work:
    """What is made and measured for one seed; all draws follow from it."""

    def __init__(self, settings: Generation, run: Run, seed: int, causes: Causes) -> None:
        self.settings, self.run, self.seed, self.causes = settings, run, seed, causes
        self.annealed = replace(causes, inverse_temperature=settings.annealing * causes.inverse_temperature)
        self.eye = judge(run)
        self.classes = len(run.data.classes)

    @torch.no_grad()
    def paths(self) -> dict[str, Path]:
        """The three paths from the same images, as pixels with what layer and judge say of them."""
        x, pair = self._starts()
        source, target = torch.tensor(self.settings.pairs, device=x.device)[pair].unbind(1)
        flat, shares = x.flatten(1), self.settings.shares
        unit = normalize(flat, dim=1)
        bridged = as_pixels(bridge(self.annealed, unit, source, target, shares), flat.amax(1))
        bridged = bridged.unflatten(2, x.shape[1:])
        reach = (bridged[:, -1] - x).flatten(1).norm(dim=1).mean().item()
        share = torch.tensor(shares, device=x.device).view(1, -1, 1, 1, 1)
        made = {
            "bridge": bridged,
            "blend": torch.lerp(x.unsqueeze(1), bridged[:, -1:], share),
            "ascent": ascent(self.causes, x, target, shares, reach=reach),
        }
        return {name: self._read(images, pair, source, target) for name, images in made.items()}

    @torch.no_grad()
    def samples(self) -> tuple[Tensor, Tensor]:
        """PER_CLASS objects of every class that two neurons stand for, as pixels, and their classes."""
        counts = torch.bincount(self.causes.labels, minlength=self.classes)
        classes = (counts > 1).nonzero()[:, 0].repeat_interleave(PER_CLASS)
        x = mixtures(self.annealed, classes, torch.Generator().manual_seed(self.seed))
        return as_pixels(x, x.new_ones(len(x))).unflatten(1, self.run.data.train.images.shape[1:]), classes

    @torch.no_grad()
    def judge(self, x: Tensor) -> Tensor:
        """Probabilities (B, classes)."""
        return self.eye(x).softmax(1)

    @torch.no_grad()
    def numbers(self) -> Pieces:
        """Everything that is told of a seed, as JSON can hold it."""
        paths = self.paths()
        middle = self.settings.steps // 2
        measures: dict[str, tuple[str, float]] = {}
        for name, path in paths.items():
            read = path.judged.argmax(2)
            as_source, as_target = read == path.source.unsqueeze(1), read == path.target.unsqueeze(1)
            measures[f"{name}_end_read_as_target"] = _percent(as_target[:, -1])
            for word, seen in {"source": as_source, "target": as_target, "third": ~as_source & ~as_target}.items():
                measures[f"{name}_middle_read_as_{word}"] = _percent(seen[:, middle])
        samples, classes = self.samples()
        measures["samples_read_as_class"] = _percent(self.judge(samples).argmax(1) == classes)
        bridged = paths["bridge"].images
        measures["bridge_length"] = "", (bridged[:, -1] - bridged[:, 0]).flatten(1).norm(dim=1).mean().item()
        test, labels = self._references()
        measures["samples_spread"] = "", _spread(samples, classes)
        measures["test_spread"] = "", _spread(test, labels)
        objects = {
            "test": test,
            "bridge_middle": bridged[:, middle],
            "bridge_end": bridged[:, -1],
            "blend_middle": paths["blend"].images[:, middle],
            "ascent_end": paths["ascent"].images[:, -1],
            "samples": samples,
        }
        measures |= self._distances(objects)
        curves = {f"{name} {line}": values for name, path in paths.items() for line, values in path.lines().items()}
        return {"measures": measures, "curves": curves, "images": len(bridged), "samples": len(samples)}

    def _distances(self, objects: Mapping[str, Tensor]) -> dict[str, tuple[str, float]]:
        images = self.run.data.train.images
        count = min(NEIGHBOURS, len(images))
        found: dict[str, tuple[str, float]] = {}
        limits: list[Tensor] = []
        for name, x in objects.items():
            distances = nearest_distances(x, images, count)
            nearest, read = distances[:, 0], self.judge(x).argmax(1)
            ratio = nearest / distances.mean(1).clamp_min(1e-12)
            angles = nearest_distances(x, images, unit=True)[:, 0]
            limits = limits or [self._lowest(values, read) for values in (nearest, ratio)]  # test images come first
            found[f"{name}_nearest"] = "", nearest.median().item()
            found[f"{name}_nearest_cosine"] = "", (1 - angles.square() / 2).median().item()
            found[f"{name}_nearest_ratio"] = "", ratio.median().item()
            found[f"{name}_close"] = _percent(nearest < limits[0][read])
            found[f"{name}_copies"] = _percent(ratio < limits[1][read])
        return found

    def _lowest(self, values: Tensor, read: Tensor) -> Tensor:
        """Below which the lowest of values (B,) lie, for every class; 0, which nothing is below, for a class unread."""
        limits = values.new_zeros(self.classes)
        for name in read.unique():
            limits[name] = values[read == name].quantile(LOWEST)
        return limits

    def _starts(self) -> tuple[Tensor, Tensor]:
        """The images (B, C, H, W) that paths start from, and the number of each one's pair."""
        test, generator = self.run.data.test, torch.Generator().manual_seed(self.seed)
        order = torch.randperm(len(test), generator=generator)
        x, pair = [], []
        for number, (source, _) in enumerate(self.settings.pairs):
            drawn = order[test.labels[order] == source]
            pixels = self._pixels(drawn)
            unit = normalize(pixels.flatten(1), dim=1)
            right = self.causes.posterior(unit, self.classes).argmax(1) == source
            if not right.any():
                raise UserError(f"the layer reads no test image of class {self.run.data.classes[source]} rightly")
            x.append(pixels[right][: self.settings.examples])
            pair += [number] * len(x[-1])
        return torch.cat(x), torch.tensor(pair, device=x[0].device)

    def _references(self) -> tuple[Tensor, Tensor]:
        test, generator = self.run.data.test, torch.Generator().manual_seed(self.seed)
        drawn = torch.randperm(len(test), generator=generator)[: self.settings.references]
        return self._pixels(drawn), test.labels[drawn].to(self.run.device)

    def _pixels(self, index: Tensor) -> Tensor:
        return self.run.data.test.images[index].to(self.run.device) / 255.0

    def _read(self, images: Tensor, pair: Tensor, source: Tensor, target: Tensor) -> Path:
        rows = images.flatten(0, 1)
        posterior = self.causes.posterior(normalize(rows.flatten(1), dim=1), self.classes)
        judged = self.judge(rows)
        steps = images.shape[1]
        return Path(images, pair, source, target, posterior.unflatten(0, (-1, steps)), judged.unflatten(0, (-1, steps)))


def _percent(which: Tensor) -> tuple[str, float]:
    return "%", 100 * which.double().mean().item()


def _spread(x: Tensor, classes: Tensor) -> float:
    """Mean L2 distance between two images of a class."""
    means = [
        torch.pdist(x[classes == name].flatten(1)).mean() for name in classes.unique() if (classes == name).sum() > 1
    ]
    return torch.stack(means).mean().item() if means else 0.0


def _measures(pieces: Sequence[Pieces]) -> Iterator[Measure]:
    for name, (unit, _) in pieces[0]["measures"].items():
        values = tuple(piece["measures"][name][1] for piece in pieces)
        read, samples = "_read_as_" in name, name.startswith("samples")
        count = min(piece["samples" if samples else "images"] for piece in pieces)
        yield Measure(name, unit, values, None, wilson(values, count) if read else None)


def _curves(pieces: Sequence[Pieces], shares: tuple[float, ...]) -> Iterator[Curve]:
    for name in pieces[0]["curves"]:
        of_pairs = torch.tensor([piece["curves"][name] for piece in pieces], dtype=torch.float64).mean(0)
        std = tuple(of_pairs.std(0).tolist()) if len(of_pairs) > 1 else None
        yield Curve(name, "share of the path", "probability", shares, tuple(of_pairs.mean(0).tolist()), std)
