"""Recipes drawn at random, and few images of any shape: a run finishes, or one line is said before it learns."""

import random
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np

from tests.faults.campaign import Case, Surface
from tests.watch import Watch
from torchhebb.data import Augment, Store, from_arrays
from torchhebb.errors import UserError
from torchhebb.nn import Architecture, Block, ConvBlock, LinearBlock, Pool, SPHeReConvBlock, Tap, WhitenedBlock
from torchhebb.nn.blocks.activation import Activation
from torchhebb.nn.conv import PaddingMode
from torchhebb.nn.plastic import Init
from torchhebb.readouts import Labels, Logistic, Neighbors, Ridge, WideRidge
from torchhebb.rules import (
    BCM,
    Foldiak,
    GainShape,
    HardHebb,
    Instar,
    Oja,
    OjaSubspace,
    RankedHebb,
    Rule,
    Sanger,
    SoftHebb,
)
from torchhebb.runs import TrainOptions, run_recipe
from torchhebb.train import Learning, Readout, Recipe, Supervised
from torchhebb.train.recipe import AdamW, NormAdaptive


def draw_rule(draw: random.Random) -> Rule:
    return draw.choice(
        (
            SoftHebb(draw.choice((0.5, 1.0, 50.0)), draw.random() < 0.5, rectify=draw.random() < 0.3),
            HardHebb(),
            RankedHebb(draw.choice((2, 3, 5))),
            GainShape(),
            Instar(),
            Oja(),
            Sanger(),
            OjaSubspace(),
            Foldiak(),
            BCM(),
        )
    )


