"""Errors of images that are decoded from frozen features, with and without noise on the input."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from statistics import fmean, stdev
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from torchhebb.config import to_json
from torchhebb.data import Images
from torchhebb.errors import UserError, unknown_name
from torchhebb.evaluate.evaluator import Evaluator, Figure, Finding, Note
from torchhebb.evaluate.figures.reconstruction import as_bytes, error_panels, picture_rows
from torchhebb.evaluate.methods.decoder import (
    Decoder,
    add_noise,
    by_own_statistics,
    encode,
    encoder_to,
    fit_decoder,
    fit_one_image,
    image_errors,
)
from torchhebb.evaluate.methods.reconstruction import Method, methods_of
from torchhebb.evaluate.methods.subsample import subsample
from torchhebb.evaluate.statistics import normal_interval
from torchhebb.nn import Network
from torchhebb.runs.baselines import CONTENDERS, ContenderName
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Measure

ONE_IMAGE_NOISE = 0.1
PROTOCOL = {"widths": (512, 256), "steps": 100, "lr": 1e-3}
UNIT = "x 1e-3"
Found = dict[tuple[str, int], list[dict[str, Any]]]
"""(method, depth) -> for every seed the errors by std (mean, spread over images), pictures, shape of the features."""


@dataclass(frozen=True)
class Reconstruction(Evaluator):
    """Error of images decoded from frozen features: mean squared error of pixels in [0, 1], times 1000.

    Two protocols, for every method (`own`, a contender, or the recipe of another run):

        <method>_one_image_<clean|noisy>_error        a decoder fitted to one test image, as published; batch norms take
                                                      that image's statistics, the features are those of the last block
        <method>_block<d>_<clean|noise_STD>_error     a decoder fitted to training images alone, the error over the
                                                      test images; noise is added to what the encoder sees

    beside `mean_image_error`, of answering every image by the mean training image, and `noisy_input_<STD>_error`.
    Noise is not clipped and the same for all methods; the target is always the clean image.  The interval and the
    noted spread are over test images.
    Raises UserError for settings out of range, blocks without maps, or a run of other images.
    Source: SPHeRe-2025, its released script for the first protocol.
    """

    question: ClassVar[str] = "reconstruction"

    contenders: tuple[ContenderName, ...] = ("own", "backpropagation", "random")
    """Networks of the run's size."""
    others: tuple[str, ...] = ()
    """Folders of other runs on the same data, such as SoftHebb's at the same widths."""
    depths: tuple[int, ...] = ()
    """After which blocks; by default after each."""
    widths: tuple[int, ...] = (512, 256)
    """Channels between the decoder's convolutions; a decoder of fewer convolutions uses the last ones."""
    lr: float = 1e-3
    """Rate of Adam."""
    steps: int = 100
    """Steps on the one image."""
    image: int = 0
    """Which test image that is."""
    epochs: int = 5
    """Passes of a decoder over the training images."""
    batch_size: int = 128
    """Of a decoder's training."""
    train_images: int | None = None
    """How many training images, drawn once; None is all of them."""
    test_images: int | None = None
    """How many test images, drawn once; None is all of them."""
    noise: tuple[float, ...] = (0.05, 0.1, 0.2)
    """Std of the noise on test images."""
    examples: int = 8
    """Images in the pictures, of the first seed; 0 for no pictures."""

    def run(self, run: Run) -> Iterator[Finding]:
        self._check(run)
        depths = tuple(sorted({*self.depths})) or tuple(range(1, len(run.recipe.architecture.blocks) + 1))
        methods, stds = methods_of(run, self.contenders, self.others), (0.0, *self.noise)
        single: dict[str, list[dict[str, list[float]]]] = {method.name: [] for method in methods}
        found: Found = {(method.name, depth): [] for method in methods for depth in depths}
        for seed in run.seeds:
            for method in methods:
                network = cache(partial(method.network, seed))  # made once, and only where a piece is missing
                single[method.name].append(self._on_one_image(run, method, network, seed))
                for depth in depths:
                    found[method.name, depth].append(self._on_test_set(run, method, network, seed, depth))
        baselines = [self._baselines(run, seed) for seed in run.seeds]
        comparable = all(getattr(self, name) == value for name, value in PROTOCOL.items())
        images = len(subsample(run.data.test, self.test_images))
        for method in methods:
            yield from _one_image(method, single[method.name], comparable=comparable)
        for (name, depth), seeds in found.items():
            yield from _test_set(f"{name}_block{depth}", seeds, stds, images)
        for name in baselines[0]:
            yield Measure(f"{name}_error", UNIT, tuple(seed[name] for seed in baselines))
        yield Note("units", "mean squared error of pixels in [0, 1] times 1000; noise is not clipped")
        yield Note("test_images", images)
        named = {f"{name}_block{depth}": seeds for (name, depth), seeds in found.items()}
        spread = {name: {f"{std:g}": _mean(seeds, std, 1) for std in stds} for name, seeds in named.items()}
        yield Note("spread_over_images", spread)
        yield Note("feature_shapes", {name: seeds[0]["shape"] for name, seeds in named.items()})
        yield from self._figures(run, methods, depths, found, baselines)

    def _check(self, run: Run) -> None:
        least = {"steps": 1, "epochs": 1, "batch_size": 1, "train_images": 1, "test_images": 1, "examples": 0}
        for name, minimum in least.items():
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise UserError(f"{name} must be at least {minimum}, got {value}")
        blocks = len(run.recipe.architecture.blocks)
        if any(not 1 <= depth <= blocks for depth in self.depths):
            raise UserError(f"depths must be from 1 to {blocks}, got {self.depths}")
        if not 0 <= self.image < len(run.data.test):
            raise UserError(f"image must be from 0 to {len(run.data.test) - 1}, got {self.image}")
        if self.lr <= 0 or min(self.noise, default=1) <= 0 or len(set(self.noise)) < len(self.noise):
            raise UserError(f"lr and noise must be above 0, each std once, got {self.lr} and {self.noise}")
        if unknown := [name for name in self.contenders if name not in CONTENDERS]:
            raise unknown_name("contender", unknown[0], CONTENDERS)
        if not self.contenders and not self.others:
            raise UserError("contenders and others must name at least one network")

    def _on_one_image(
        self, run: Run, method: Method, network: Callable[[], Network], seed: int
    ) -> dict[str, list[float]]:
        """Errors on the one image before the first step and after each, clean and noisy."""
        depth = len(run.recipe.architecture.blocks)

        def work() -> dict[str, list[float]]:
            encoder = by_own_statistics(encoder_to(network(), depth))
            image = run.data.test.images[self.image : self.image + 1].to(run.device) / 255.0
            errors = {}
            run.progress.start(f"seed {seed}: {method.words}: one image", 2, "decoders")
            for name, std in (("clean", 0.0), ("noisy", ONE_IMAGE_NOISE)):
                z = encode(encoder, add_noise(image, std, seed), run.precision)
                errors[name] = fit_one_image(self._decoder(run, z, seed), z, image, steps=self.steps, lr=self.lr)
                run.progress.advance(1)
            run.progress.finish()
            return errors

        settings = [self.widths, self.lr, self.steps, self.image, run.precision]
        key = {"method": method.name, "identity": method.identity, "seed": seed, "settings": settings}
        return run.once(work, question="reconstruction of one image", **key)

    def _on_test_set(
        self, run: Run, method: Method, network: Callable[[], Network], seed: int, depth: int
    ) -> dict[str, Any]:
        """What one decoder gives: mean and spread of its errors for each noise, pictures, the shape of its features."""
        test = subsample(run.data.test, self.test_images)

        def work() -> dict[str, Any]:
            encoder = encoder_to(network(), depth)
            sample = test.images[:1].to(run.device) / 255.0
            z = encode(encoder, sample, run.precision)
            decoder = self._decoder(run, z, seed)
            fit_decoder(
                decoder,
                encoder,
                subsample(run.data.train, self.train_images),
                epochs=self.epochs,
                batch_size=self.batch_size,
                lr=self.lr,
                seed=seed,
                precision=run.precision,
                label=f"seed {seed}: {method.words}: decoder after block {depth}",
                progress=run.progress,
            )
            total = len(test) * (1 + len(self.noise))
            run.progress.start(f"seed {seed}: {method.words}: images from block {depth}", total, "images")
            errors = {}
            for std in (0.0, *self.noise):
                each = image_errors(
                    decoder, encoder, test, std=std, seed=seed, precision=run.precision, device=run.device
                )
                errors[f"{std:g}"] = [each.mean().item(), each.std(correction=0).item()]
                run.progress.advance(len(test))
            run.progress.finish()
            pictures = self._decoded(run, decoder, encoder, test, seed) if seed == run.seeds[0] else []
            return {"errors": errors, "pictures": pictures, "shape": list(z.shape[1:])}

        settings = to_json(replace(self, contenders=(), others=(), depths=(), steps=1, image=0))
        key = {"method": method.name, "identity": method.identity, "seed": seed, "depth": depth}
        return run.once(work, question=self.question, precision=run.precision, settings=settings, **key)

    def _decoder(self, run: Run, z: Tensor, seed: int) -> Decoder:
        shape = run.recipe.architecture.input_shape
        return Decoder(tuple(z.shape[1:]), shape, widths=self.widths, seed=seed).to(run.device)

    @torch.no_grad()
    def _decoded(self, run: Run, decoder: Decoder, encoder: nn.Module, test: Images, seed: int) -> list[list[Any]]:
        """The first test images decoded, clean and with the pictures' noise, as bytes."""
        x = test.images[: self.examples].to(run.device) / 255.0
        return [
            as_bytes(decoder(encode(encoder, add_noise(x, std, seed), run.precision))).tolist()
            for std in self._picture_stds()
        ]

    def _picture_stds(self) -> list[float]:
        """Clean, and the published std or the strongest that was asked for."""
        return [0.0, *([ONE_IMAGE_NOISE] if ONE_IMAGE_NOISE in self.noise else sorted(self.noise)[-1:])]

    def _baselines(self, run: Run, seed: int) -> dict[str, float]:
        """The errors of answers that need no features."""
        test, train = subsample(run.data.test, self.test_images), subsample(run.data.train, self.train_images)
        mean = (train.images.sum(0, dtype=torch.int64).double() / (255 * len(train))).float()

        def same(x: Tensor) -> Tensor:
            return x

        errors = {"mean_image": image_errors(lambda x: mean.expand_as(x), same, test)}
        errors |= {f"noisy_input_{std:g}": image_errors(same, same, test, std=std, seed=seed) for std in self.noise}
        return {name: each.mean().item() for name, each in errors.items()}

    def _figures(
        self,
        run: Run,
        methods: Sequence[Method],
        depths: Sequence[int],
        found: Found,
        baselines: Sequence[Mapping[str, float]],
    ) -> Iterator[Figure]:
        words = {method.name: method.words for method in methods}
        level = {name: fmean(seed[name] for seed in baselines) for name in baselines[0]}
        panels = [
            (
                f"noise of std {std:g}" if std else "clean images",
                {words[name]: [_mean(found[name, depth], std) for depth in depths] for name in words},
                {"mean image": level["mean_image"]} | ({"noisy input": level[f"noisy_input_{std:g}"]} if std else {}),
            )
            for std in (0.0, *self.noise)
        ]
        caption = "Error of images decoded from frozen features after each block, on test images; dashed: no features."
        yield Figure("errors", caption, error_panels(panels, depths))
        seed, shape = run.seeds[0], run.recipe.architecture.input_shape
        x = subsample(run.data.test, self.test_images).images[: self.examples] / 255.0
        for number, std in enumerate(self._picture_stds() if self.examples else []):
            rows = {"original": as_bytes(x)} | ({"input": as_bytes(add_noise(x, std, seed))} if std else {})
            for name, depth in found:
                pixels = found[name, depth][0]["pictures"][number]
                rows[f"{words[name]}, block {depth}"] = torch.tensor(pixels, dtype=torch.uint8).view(-1, *shape)
            inputs = f"with noise of std {std:g} on the input" if std else "from clean images"
            caption = f"Test images as they were, and decoded from the frozen features of each block, {inputs}."
            yield Figure("noisy" if std else "clean", caption, picture_rows(rows))


