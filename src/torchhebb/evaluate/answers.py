"""Right and wrong answers on test images, as kept with a run, with accuracies and paired differences."""

from collections.abc import Sequence

import torch
from torch import Tensor

from torchhebb.evaluate.statistics import mean_interval
from torchhebb.train import Measure
from torchhebb.train.wilson import wilson


def to_letters(right: Tensor) -> str:
    """Right (1) or wrong (0) answers on images (N,), as one character per image.

    >>> to_letters(torch.tensor([True, False]))
    '10'
    """
    return "".join("01"[answer] for answer in right.tolist())


def from_letters(answers: Sequence[str]) -> Tensor:
    """Right or wrong answers (networks, images) from their characters.

    >>> from_letters(["10", "11"]).tolist()
    [[True, False], [True, True]]
    """
    return torch.tensor([[letter == "1" for letter in answer] for answer in answers])


def accuracy(name: str, right: Tensor) -> Measure:
    """Accuracy in % of right or wrong answers (seeds, images), with the 95 % Wilson interval over images.

    >>> accuracy("accuracy", torch.tensor([[True, False]])).values
    (50.0,)
    """
    values = (100 * right.double().mean(1)).tolist()
    return Measure(name, "%", tuple(values), None, wilson(values, right.shape[1]))


def points(name: str, gained: Tensor) -> Measure:
    """Mean gain in points (seeds, images), one value per seed, with the paired 95 % interval over images.

    >>> points("gain", torch.tensor([[100.0, 0.0], [0.0, 0.0]])).values
    (50.0, 0.0)
    """
    return Measure(name, "points", tuple(gained.mean(1).tolist()), None, mean_interval(gained.mean(0)))
