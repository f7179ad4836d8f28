"""Measurements of networks during ordinary training."""

import sys
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from torchhebb.data import Images
from torchhebb.nn import Network
from torchhebb.progress import SILENT, Progress
from torchhebb.train import Learning, Supervised
from torchhebb.train.device import Precision
from torchhebb.train.learn import learn_images
from torchhebb.train.loop import At
from torchhebb.train.supervised import fit_supervised

_EVERY: Container[int] = range(sys.maxsize)


def fit(
    model: nn.Sequential,
    images: Images,
    plan: Learning | Supervised,
    look: Callable[[int], None],
    *,
    at: Container[int] = _EVERY,
    seed: int,
    precision: Precision,
    progress: Progress = SILENT,
) -> None:
    """Train a model and call `look(steps)` after the numbers of steps in `at`, 0 among them; by default after all.

    A plan of `Learning` trains the network, the model's first module, without labels; one of `Supervised` trains the
    network and those parameters above it that have gradients.
    """
    network = model[0]
    assert isinstance(network, Network)
    if 0 in at:
        look(0)
    on_step = (At(_After(at), look),)
    if isinstance(plan, Supervised):
        network.requires_grad_(True)
        fit_supervised(model, images, plan, seed=seed, precision=precision, on_step=on_step, progress=progress)
    else:
        learn_images(network, images, plan, seed=seed, precision=precision, on_step=on_step, progress=progress)


@dataclass(frozen=True)
class _After:
    """Numbers of steps but 0: at 0, `fit` looks before the loop draws first weights from the images."""

    steps: Container[int]

    def __contains__(self, step: object) -> bool:
        return step != 0 and step in self.steps


def samples_seen(images: int, plan: Learning | Supervised, blocks: int) -> list[int]:
    """The number of samples seen after 0, 1, 2, ... steps of a training; greedy stages follow each other.

    >>> samples_seen(5, Learning(batch_size=2, epochs=2), 1)
    [0, 2, 4, 5, 7, 9, 10]
    """
    stages = blocks if isinstance(plan, Learning) and plan.order == "greedy" else 1
    of_pass = [*range(plan.batch_size, images, plan.batch_size), images]
    return [0, *(number * images + seen for number in range(stages * plan.epochs) for seen in of_pass)]


@contextmanager
def at_rest(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients, to measure a model in the middle of its training."""
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            model.eval()
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
