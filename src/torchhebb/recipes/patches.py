"""Baselines for the best recipes: ridge regression on random patches that were not learned."""

from dataclasses import dataclass

from torchhebb.nn import Architecture, Tap
from torchhebb.readouts import WideRidge
from torchhebb.recipes.best import first_block
from torchhebb.rules import HardHebb, Rule, SoftHebb
from torchhebb.train import Learning, Recipe

PLAN = Learning(order="greedy", schedule="linear")
"""How neurons learn where they are compared with random patches: one pass, at falling rates."""


@dataclass(frozen=True)
class Learner:
    """How the neurons of a block of patches come about."""

    words: str
    rule: Rule | None = None
    """What they learn by; None leaves them the patches that they start from."""


LEARNERS = {
    "random": Learner("random patches"),
    "soft": Learner("SoftHebb without anti-Hebbian losers", SoftHebb(150.0, anti_hebbian=False)),
    "soft60": Learner("the same at inverse temperature 60", SoftHebb(60.0, anti_hebbian=False)),
    "anti_hebbian": Learner("SoftHebb", SoftHebb(150.0)),
    "hard": Learner("hard WTA", HardHebb()),
}
"""What `evaluate width` compares."""


def cifar10_patches() -> Recipe:
    """CIFAR-10, 64 whitened patches that nothing has learned, mirror images averaged, under a ridge.

    `evaluate width` adds neurons to it: see docs/papers/best.md for the accuracies.
    """
    return _patches("patches-cifar10", "cifar10")


def cifar100_patches() -> Recipe:
    """CIFAR-100, otherwise as `cifar10_patches`."""
    return _patches("patches-cifar100", "cifar100")


def _patches(name: str, data: str) -> Recipe:
    return Recipe(
        name,
        data,
        Architecture((3, 32, 32), (first_block(64),), taps=(Tap(1, 4),), tap_power=0.5, flip_average=True),
        learning=Learning(epochs=0),
        readout=WideRidge(strengths=(3e-2, 1e-1, 3e-1)),
        baselines=(),
    )


RECIPES = (cifar10_patches, cifar100_patches)
