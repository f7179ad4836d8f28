"""Errors of images decoded from frozen features, with and without noise on the input."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from statistics import fmean
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from torchhebb.bounds import above, at_least, distinct, each_at_least
from torchhebb.data import Images
from torchhebb.errors import UserError
from torchhebb.evaluate.decoded_networks import Method, methods_of
from torchhebb.evaluate.evaluator import Figure, Finding, Note
from torchhebb.evaluate.figures.panels import Panel, draw_panels
from torchhebb.evaluate.figures.reconstruction import as_bytes, picture_rows
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
from torchhebb.evaluate.methods.subsample import subsample
from torchhebb.evaluate.statistics import mean_curve, normal_interval
from torchhebb.evaluate.study import NOT_IN_CELLS, Cell, Quantity, Study, values
from torchhebb.nn import Network
from torchhebb.runs.baselines import BaselineName
from torchhebb.runs.run import Run

ONE_IMAGE_NOISE = 0.1
PROTOCOL = {"widths": (512, 256), "steps": 100, "lr": 1e-3}
ERROR = "mean squared error x 1000"

Decoded = dict[str, Any]
"""The outcome of a decoder: `errors` by std (mean, std over images), `pictures`, and the `shape` of the features."""


@dataclass(frozen=True)
class Reconstruction(Study[Method]):
    """Error of images decoded from frozen features: mean squared error of pixels in [0, 1], times 1000.

    There are two protocols for every method (`own`, a baseline, or the recipe of another run):

        <method>_one_image_<clean|noisy>_error        the decoder is fitted to one test image, as published; batch norms
                                                      use the statistics of that image, and the last block is decoded
        <method>_block<d>_<clean|noise_STD>_error     the decoder is fitted to training images, and the error is that on
                                                      test images; noise is added to the input of the encoder

    Two errors without a decoder serve as a comparison: `mean_image_error` of the mean training image, and
    `noisy_input_<STD>_error` of the noisy input itself.  Noise is not clipped and is the same for all methods; the
    target is always the clean image.  Intervals and the note `spread_over_images` are over test images.
    Raises UserError for settings out of range, blocks without maps, or a run of other images.
    Source: SPHeRe-2025, its released script for the first protocol.

    Example:
        >>> Reconstruction(baselines=("own", "random")).question
        'reconstruction'
    """

    question: ClassVar[str] = "reconstruction"
    keeps_cells: ClassVar[bool] = False
    quantities: ClassVar[dict[str, Quantity]] = {"error": Quantity(ERROR, "x 1e-3")}

    baselines: tuple[BaselineName, ...] = field(
        default=("own", "backpropagation", "random"), metadata=distinct(empty=True) | NOT_IN_CELLS
    )
    """Networks to decode, of the run's size."""
    others: tuple[str, ...] = field(default=(), metadata=NOT_IN_CELLS)
    """Folders of other runs on the same images whose networks are decoded too."""
    depths: tuple[int, ...] = field(default=(), metadata=each_at_least(1, empty=True) | NOT_IN_CELLS)
    """Numbers of blocks after which to decode; an empty list takes all."""
    widths: tuple[int, ...] = field(default=(512, 256), metadata=each_at_least(1))
    """Channels between the convolutions of the decoder; a decoder with fewer convolutions uses the last ones."""
    lr: float = field(default=1e-3, metadata=above(0))
    """Learning rate of Adam."""
    steps: int = field(default=100, metadata=at_least(1) | NOT_IN_CELLS)
    """Number of steps on the single image."""
    image: int = field(default=0, metadata=at_least(0) | NOT_IN_CELLS)
    """Index of the single image among the test images."""
    epochs: int = field(default=5, metadata=at_least(1))
    """Passes of the decoder over the training images."""
    batch_size: int = field(default=128, metadata=at_least(1))
    """Batch size of the training of the decoder."""
    train_images: int | None = field(default=None, metadata=at_least(1))
    """Number of training images, drawn once; None takes all."""
    test_images: int | None = field(default=None, metadata=at_least(1))
    """Number of test images, drawn once; None takes all."""
    noise: tuple[float, ...] = field(default=(0.05, 0.1, 0.2), metadata=distinct(above=0, empty=True))
    """Standard deviations of the noise on test images."""
    examples: int = field(default=8, metadata=at_least(0))
    """Number of images in the figures of decoded images, of the first seed; 0 draws none."""

    def check(self, run: Run) -> None:
        blocks = len(run.recipe.architecture.blocks)
        if any(not 1 <= depth <= blocks for depth in self.depths):
            raise UserError(f"depths must be from 1 to {blocks}, got {self.depths}")
        flat = [depth for depth in self._depths(run) if not run.recipe.architecture.blocks[depth - 1].puts_out_maps]
        if flat:
            raise UserError(f"depths must be of blocks that put out maps, got {flat}")
        if not 0 <= self.image < len(run.data.test):
            raise UserError(f"image must be from 0 to {len(run.data.test) - 1}, got {self.image}")
        if not self.baselines and not self.others:
            raise UserError("baselines and others must name at least one network")

    def variants(self, run: Run) -> dict[str, Method]:
        return {method.name: method for method in methods_of(run, self.baselines, self.others)}

    def cell(self, run: Run, variant: Method, seed: int) -> Cell:
        """`one_image`: the errors at each step, clean and noisy; `blocks`: the outcome of a decoder at each depth."""
        network = cache(partial(variant.network, seed))  # made once, and only if a part is missing
        key = {"method": variant.name, "identity": variant.identity, "seed": seed}
        one_image = self.keep(
            run,
            lambda: self._on_one_image(run, variant, network(), seed),
            **key,
            steps=self.steps,
            image=self.image,
        )
        blocks = [
            self.keep(run, partial(self._on_test_set, run, variant, network, seed, depth), **key, depth=depth)
            for depth in self._depths(run)
        ]
        words = {"words": variant.words, "published": variant.published}
        return words | {"one_image": one_image, "blocks": blocks}

    def findings(self, run: Run, cells: Mapping[str, Sequence[Cell]]) -> Iterator[Finding]:
        depths, images = self._depths(run), len(self._test(run))
        baselines = [self._baselines(run, seed) for seed in run.seeds]
        decoded: dict[str, list[Decoded]] = {}
        for name, of_seeds in cells.items():
            yield from self._of_one_image(run, name, of_seeds)
            for depth, blocks in zip(depths, zip(*values(of_seeds, "blocks"), strict=True), strict=True):
                decoded[f"{name}_block{depth}"] = list(blocks)
        for name, found in decoded.items():
            yield from self._of_test_set(run, name, found, images)
        for name in baselines[0]:
            yield self.measure(run, f"{name}_error", [seed[name] for seed in baselines], "error")
        yield Note("units", "mean squared error of pixels in [0, 1] times 1000; noise is not clipped")
        yield Note("test_images", images)
        spread = {
            name: {_key(std): fmean(_errors(found, std, 1)) for std in self._stds} for name, found in decoded.items()
        }
        yield Note("spread_over_images", spread)
        yield Note("feature_shapes", {name: found[0]["shape"] for name, found in decoded.items()})
        words = {name: of_seeds[0]["words"] for name, of_seeds in cells.items()}
        level = {name: fmean(seed[name] for seed in baselines) for name in baselines[0]}
        panels = [self._panel(std, words, depths, decoded, level) for std in self._stds]
        caption = (
            "Mean squared error x 1000 of images decoded from frozen features after each block, on test images; "
            "dashed and dotted: the mean image and the noisy input, which need no features."
        )
        yield Figure("errors", caption, draw_panels(panels, columns=4, share_y=True))
        yield from self._pictures(run, words, depths, decoded)

    @property
    def _stds(self) -> tuple[float, ...]:
        """Standard deviations of the noise, starting with clean images."""
        return (0.0, *self.noise)

    @property
    def _picture_stds(self) -> list[float]:
        """Clean images, and the published standard deviation or the largest one of the settings."""
        return [0.0, *([ONE_IMAGE_NOISE] if ONE_IMAGE_NOISE in self.noise else sorted(self.noise)[-1:])]

    def _depths(self, run: Run) -> list[int]:
        return sorted({*self.depths}) or list(range(1, len(run.recipe.architecture.blocks) + 1))

    def _test(self, run: Run) -> Images:
        return subsample(run.data.test, self.test_images)

    def _on_one_image(self, run: Run, method: Method, network: Network, seed: int) -> dict[str, list[float]]:
        """Errors on the single image before the first step and after each step, clean and noisy."""
        encoder = by_own_statistics(encoder_to(network, len(run.recipe.architecture.blocks)))
        image = run.data.test.images[self.image : self.image + 1].to(run.device) / 255.0
        errors = {}
        run.progress.start(f"seed {seed}: {method.words}: one image", 2, "decoders")
        for name, std in (("clean", 0.0), ("noisy", ONE_IMAGE_NOISE)):
            z = encode(encoder, add_noise(image, std, seed), run.precision)
            errors[name] = fit_one_image(self._decoder(run, z, seed), z, image, steps=self.steps, lr=self.lr)
            run.progress.advance(1)
        run.progress.finish()
        return errors

    def _on_test_set(self, run: Run, method: Method, network: Callable[[], Network], seed: int, depth: int) -> Decoded:
        """The errors on test images, for each noise, of a decoder that is fitted to training images."""
        test, encoder = self._test(run), encoder_to(network(), depth)
        z = encode(encoder, test.images[:1].to(run.device) / 255.0, run.precision)
        decoder = fit_decoder(
            self._decoder(run, z, seed),
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
        total, errors = len(test) * len(self._stds), {}
        run.progress.start(f"seed {seed}: {method.words}: images from block {depth}", total, "images")
        for std in self._stds:
            how: dict[str, Any] = {"seed": seed, "precision": run.precision, "device": run.device}
            each = image_errors(decoder, encoder, test, std=std, **how)
            errors[_key(std)] = [each.mean().item(), each.std(correction=0).item()]
            run.progress.advance(len(test))
        run.progress.finish()
        pictures = self._decoded(run, decoder, encoder, test, seed) if seed == run.seeds[0] else []
        return {"errors": errors, "pictures": pictures, "shape": list(z.shape[1:])}

    def _decoder(self, run: Run, z: Tensor, seed: int) -> Decoder:
        shape = run.recipe.architecture.input_shape
        return Decoder(tuple(z.shape[1:]), shape, widths=self.widths, seed=seed).to(run.device)

    @torch.no_grad()
    def _decoded(self, run: Run, decoder: Decoder, encoder: nn.Module, test: Images, seed: int) -> list[list[Any]]:
        """The first test images decoded without and with noise, as bytes."""
        x = test.images[: self.examples].to(run.device) / 255.0
        return [
            as_bytes(decoder(encode(encoder, add_noise(x, std, seed), run.precision))).tolist()
            for std in self._picture_stds
        ]

    def _baselines(self, run: Run, seed: int) -> dict[str, float]:
        """The errors of the mean image and of noisy inputs, which need no features."""
        test, train = self._test(run), subsample(run.data.train, self.train_images)
        mean = (train.images.sum(0, dtype=torch.int64).double() / (255 * len(train))).float()

        def same(x: Tensor) -> Tensor:
            return x

        errors = {"mean_image": image_errors(lambda x: mean.expand_as(x), same, test)}
        errors |= {f"noisy_input_{std:g}": image_errors(same, same, test, std=std, seed=seed) for std in self.noise}
        return {name: each.mean().item() for name, each in errors.items()}

    def _of_one_image(self, run: Run, name: str, of_seeds: Sequence[Cell]) -> Iterator[Finding]:
        comparable = all(getattr(self, setting) == value for setting, value in PROTOCOL.items())
        published = of_seeds[0]["published"] if comparable else None
        for number, inputs in enumerate(("clean", "noisy")):
            lines = [errors[inputs] for errors in values(of_seeds, "one_image")]
            measure = self.measure(run, f"{name}_one_image_{inputs}_error", [line[-1] for line in lines], "error")
            yield replace(measure, published=published[number]) if published else measure
            x = [float(step) for step in range(len(lines[0]))]
            yield mean_curve(f"{name} one image {inputs}", "steps of the decoder", ERROR, x, lines)

    def _of_test_set(self, run: Run, name: str, found: Sequence[Decoded], images: int) -> Iterator[Finding]:
        for std in self._stds:
            errors, spread = _errors(found, std), fmean(_errors(found, std, 1))
            inputs = f"noise_{std:g}" if std else "clean"
            measure = self.measure(run, f"{name}_{inputs}_error", errors, "error")
            yield replace(measure, interval=normal_interval(fmean(errors), spread, images))
        lines = list(zip(*(_errors(found, std) for std in self._stds), strict=True))
        yield mean_curve(name.replace("_", " "), "std of the noise", ERROR, self._stds, lines)

    def _panel(
        self,
        std: float,
        words: Mapping[str, str],
        depths: Sequence[int],
        decoded: Mapping[str, Sequence[Decoded]],
        level: Mapping[str, float],
    ) -> Panel:
        """Errors against depth at one noise, one line per method, with the errors that need no features as levels."""
        curves = {}
        for name, label in words.items():
            columns = [_errors(decoded[f"{name}_block{depth}"], std) for depth in depths]
            curves[label] = mean_curve(name, "features after block", ERROR, depths, list(zip(*columns, strict=True)))
        levels = {"mean image": level["mean_image"]} | ({"noisy input": level[f"noisy_input_{std:g}"]} if std else {})
        title = f"noise of std {std:g}" if std else "clean images"
        return Panel(title, curves, levels, ticks={depth: str(depth) for depth in depths})

    def _pictures(
        self, run: Run, words: Mapping[str, str], depths: Sequence[int], decoded: Mapping[str, Sequence[Decoded]]
    ) -> Iterator[Figure]:
        seed, shape = run.seeds[0], run.recipe.architecture.input_shape
        x = self._test(run).images[: self.examples] / 255.0
        for number, std in enumerate(self._picture_stds if self.examples else []):
            rows = {"original": as_bytes(x)} | ({"input": as_bytes(add_noise(x, std, seed))} if std else {})
            for name, label in words.items():
                for depth in depths:
                    pixels = decoded[f"{name}_block{depth}"][0]["pictures"][number]
                    rows[f"{label}, block {depth}"] = torch.tensor(pixels, dtype=torch.uint8).view(-1, *shape)
            inputs = f"with noise of std {std:g} on the input" if std else "from clean images"
            caption = f"Test images as they were, and decoded from the frozen features of each block, {inputs}."
            yield Figure("noisy" if std else "clean", caption, picture_rows(rows))


def _key(std: float) -> str:
    """The key of a standard deviation in JSON."""
    return f"{std:g}"


def _errors(found: Sequence[Decoded], std: float, part: int = 0) -> list[float]:
    """The mean error of every seed at one noise or, with part 1, its standard deviation over images."""
    return [decoded["errors"][_key(std)][part] for decoded in found]