def draw_pool(draw: random.Random) -> Pool | None:
    size = draw.choice((1, 2, 3, 4))
    kind = draw.choice(("max", "avg"))
    return draw.choice((None, Pool(kind, size, draw.choice((1, 2, 3)), draw.randint(0, size // 2))))


def draw_block(draw: random.Random) -> Block:
    rule, pool, size = draw_rule(draw), draw_pool(draw), draw.choice((1, 1, 2, 3, 3, 5))
    neurons = draw.choice((1, 2, 3, 6, 8))
    common: dict[str, Any] = {"lr": draw.choice((0.0, 0.01, 0.1)), "lr_power": draw.choice((0.0, 0.5)),
                              "init": draw.choice(get_args(Init)), "init_radius": draw.choice((0.5, 3.0, 25.0)),
                              "power": draw.choice((0.5, 1.0, 2.0))}  # fmt: skip
    activation = {"activation": draw.choice(get_args(Activation)), "normalize": draw.random() < 0.7}
    kind = draw.choice(("conv", "conv", "linear", "linear", "sphere", "whitened"))
    if kind == "conv":
        return ConvBlock(
            neurons, size, rule, pool=pool, padding=draw.choice((None, None, 0, 1, 3)),
            padding_mode=draw.choice(get_args(PaddingMode)), stride=draw.choice((1, 1, 2, 5)),
            dilation=draw.choice((1, 1, 2)), groups=draw.choice((1, 1, 1, 2, 3)), **common, **activation,
        )  # fmt: skip
    if kind == "linear":
        return LinearBlock(neurons, rule, bias=draw.random() < 0.3, **common, **activation)
    if kind == "sphere":
        return SPHeReConvBlock(
            neurons, draw.choice((1, 2, 8)), structure=draw.choice((0.0, 1.0)),
            orthogonality=draw.choice((0.0, 0.8)), residual=draw.random() < 0.4, kernel_size=size, pool=pool,
        )  # fmt: skip
    return WhitenedBlock(
        neurons, size, rule, pool=pool, padding=draw.choice((0, 0, 1)), threshold=draw.choice((0.0, 1.0)),
        split=draw.random() < 0.3, project=draw.choice((None, None, 1, 4)), components=draw.choice((None, None, 1, 5)),
        lateral=draw.random() < 0.1, floor=draw.choice((0.0, 0.5)), remove_mean=draw.random() < 0.6, **common,
    )  # fmt: skip


def draw_readout(draw: random.Random) -> Any:
    return draw.choice(
        (
            Readout(epochs=1, batch_size=draw.choice((1, 2, 64))),
            Readout(epochs=1, standardize=True),
            Readout(epochs=1, online=True),
            Readout(epochs=1, augment=Augment(flip=True)),
            Ridge(),
            WideRidge(),
            Logistic(iterations=3),
            Neighbors(),
            Labels(),
        )
    )


def draw_recipe(draw: random.Random, shape: tuple[int, int, int]) -> Recipe:
    """Raises UserError, as the classes do, for settings that cannot be together."""
    blocks = tuple(draw_block(draw) for _ in range(draw.choice((1, 1, 1, 2, 2, 3))))
    local = any(block.has_local_loss for block in blocks)
    optimizer = AdamW() if local or draw.random() < 0.1 else NormAdaptive()
    order = draw.choice(("joint", "joint", "greedy", "pipeline"))
    augment = Augment(draw.choice((0, 0, 1)), draw.random() < 0.2, draw.choice((1.0, 1.0, 0.5)))
    taps = tuple(Tap(n, draw.choice((1, 2))) for n in range(1, len(blocks) + 1)) if draw.random() < 0.1 else ()
    architecture = Architecture(
        shape,
        blocks,
        unit_norm=draw.random() < 0.2,
        feature_pool=draw.choice((None, None, 1, 2)) if not taps else None,
        taps=taps,
        flip_average=draw.random() < 0.1,
    )
    learning = Learning(
        draw.choice((1, 2, 3, 5, 50)),
        draw.choice((0, 1, 1, 2)),
        order,
        optimizer,
        schedule=draw.choice(("constant", "linear", "cosine")),
        fraction=draw.choice((1.0, 1.0, 0.3)),
        augment=augment if order != "greedy" else Augment(),
        samples=draw.choice((1, 4, 1000)),
    )
    baselines = tuple(name for name in ("random", "uncalibrated", "raw", "backpropagation") if draw.random() < 0.3)
    return Recipe(
        "drawn",
        "digits",
        architecture,
        learning,
        draw_readout(draw),
        baselines=baselines,  # type: ignore[arg-type]
        supervised=Supervised(epochs=1, batch_size=draw.choice((1, 2, 5, 64))),
        seeds=draw.choice((1, 1, 2)),
    )


def buildable(draw: random.Random, shape: tuple[int, int, int]) -> Recipe:
    """A recipe that can be made, after up to 50 draws; nine of ten times one whose network can be built as well."""
    strict = draw.random() < 0.9
    for _ in range(50):
        try:
            recipe = draw_recipe(draw, shape)
            if strict:
                recipe.architecture.output_shape()
            return recipe
        except (UserError, ValueError, RuntimeError):
            continue
    return draw_recipe(draw, shape)


OF_THE_NUMBERS = ("is not finite", "features must be finite", "vary in fewer than")
"""Words of errors that only the numbers of the images, or of the weights, can bring about."""

SHAPES = ((1, 8, 8), (1, 1, 1), (3, 1, 1), (1, 1, 5), (3, 4, 2), (1, 2, 2), (3, 6, 9), (1, 12, 4))


def prepare(folder: Path) -> None:
    pass


def draw(ready: None, random: random.Random, folder: Path) -> Case:
    shape, images = random.choice(SHAPES), random.choice((2, 3, 7, 11, 16, 21))
    words = f"{images} images of {shape}"
    return Case(f"a run on {words}", partial(trained, random, shape, images, folder), f"{shape[1]} x {shape[2]} pixels")


def trained(random: random.Random, shape: tuple[int, int, int], images: int, folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (images, shape[0], *shape[1:]), np.uint8)
    source = from_arrays(
        pixels[:, 0] if shape[0] == 1 else pixels.transpose(0, 2, 3, 1) if 1 in shape[1:] else pixels,
        None if random.random() < 0.15 else np.arange(images) % random.choice((1, 2, 3)),
    )
    options = TrainOptions(device="cpu", precision="float32", ensemble=random.choice((1, 1, 2)))
    recipe, progress = buildable(random, shape), Watch()
    try:
        run_recipe(
            recipe, options, folder=folder / "run", source=source, store=Store(folder / "store"), progress=progress
        )
    except UserError as error:
        begun = any("learning" in task.label for task in progress.tasks)
        if begun and not any(words in str(error) for words in OF_THE_NUMBERS):
            raise RuntimeError(f"after learning had begun: {error}") from error
        raise


SURFACES = (
    Surface(
        "recipes",
        "Hostile inputs",
        "Training of recipes drawn from all blocks, rules, orders and readouts, on 2 to 21 images down to 1 x 1 pixel. "
        "Right: it finishes; a refusal comes before learning begins.",
        prepare,
        draw,
        cases=6000,
        quick=10,
    ),
)
