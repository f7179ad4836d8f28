"""The recipe for a user's images: whitened SoftHebb blocks chosen by size and number of images, and free memory.

What was chosen is said in three lines, and every choice is a flag of `torchhebb train`.
"""

from dataclasses import dataclass

import torch

from torchhebb.data import Preprocessing, Survey
from torchhebb.memory import free_bytes
from torchhebb.nn import Architecture, Pool, Tap, WhitenedBlock
from torchhebb.readouts import WideRidge
from torchhebb.rules import SoftHebb
from torchhebb.train import Learning, Readout, Recipe

NAME = "own-images"
LARGEST = 64
"""Photographs are scaled to at most this: what the first two blocks see of them changes little above it."""
STEPS = 400
"""So many batches at least does a block learn from, in passes over the images."""
_BATCH = 10
_POOL = Pool("avg", kernel_size=3, stride=2)


@dataclass(frozen=True)
class OwnImages:
    """A recipe, how its images are brought to one size, and the three lines that say why."""

    recipe: Recipe
    preprocessing: Preprocessing
    reasons: tuple[str, str, str]


def own_images(
    data: str, seen: Survey, preprocessing: Preprocessing | None = None, *, free: int | None = None
) -> OwnImages:
    """The recipe for a source and what a survey found of it.

    Without labels the features are sums over the whole image: what is in it, wherever it lies.  With labels they keep
    a 4 x 4 grid of places, and a ridge reads them out.

    Args: data, the name of the source; preprocessing, where the size is chosen already; free, bytes of memory, by
    default what the CPU has.

    >>> seen = Survey(1000, 3, 0, ("a.jpg", (500, 375)), ("b.jpg", (300, 400)), (500, 375))
    >>> print(*own_images("folder:photos", seen, free=8 << 30).reasons, sep="\\n")
    images of 3 x 64 x 64: 1,000 photographs of about 500x375 in several sizes, their middle scaled
    2 blocks of 256 and 256 neurons on 3x3 patches: by the number of images and their size
    no labels: features are sums over the whole image, learned in 4 passes; nothing is tested
    """
    framed = preprocessing or fitting_size(seen)
    free = free_bytes(torch.device("cpu")) if free is None else free
    side, grid = min(framed.height, framed.width), 4 if seen.classes else 1
    patch = 3 if side < 16 else (6 if seen.classes and side >= 32 else 3)
    deep = side >= 24
    neurons = _neurons(seen.images, grid, 2 if deep else 1, free)
    first = WhitenedBlock(
        neurons,
        patch,
        SoftHebb(150.0, anti_hebbian=False),
        threshold=0.5 if seen.classes else 1.5,
        pool=_POOL if side >= 16 else None,
        floor=2.0,
        remove_mean=bool(seen.classes),
        lr=0.02,
    )
    inputs = min(64, neurons)
    second = WhitenedBlock(
        neurons,
        3,
        SoftHebb(100.0, anti_hebbian=False),
        threshold=0.5 if seen.classes else 1.5,
        project=inputs,
        components=min(256, 9 * inputs),
        remove_mean=False,
        lr=0.02,
    )
    blocks = (first, second) if deep else (first,)
    taps = tuple(Tap(number, grid) for number in range(1, len(blocks) + 1))
    passes = max(1, -(-STEPS * _BATCH // seen.images))
    recipe = Recipe(
        NAME,
        data,
        Architecture(framed.shape, blocks, taps=taps, tap_power=0.5),
        learning=Learning(batch_size=_BATCH, epochs=passes, order="greedy", schedule="linear", fraction=_share(seen)),
        # A closed form needs all features in memory, which a stream does not have.
        readout=Readout(epochs=5, dropout=0.0) if seen.streamed else WideRidge((1e-2, 3e-2, 1e-1, 3e-1, 1.0)),
    )
    return OwnImages(recipe, framed, _reasons(seen, framed, recipe))


def fitting_size(seen: Survey, fit: str = "crop") -> Preprocessing:
    """Small images of one size as they are; others as squares of their shorter side, at most LARGEST."""
    width, height = seen.first[1]
    if seen.other is None and max(width, height) <= LARGEST:
        return seen.preprocessing(None)
    return seen.preprocessing(min(LARGEST, *seen.typical), fit)  # type: ignore[arg-type]


def _neurons(images: int, grid: int, depth: int, free: int) -> int:
    """A power of 2: more of them for more images, as long as the features of all fill a quarter of the memory."""
    wanted = 64 if images < 200 else 128 if images < 1000 else 256 if images < 20_000 else 512
    while wanted > 16 and images * wanted * depth * grid**2 * 4 > free / 4:
        wanted //= 2
    return wanted


def _share(seen: Survey) -> float:
    """Patches of 20,000 images are as good as those of more."""
    return min(1.0, 20_000 / seen.images)


def _reasons(seen: Survey, framed: Preprocessing, recipe: Recipe) -> tuple[str, str, str]:
    width, height = seen.typical
    several = "" if seen.other is None else " in several sizes"
    ways = {"crop": "their middle scaled", "squash": "all of each scaled", "pad": "all of each scaled and padded"}
    kept = framed.size == seen.typical and seen.other is None
    how = "as they are" if kept else ways[framed.fit]
    kind = "photographs" if framed.channels == 3 else "grey images"
    blocks = recipe.architecture.blocks
    neurons = " and ".join(str(block.channels) for block in blocks)  # type: ignore[attr-defined]
    patch = blocks[0].kernel_size  # type: ignore[attr-defined]
    passes = recipe.learning.epochs
    learned = f"learned in {passes} pass{'es' if passes > 1 else ''}"
    if recipe.learning.fraction < 1:
        learned += f" over a fraction of {recipe.learning.fraction:.2g} of the images"
    pixels = " x ".join(map(str, framed.shape))
    if seen.classes:
        features = f"{seen.classes} classes: features keep a 4x4 grid of places, {learned}, then a linear readout"
    else:
        features = f"no labels: features are sums over the whole image, {learned}; nothing is tested"
    number = f"{len(blocks)} block{'s' if len(blocks) > 1 else ''} of {neurons} neurons"
    return (
        f"images of {pixels}: {seen.images:,} {kind} of about {width}x{height}{several}, {how}",
        f"{number} on {patch}x{patch} patches: by the number of images and their size",
        features,
    )
