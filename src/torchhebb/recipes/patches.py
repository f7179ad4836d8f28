"""Baselines for the best recipes: ridge regression on random patches that were not learned."""

from dataclasses import dataclass, replace

from torchhebb.nn import Architecture, Tap
from torchhebb.readouts import WideRidge
from torchhebb.recipes.best import POOL, Part, each_block, first_block, read_at
from torchhebb.rules import GainShape, HardHebb, Rule, SoftHebb
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
    "gain_shape": Learner("gain-shape quantisation", GainShape()),
}
"""How the neurons come about that `evaluate width` compares."""


CHANGES = {
    "none": Part("as it is"),
    **{f"patches_{side}": Part(f"patches of {side} x {side}", each_block(kernel_size=side)) for side in (4, 5, 8)},
    **{
        f"pool_{side}": Part(f"pooled in windows of {side} x {side}", each_block(pool=replace(POOL, kernel_size=side)))
        for side in (5, 7, 9, 11)
    },
    **{f"grid_{side}": Part(f"averaged to {side} x {side}", read_at(Tap(1, side))) for side in (2, 3, 5, 6)},
    "shrinkage_low": Part("whitening shrunk by 0.03", each_block(shrinkage=0.03)),
    "shrinkage_high": Part("whitening shrunk by 0.3", each_block(shrinkage=0.3)),
    "threshold_0": Part("no threshold", each_block(threshold=0.0)),
    "threshold_1": Part("threshold of one standard deviation", each_block(threshold=1.0)),
    "no_floor": Part("flat patches of full length", each_block(floor=0.0)),
    "one_view": Part("without the mirror image", lambda architecture: replace(architecture, flip_average=False)),
    "no_root": Part("without the root", lambda architecture: replace(architecture, tap_power=1.0)),
}
"""What `evaluate width` changes, one at a time."""


def cifar10_patches() -> Recipe:
    """CIFAR-10, 64 whitened patches that nothing has learned, mirror images averaged, under a ridge.

    `evaluate width` adds neurons to it: see docs/papers/best.md for the accuracies.
    """
    return _patches("patches-cifar10", "cifar10")


def cifar100_patches() -> Recipe:
    """CIFAR-100, otherwise as `cifar10_patches`."""
    return _patches("patches-cifar100", "cifar100")


def mnist_patches() -> Recipe:
    """MNIST, otherwise as `cifar10_patches`, but without mirror images: a mirrored digit is not a digit."""
    return _patches("patches-mnist", "mnist", (1, 28, 28), flip_average=False)


def fashion_mnist_patches() -> Recipe:
    """Fashion-MNIST, otherwise as `cifar10_patches`."""
    return _patches("patches-fashion-mnist", "fashion_mnist", (1, 28, 28))


def _patches(
    name: str, data: str, input_shape: tuple[int, int, int] = (3, 32, 32), *, flip_average: bool = True
) -> Recipe:
    return Recipe(
        name,
        data,
        Architecture(input_shape, (first_block(64),), taps=(Tap(1, 4),), tap_power=0.5, flip_average=flip_average),
        learning=Learning(epochs=0),
        readout=WideRidge(strengths=(3e-2, 1e-1, 3e-1)),
        baselines=(),
    )


RECIPES = (cifar10_patches, cifar100_patches, mnist_patches, fashion_mnist_patches)