def _one_image(method: Method, seeds: Sequence[Mapping[str, list[float]]], *, comparable: bool) -> Iterator[Finding]:
    for number, name in enumerate(("clean", "noisy")):
        known = method.published[number] if method.published and comparable else None
        errors = [seed[name] for seed in seeds]
        yield Measure(f"{method.name}_one_image_{name}_error", UNIT, tuple(each[-1] for each in errors), known)
        x = tuple(map(float, range(len(errors[0]))))
        yield _curve(f"{method.name} one image {name}", "steps of the decoder", x, list(zip(*errors, strict=True)))


def _test_set(name: str, seeds: Sequence[Mapping[str, Any]], stds: Sequence[float], images: int) -> Iterator[Finding]:
    columns = []
    for std in stds:
        means = [seed["errors"][f"{std:g}"][0] for seed in seeds]
        spread = fmean(seed["errors"][f"{std:g}"][1] for seed in seeds)
        interval = normal_interval(fmean(means), spread, images)
        inputs = f"noise_{std:g}" if std else "clean"
        yield Measure(f"{name}_{inputs}_error", UNIT, tuple(means), None, interval)
        columns.append(means)
    yield _curve(name.replace("_", " "), "std of the noise", tuple(stds), columns)


def _curve(name: str, x_label: str, x: tuple[float, ...], columns: Sequence[Sequence[float]]) -> Curve:
    """Mean and spread over seeds of the columns, one an x."""
    std = tuple(map(stdev, columns)) if len(columns[0]) > 1 else None
    return Curve(name, x_label, "mean squared error x 1000", x, tuple(map(fmean, columns)), std)


def _mean(seeds: Sequence[Mapping[str, Any]], std: float, part: int = 0) -> float:
    """The mean over seeds of the mean error, or with part 1 of its spread over images."""
    return fmean(seed["errors"][f"{std:g}"][part] for seed in seeds)
