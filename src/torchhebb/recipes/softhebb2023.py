"""SoftHebb-2023, Hebbian deep learning without feedback (Journé et al., ICLR 2023)."""

from torchhebb.nn import Architecture, ConvBlock, Pool
from torchhebb.recipes.item import Item
from torchhebb.rules import SoftHebb
from torchhebb.train import Learning, Readout, Recipe

MAX = Pool("max", kernel_size=4, stride=2, padding=1)


def cifar10() -> Recipe:
    """CIFAR-10 at depth 3.

    Reproduces the main result of the paper, 80.31 +- 0.15 % (4 seeds): one unsupervised pass in batches of 10,
    50 epochs of readout.  Expect 79.3 % or more; 23 minutes with the random baseline on two CPU cores.
    """
    return Recipe("softhebb2023-cifar10", "cifar10", depth3((3, 32, 32)), published=80.31)


def mnist() -> Recipe:
    """MNIST, 99.35 % in the paper, whose network is not given: this is CIFAR's depth 3 with one channel, batch 32."""
    return Recipe("softhebb2023-mnist", "mnist", depth3((1, 28, 28)), learning=Learning(batch_size=32), published=99.35)


def digits() -> Recipe:
    """The embedded 8x8 digits: the demo, a depth-2 network that learns in seconds; nothing was published on them.

    Five passes, since there are only 1,348 images; rates, passes and readout were chosen on a quarter of them.
    Expect 98.5 % or more in 60 s for three seeds on two CPU cores.
    """
    blocks = (
        ConvBlock(96, 3, SoftHebb(1.0), power=0.7, lr=0.08),
        ConvBlock(384, 3, SoftHebb(0.65), power=1.4, pool=MAX, lr=0.005),
    )
    return Recipe(
        "softhebb2023-digits",
        "digits",
        Architecture((1, 8, 8), blocks),
        learning=Learning(epochs=5),
        readout=Readout(batch_size=16, lr=0.005),
        baselines=("random", "raw"),
        seeds=3,
    )


def depth3(input_shape: tuple[int, int, int]) -> Architecture:
    """The three blocks of the paper's CIFAR network."""
    return Architecture(
        input_shape,
        (
            ConvBlock(96, 5, SoftHebb(1.0), power=0.7, pool=MAX, lr=0.08),
            ConvBlock(384, 3, SoftHebb(0.65), power=1.4, pool=MAX, lr=0.005),
            ConvBlock(1536, 3, SoftHebb(0.25), power=1.0, pool=Pool("avg", 2, 2), lr=0.01),
        ),
    )


RECIPES = (digits, mnist, cifar10)

ITEMS = (
    Item("digits", "softhebb2023-digits", "accuracy", training_seconds=60, seconds=30),
    Item("digits: how it learns", "softhebb2023-digits", "diagnostics", training_seconds=60, seconds=3),
    Item("MNIST, depth 3", "softhebb2023-mnist", "accuracy", 1200, 120, {"readouts": ("trained",)}),
    Item("MNIST, depth 3: how it learns", "softhebb2023-mnist", "diagnostics", 1200, 60),
    Item("CIFAR-10, depth 3", "softhebb2023-cifar10", "accuracy", 1400, 120, {"readouts": ("trained",)}),
    Item("CIFAR-10, depth 3: how it learns", "softhebb2023-cifar10", "diagnostics", 1400, 60),
)
