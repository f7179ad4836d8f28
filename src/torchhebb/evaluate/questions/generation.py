"""Images generated from the density of a single layer: paths between classes, samples, nearest training images."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from torchhebb.bounds import above, at_least, bound
from torchhebb.errors import UserError
from torchhebb.evaluate.evaluator import Finding, Note
from torchhebb.evaluate.figures.morphs import Path, controls_figure, paths_figure, samples_figure
from torchhebb.evaluate.methods.interpolation import Causes, as_pixels, ascent, bridge, mixtures
from torchhebb.evaluate.methods.nearest import nearness, spread
from torchhebb.evaluate.statistics import mean_curve, percent
from torchhebb.evaluate.study import Cell, Quantity, Study, values
from torchhebb.nn import HebbLinear, NeuronLabels, SoftWTA
from torchhebb.readouts import Labels
from torchhebb.runs.reference_classifier import judge
from torchhebb.runs.run import Run
from torchhebb.train.wilson import wilson

PER_CLASS = 10


@dataclass(frozen=True)
class Generation(Study[None]):
    """Images that a single layer generates between classes and within a class, classified by an independent network.

    There are three kinds of paths from a test image to another class.  `bridge` follows the densities of both classes
    (see `methods/interpolation.py`).  Two controls start from the same image: `blend` interpolates each pixel to the
    end of the bridge, and `ascent` maximises the posterior of the target alone, over the mean length of the bridges.
    `samples` are mixtures of prototypes of one class.  The independent network is called the judge.

    Curves `<path> <judge or posterior> <source or target>`: probabilities along the path, with their standard deviation
    over pairs.  Measures, in % or as L2 distances of pixels:

        <path>_end_read_as_target                     share classified as the target by the judge, at the end
        <path>_middle_read_as_<source|target|third>   share classified so by the judge, half way
        samples_read_as_class                         share of samples that the judge assigns to their class
        <what>_nearest, <what>_nearest_cosine         median distance and cosine to the nearest training image
        <what>_nearest_ratio                          median distance to the nearest over the mean of the nearest 50:
                                                      0 for a copy, near 1 for a mean of many
        <what>_close, <what>_copies                   share whose distance, and whose ratio, is below the 5 % quantile
                                                      of the test images that the judge assigns to the same class
        bridge_length                                 mean distance from the image to the end of the bridge
        samples_spread, test_spread                   mean distance between two samples, or test images, of a class

    <what> is test (test images), bridge_middle, bridge_end, blend_middle, ascent_end or samples.
    Raises UserError for settings out of range, a network that is not a single soft winner-take-all layer on
    unit-norm pixels, or a class without a neuron that is labelled so.
    Source: SoftHebb-2022, synthetic objects that interpolate real classes.

    Example:
        >>> Generation(pairs=((3, 8),), examples=5).question
        'generation'
    """

    question: ClassVar[str] = "generation"
    quantities: ClassVar[dict[str, Quantity]] = {
        **{f"read_as_{word}": Quantity(f"read as {word}, %", "%") for word in ("source", "target", "third", "class")},
        "nearest": Quantity("distance to the nearest training image"),
        "nearest_cosine": Quantity("cosine to the nearest training image"),
        "nearest_ratio": Quantity("distance to the nearest over the mean of the nearest 50"),
        "close": Quantity("closer than most test images, %", "%"),
        "copies": Quantity("of a lower ratio than most test images, %", "%"),
        "length": Quantity("distance from the image to the end"),
        "spread": Quantity("distance between images of a class"),
    }

    pairs: tuple[tuple[int, int], ...] = ((3, 8), (4, 9), (1, 7), (5, 6), (0, 6), (2, 7))
    """Pairs of source and target, as numbers of classes."""
    examples: int = field(default=20, metadata=at_least(1))
    """Number of test images per pair, drawn among those that the layer classifies rightly."""
    steps: int = field(default=9, metadata=bound("odd and at least 3", lambda steps: steps >= 3 and steps % 2 == 1))
    """Number of points of a path, with both ends; odd, so that one point is half way."""
    annealing: float = field(default=0.5, metadata=above(0))
    """Factor of the layer's inverse temperature for bridges and samples; below 1, similar neurons merge."""
    references: int = field(default=1000, metadata=at_least(1))
    """Number of test images whose distances are measured for comparison."""

    def check(self, run: Run) -> None:
        classes = range(len(run.data.classes))
        if not self.pairs or any(a == b or a not in classes or b not in classes for a, b in self.pairs):
            raise UserError(f"pairs must be two different classes of 0 to {len(classes) - 1} each, got {self.pairs}")
        for seed in run.seeds:
            causes = causes_of(run, seed)
            for name in sorted({number for pair in self.pairs for number in pair}):
                if not (causes.labels == name).any():
                    raise UserError(f"no neuron is labelled {run.data.classes[name]}: choose pairs without this class")

    def variants(self, run: Run) -> dict[str, None]:
        return {"": None}

    def cell(self, run: Run, variant: None, seed: int) -> Cell:
        """All quantities, the `curves` by name and pair, and the numbers of `images` and `samples` behind them."""
        run.progress.start(f"seed {seed}: objects between classes", 1, "seeds")
        found = _Work(self, run, seed).numbers()
        run.progress.advance(1)
        run.progress.finish()
        return found

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        of_seeds = cells[""]
        for measure in self.measures(run, cells):
            samples = min(values(of_seeds, "samples" if measure.name.startswith("samples") else "images"))
            read = "_read_as_" in measure.name
            yield replace(measure, interval=wilson(measure.values, samples)) if read else measure
        for name in of_seeds[0]["curves"]:
            of_pairs = torch.tensor([cell["curves"][name] for cell in of_seeds], dtype=torch.float64).mean(0)
            yield mean_curve(name, "share of the path", "probability", self.shares, of_pairs.tolist())
        yield Note("images", of_seeds[0]["images"])
        work, classes = _Work(replace(self, examples=1), run, run.seeds[0]), run.data.classes
        paths = work.paths()
        yield paths_figure(paths["bridge"], classes, self.shares)
        yield controls_figure(paths, classes, self.shares)
        samples_made, of_class = work.samples()
        yield samples_figure(samples_made, of_class, work.judge(samples_made), classes)

    @property
    def shares(self) -> tuple[float, ...]:
        """The positions of the points on a path, from 0 at the image to 1 at the end."""
        return tuple(step / (self.steps - 1) for step in range(self.steps))


