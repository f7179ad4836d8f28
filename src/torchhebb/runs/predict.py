"""Classification of a user's images with a trained run."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch

from torchhebb.data import open_inputs
from torchhebb.errors import UserError
from torchhebb.nn import Network, load
from torchhebb.runs.folder import finished_result, read_classes, read_config, read_preprocessing

BATCH = 64


@dataclass(frozen=True)
class Prediction:
    """One image and its most probable classes with their probabilities."""

    path: Path
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]


def predict_files(run: Path, images: Sequence[Path | str], *, top: int = 1) -> list[Prediction]:
    """Preprocess images as in training, and classify them.

    Args: images, files, folders, or sources such as parquet:PATH.
    Raises UserError for a folder without a finished run, a run that learned without labels, or a file that is no image.
    """
    read_config(run)
    classes = read_classes(run)
    if not classes:
        raise UserError(f"{run} learned without labels and has no classes: use torchhebb embed for its features")
    if not 1 <= top <= len(classes):
        raise UserError(f"top must lie between 1 and the number of classes ({len(classes)}), got {top}")
    finished_result(run)
    network = load(run)
    assert isinstance(network, Network)
    network.classifier.eval()
    return list(_predicted(run, network, classes, images, top))


@torch.no_grad()
def _predicted(
    run: Path, network: Network, classes: Sequence[str], images: Sequence[Path | str], top: int
) -> Iterator[Prediction]:
    preprocessing = read_preprocessing(run)
    with closing(open_inputs(images).batches(preprocessing, BATCH)) as batches:
        for batch in batches:
            probabilities = torch.softmax(network.classifier(batch.pixels / 255.0), 1)
            values, indices = probabilities.topk(top, 1)
            for place, index, value in zip(batch.places, indices.tolist(), values.tolist(), strict=True):
                yield Prediction(Path(place), tuple(classes[i] for i in index), tuple(value))
