"""What the features of the recipe own-images are good for, beside raw pixels, random weights and a colour histogram.

    python benchmarks/bench_own_images.py --photos FOLDER --signs FOLDER

Photos, without labels: of each two boxes are cut at random (25 to 100 % of its area, aspect 3/4 to 4/3); how often is
the partner of a box the most similar of all boxes of the other kind?  Similarity is the cosine of features less their
mean, as they are and on 128 principal components of unit variance fitted on the whole photos.
Signs, with labels: a logistic regression on standardised features, five folds; its strength is the best of three.
Every representation is treated alike.  Random weights have the whitening of the recipe: Gaussian ones, and patches of
the images, which learning starts from.  docs/guides/own_images.md says which photographs these are and what was found.
"""

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from arguments import parse
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from torchhebb.data import Images, find_source, open_inputs, survey
from torchhebb.data.batches import crop_boxes
from torchhebb.data.decode import read_header, read_pixels
from torchhebb.embedding import embed
from torchhebb.embedding.projection import fit_projection
from torchhebb.nn import Network, load
from torchhebb.progress_display import make_progress
from torchhebb.recipes.own_images import OwnImages, own_images
from torchhebb.runs import TrainOptions, run_recipe
from torchhebb.train.calibrate import calibrate

LEAST_AREA = 0.25
COMPONENTS = 128
STRENGTHS = (1e-3, 1e-2, 1e-1)
BINS = 8

Represent = Callable[[Tensor], Tensor]
"""uint8 images (N, C, H, W) to features (N, F)"""


@dataclass(frozen=True)
class Settings:
    """The features of own-images beside four simpler representations."""

    photos: Path | None = None
    """A folder of photographs; their classes are not looked at."""
    signs: Path | None = None
    """A folder with one folder for each class."""
    most: int | None = None
    """Take so many photographs, evenly over all."""
    seed: int = 0


def main(settings: Settings) -> None:
    progress = make_progress()
    try:
        if settings.photos is not None:
            find_partners(settings.photos, settings, progress)
        if settings.signs is not None:
            classify(settings.signs, settings, progress)
    finally:
        progress.close()


def find_partners(folder: Path, settings: Settings, progress: object) -> None:
    """Print how often the other box of a photograph is found."""
    chosen = plan(folder, labelled=False)
    images = open_inputs([folder]) if settings.most is None else open_inputs([folder]).evenly(settings.most)
    generator, framed = torch.Generator().manual_seed(settings.seed), chosen.preprocessing
    boxes: list[np.ndarray] = []
    for place, content, _ in images.records():
        width, height = read_header(place, content)[1]
        cuts = crop_boxes(height, width, LEAST_AREA, 2, generator).tolist()
        boxes.append(np.stack([read_pixels(place, content, framed, partial(inside, cut)) for cut in cuts]))
    one, other = torch.from_numpy(np.stack(boxes)).unbind(1)
    whole = torch.cat([batch.pixels for batch in images.batches(framed, 64)])
    print(f"\n{len(one):,} photographs, {100 / len(one):.2g} % by chance")
    print(f"\n| features | width | found, % | on {COMPONENTS} components, % |\n|---|---|---|---|")
    for name, represent in representations(chosen, whole, settings.seed, progress).items():
        first, second, fitted = represent(one), represent(other), represent(whole)
        projection = fit_projection(fitted, min(COMPONENTS, fitted.shape[1], len(fitted) - 1))
        plain, projected = found(first, second), found(projection(first), projection(second))
        print(f"| {name} | {first.shape[1]:,} | {plain:.1f} | {projected:.1f} |", flush=True)


def classify(folder: Path, settings: Settings, progress: object) -> None:
    """Print the accuracies of a logistic regression on every representation."""
    chosen = plan(folder, labelled=True)
    batches = list(open_inputs([folder]).batches(chosen.preprocessing, 64))
    pixels = torch.cat([batch.pixels for batch in batches])
    labels = np.array([label for batch in batches for label in batch.labels])
    print(f"\n{len(pixels):,} images of {labels.max() + 1} classes")
    print("\n| features | width | accuracy, % |\n|---|---|---|")
    for name, represent in representations(chosen, pixels, settings.seed, progress).items():
        features = represent(pixels).numpy()
        scores = max((score(features, labels, strength) for strength in STRENGTHS), key=np.mean)
        print(f"| {name} | {features.shape[1]:,} | {100 * scores.mean():.1f} ± {100 * scores.std():.1f} |", flush=True)


def plan(folder: Path, *, labelled: bool) -> OwnImages:
    source = find_source(f"folder:{folder}")
    seen = survey(source)
    if bool(seen.classes) != labelled:
        raise SystemExit(f"{folder} must have {'classes' if labelled else 'no classes'}")
    return own_images(source.name, seen)


def representations(chosen: OwnImages, pixels: Tensor, seed: int, progress: object) -> dict[str, Represent]:
    """Every representation by its name; those of networks take their whitening from `pixels`."""
    architecture = chosen.recipe.architecture
    gaussian = architecture.with_blocks(lambda block: block.with_settings(init="normal"))
    images = Images(pixels, torch.full((len(pixels),), -1))
    samples = chosen.recipe.learning.samples
    networks = {
        "own-images, learned": learned(chosen, progress),
        "the same network, random patches": calibrate(architecture.build(seed), images, seed=seed, samples=samples),
        "the same network, random weights": calibrate(gaussian.build(seed), images, seed=seed, samples=samples),
    }
    return {
        **{name: partial(embed, network) for name, network in networks.items()},
        "raw pixels": lambda x: x.flatten(1).float(),
        "colour histogram": histogram,
    }


def learned(chosen: OwnImages, progress: object) -> Network:
    """The network of the recipe, trained in a folder that is removed afterwards."""
    framed = chosen.preprocessing
    options = TrainOptions(precision="float32", size=framed.width if framed.width == framed.height else None)
    with tempfile.TemporaryDirectory() as folder:
        run_recipe(chosen.recipe, options, folder=Path(folder), progress=progress)  # type: ignore[arg-type]
        network = load(Path(folder) / "model.safetensors")
    assert isinstance(network, Network)
    return network.eval()


def inside(cut: list[float], width: int, height: int) -> tuple[float, float, float, float]:
    """A box within the image, in spite of rounding."""
    left, top, right, bottom = cut
    return left, top, min(right, width), min(bottom, height)


def histogram(x: Tensor) -> Tensor:
    """Roots of the counts of 8 x 8 x 8 colours, or of 8 greys: their cosine is the Bhattacharyya coefficient."""
    parts = (x.long() * BINS) // 256
    colours = sum(part * BINS**place for place, part in enumerate(parts.unbind(1)))
    assert isinstance(colours, Tensor)
    counts = [torch.bincount(image.flatten(), minlength=BINS ** x.shape[1]) for image in colours]
    return torch.stack(counts).float().sqrt()


def found(one: Tensor, other: Tensor) -> float:
    """How often, in percent, row i of one is the most similar to row i of the other, both ways."""
    mean = torch.cat([one, other]).mean(0)
    first, second = (torch.nn.functional.normalize(x - mean, dim=1) for x in (one, other))
    similarity, rows = first @ second.T, torch.arange(len(one))
    return 50 * sum((similarity.argmax(dim) == rows).double().mean().item() for dim in (0, 1))


def score(features: np.ndarray, labels: np.ndarray, strength: float) -> np.ndarray:
    """Accuracies of the five folds."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=500))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of features that never vary, and of iterations: all are treated alike
        return cross_val_score(model, features, labels, cv=folds)


if __name__ == "__main__":
    main(parse(Settings))
