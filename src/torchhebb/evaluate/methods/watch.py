"""Looking at networks while the ordinary training loops train them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from torchhebb.data import Images
from torchhebb.nn import Network
from torchhebb.train import Learning, Supervised
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.device import Precision
from torchhebb.train.learn import learn_images
from torchhebb.train.supervised import fit_supervised


class Watch(Checkpoint):
    """A checkpoint that keeps nothing: the training loops ask it after every step, and it calls `look(steps done)`."""

    def __init__(self, look: Callable[[int], None]) -> None:
        super().__init__()
        self.look, self.steps = look, 0

    @property
    def due(self) -> bool:
        return True

    def save(self, task: str, position: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self.steps += 1
        self.look(self.steps)


def fit(
    model: nn.Sequential,
    images: Images,
    plan: Learning | Supervised,
    look: Callable[[int], None],
    *,
    seed: int,
    precision: Precision,
) -> None:
    """Train a network and what stands above it, and call `look(steps done)` after every step.

    By Learning the network alone learns, without labels; by Supervised, the network and what above it has gradients.
    """
    network = model[0]
    assert isinstance(network, Network)
    if isinstance(plan, Supervised):
        network.requires_grad_(True)
        fit_supervised(model, images, plan, seed=seed, precision=precision, checkpoint=Watch(look))
    else:
        learn_images(network, images, plan, seed=seed, precision=precision, checkpoint=Watch(look))


def samples_seen(images: int, plan: Learning | Supervised, blocks: int) -> list[int]:
    """How many samples a training has seen after 0, 1, 2, ... steps; greedy stages follow each other.

    A pipeline takes a step more for every block but the first, without new samples, until it has run empty.

    >>> samples_seen(5, Learning(batch_size=2, epochs=2), 1)
    [0, 2, 4, 5, 7, 9, 10]
    """
    stages = blocks if isinstance(plan, Learning) and plan.order == "greedy" else 1
    of_pass = [*range(plan.batch_size, images, plan.batch_size), images]
    drained = [plan.epochs * images] * (blocks - 1) if isinstance(plan, Learning) and plan.order == "pipeline" else []
    return [0, *(number * images + seen for number in range(stages * plan.epochs) for seen in of_pass), *drained]


@contextmanager
def at_rest(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients, to look at a model in the middle of its training."""
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            model.eval()
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
