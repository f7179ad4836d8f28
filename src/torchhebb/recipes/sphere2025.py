"""SPHeRe-2025, rethinking the Hebbian principle: a local loss per block (NeurIPS 2025).

Each network stands three times: learning by its local losses, by backpropagation end to end (the baseline of the same
recipe: same blocks, same optimizer), and with SoftHebb's rule at the same widths (the recipes called -softhebb).
"""

from torchhebb.nn import Architecture, ConvBlock, LocalConvBlock, Pool
from torchhebb.recipes.item import Item
from torchhebb.rules import SoftHebb
from torchhebb.train import Learning, Readout, Recipe, Supervised
from torchhebb.train.recipe import AdamW

MAX = Pool("max", kernel_size=4, stride=2, padding=1)
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2434, 0.2616)
TINY_MEAN, TINY_STD = (0.4803, 0.4482, 0.3976), (0.2764, 0.2689, 0.2816)

READOUT = Readout(standardize=True, init_scale=0.0, online=True)
NARROW_EPOCHS, NARROW_LR = 3, 3e-3
PUBLISHED, NARROW = (384, 768, 1536), (48, 96, 192)


def cifar10() -> Recipe:
    """CIFAR-10, blocks of 384, 768 and 1536 channels, 100 epochs.

    Reproduces the linear readout of the paper; the authors' log of an earlier form of the loss ends at 81.18 % (its best
    epoch on the test images: 81.43 %).  Not run: about 100 hours on two CPU cores, as long again for backpropagation.
    """
    return _local("sphere2025-cifar10", "cifar10", network(PUBLISHED), epochs=100, published=81.18)


def cifar100() -> Recipe:
    """CIFAR-100, the network and plan of CIFAR-10, its mean and deviation too.  Published value not known; not run."""
    return _local("sphere2025-cifar100", "cifar100", network(PUBLISHED), epochs=100)


def tiny_imagenet() -> Recipe:
    """Tiny-ImageNet at 64x64, its maps averaged to 4x4.  Published value not known; not run."""
    architecture = network(PUBLISHED, (3, 64, 64), TINY_MEAN, TINY_STD)
    return _local("sphere2025-tiny-imagenet", "tiny_imagenet", architecture, epochs=100)


def cifar10_softhebb() -> Recipe:
    """CIFAR-10, SoftHebb at SPHeRe's widths with its own CIFAR settings: one unsupervised epoch.  Not run."""
    return _softhebb("sphere2025-cifar10-softhebb", "cifar10", softhebb(PUBLISHED), epochs=100)


def cifar10_narrow() -> Recipe:
    """CIFAR-10 at an eighth of the channels and a few epochs: what two CPU cores can do.  Nothing was published on it."""
    return _local("sphere2025-cifar10-narrow", "cifar10", network(NARROW), epochs=NARROW_EPOCHS, lr=NARROW_LR)


def cifar100_narrow() -> Recipe:
    """CIFAR-100 in the same way."""
    return _local("sphere2025-cifar100-narrow", "cifar100", network(NARROW), epochs=NARROW_EPOCHS, lr=NARROW_LR)


def cifar10_narrow_softhebb() -> Recipe:
    """CIFAR-10, SoftHebb at the narrow widths."""
    return _softhebb("sphere2025-cifar10-narrow-softhebb", "cifar10", softhebb(NARROW), epochs=50)


def digits() -> Recipe:
    """The embedded 8x8 digits: three small blocks that learn in seconds; nothing was published on them."""
    blocks = (LocalConvBlock(32, pool=None), LocalConvBlock(64), LocalConvBlock(128, residual=True))
    return _local("sphere2025-digits", "digits", Architecture((1, 8, 8), blocks), epochs=30, lr=3e-3, seeds=3)


def digits_softhebb() -> Recipe:
    """The digits, SoftHebb at the same widths; five passes, since there are only 1,348 images."""
    blocks = (
        ConvBlock(32, 3, SoftHebb(1.0), power=0.7, lr=0.08),
        ConvBlock(64, 3, SoftHebb(0.65), power=1.4, pool=MAX, lr=0.005),
        ConvBlock(128, 3, SoftHebb(0.25), power=1.0, pool=Pool("avg", 2, 2), lr=0.01),
    )
    return Recipe(
        "sphere2025-digits-softhebb",
        "digits",
        Architecture((1, 8, 8), blocks),
        learning=Learning(epochs=5),
        readout=Readout(batch_size=16, lr=0.005),
        seeds=3,
    )


def network(
    widths: tuple[int, int, int],
    input_shape: tuple[int, int, int] = (3, 32, 32),
    mean: tuple[float, ...] = CIFAR_MEAN,
    std: tuple[float, ...] = CIFAR_STD,
) -> Architecture:
    """Three blocks of local losses, the last with a residual; features of 4x4 positions."""
    blocks = tuple(LocalConvBlock(width, residual=width == widths[-1]) for width in widths)
    return Architecture(input_shape, blocks, mean, std, feature_pool=4)


def softhebb(widths: tuple[int, int, int]) -> Architecture:
    """The same widths with SoftHebb-2023's settings for CIFAR."""
    first, second, third = widths
    return Architecture(
        (3, 32, 32),
        (
            ConvBlock(first, 5, SoftHebb(1.0), power=0.7, pool=MAX, lr=0.08),
            ConvBlock(second, 3, SoftHebb(0.65), power=1.4, pool=MAX, lr=0.005),
            ConvBlock(third, 3, SoftHebb(0.25), power=1.0, pool=Pool("avg", 2, 2), lr=0.01),
        ),
    )


def _local(
    name: str,
    data: str,
    architecture: Architecture,
    *,
    epochs: int,
    lr: float = 1e-3,
    published: float | None = None,
    seeds: int = 1,
) -> Recipe:
    """AdamW on the local losses, its rate falling to a thousandth by a half cosine; the baseline's plan is the same."""
    return Recipe(
        name,
        data,
        architecture,
        Learning(
            batch_size=128, epochs=epochs, optimizer=AdamW(lr, weight_decay=0.05), schedule="cosine", final_share=1e-3
        ),
        READOUT,
        baselines=("random", "backpropagation"),
        supervised=Supervised(epochs=epochs, batch_size=128, lr=1e-3, weight_decay=0.05),
        published=published,
        seeds=seeds,
    )


def _softhebb(name: str, data: str, architecture: Architecture, *, epochs: int) -> Recipe:
    """One unsupervised pass in batches of 10, `epochs` of readout."""
    return Recipe(name, data, architecture, readout=Readout(epochs=epochs))


RECIPES = (
    digits,
    digits_softhebb,
    cifar10_narrow,
    cifar10_narrow_softhebb,
    cifar100_narrow,
    cifar10,
    cifar10_softhebb,
    cifar100,
    tiny_imagenet,
)

ITEMS = (Item("digits", "sphere2025-digits", "accuracy", 60, 30),)