def causes_of(run: Run, seed: int) -> Causes:
    """The neurons of a run's single layer, with the class that each is labelled with on training images.

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
    """The images and numbers of one seed, which determines all random draws."""

    def __init__(self, settings: Generation, run: Run, seed: int) -> None:
        self.settings, self.run, self.seed, self.causes = settings, run, seed, causes_of(run, seed)
        causes = self.causes
        self.annealed = replace(causes, inverse_temperature=settings.annealing * causes.inverse_temperature)
        self.reference = judge(run)
        self.classes = len(run.data.classes)

    @torch.no_grad()
    def paths(self) -> dict[str, Path]:
        """The three paths from the same images, with the probabilities of the layer and of the judge."""
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
        """PER_CLASS samples of every class with at least two neurons, as pixels, and their classes."""
        counts = torch.bincount(self.causes.labels, minlength=self.classes)
        classes = (counts > 1).nonzero()[:, 0].repeat_interleave(PER_CLASS)
        x = mixtures(self.annealed, classes, torch.Generator().manual_seed(self.seed))
        return as_pixels(x, x.new_ones(len(x))).unflatten(1, self.run.data.train.images.shape[1:]), classes

    @torch.no_grad()
    def judge(self, x: Tensor) -> Tensor:
        """Probabilities (B, classes)."""
        return self.reference(x).softmax(1)

    @torch.no_grad()
    def numbers(self) -> Cell:
        """All numbers of a seed, as JSON can hold them."""
        paths = self.paths()
        middle = self.settings.steps // 2
        found: Cell = {}
        for name, path in paths.items():
            read = path.judged.argmax(2)
            as_source, as_target = read == path.source.unsqueeze(1), read == path.target.unsqueeze(1)
            found[f"{name}_end_read_as_target"] = percent(as_target[:, -1])
            for word, seen in {"source": as_source, "target": as_target, "third": ~as_source & ~as_target}.items():
                found[f"{name}_middle_read_as_{word}"] = percent(seen[:, middle])
        samples, classes = self.samples()
        found["samples_read_as_class"] = percent(self.judge(samples).argmax(1) == classes)
        bridged = paths["bridge"].images
        found["bridge_length"] = (bridged[:, -1] - bridged[:, 0]).flatten(1).norm(dim=1).mean().item()
        test, labels = self._references()
        found["samples_spread"], found["test_spread"] = spread(samples, classes), spread(test, labels)
        objects = {
            "test": test,
            "bridge_middle": bridged[:, middle],
            "bridge_end": bridged[:, -1],
            "blend_middle": paths["blend"].images[:, middle],
            "ascent_end": paths["ascent"].images[:, -1],
            "samples": samples,
        }
        read_as = {name: self.judge(x).argmax(1) for name, x in objects.items()}
        found |= nearness(objects, read_as, self.run.data.train.images, reference="test")
        curves = {f"{name} {line}": points for name, path in paths.items() for line, points in path.lines().items()}
        return found | {"curves": curves, "images": len(bridged), "samples": len(samples)}

    def _starts(self) -> tuple[Tensor, Tensor]:
        """The images (B, C, H, W) that paths start from, and the pair of each."""
        test, generator = self.run.data.test, torch.Generator().manual_seed(self.seed)
        order = torch.randperm(len(test), generator=generator)
        x, pair = [], []
        for number, (source, _) in enumerate(self.settings.pairs):
            drawn = order[test.labels[order] == source]
            pixels = self._pixels(drawn)
            unit = normalize(pixels.flatten(1), dim=1)
            right = self.causes.posterior(unit, self.classes).argmax(1) == source
            if not right.any():
                raise UserError(f"the layer classifies no test image of class {self.run.data.classes[source]} rightly")
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
