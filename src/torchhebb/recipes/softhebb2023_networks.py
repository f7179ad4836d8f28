"""The networks of SoftHebb-2023 with the settings of the released code, by depth.

Where the paper and its code give no network (STL-10, ImageNette and ImageNet below their deepest, every fully connected
stack, MNIST) it is said at the function, and the settings are taken over from the nearest that is given.
"""

from dataclasses import replace

from torchhebb.nn import Architecture, ConvBlock, LinearBlock, Pool
from torchhebb.rules import HardHebb, SoftHebb

MAX, AVG = Pool("max", 4, 2, 1), Pool("avg", 4, 2, 1)
HALVE_MAX, HALVE_AVG = Pool("max", 2, 2), Pool("avg", 2, 2)

CIFAR = (3, 32, 32)
STL10 = (3, 96, 96)
IMAGENET = (3, 160, 160)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def depth1(input_shape: tuple[int, int, int] = CIFAR, neurons: int = 96) -> Architecture:
    """The single block of the paper's CIFAR network of depth 1."""
    return Architecture(input_shape, (ConvBlock(neurons, 5, SoftHebb(1.0), power=0.7, pool=AVG, lr=0.08),))


def depth2(input_shape: tuple[int, int, int] = CIFAR) -> Architecture:
    """The blocks of the paper's CIFAR network of depth 2; the second is rectified."""
    second = ConvBlock(384, 3, SoftHebb(0.65, rectify=True), power=1.4, pool=MAX, lr=0.005)
    return Architecture(input_shape, (*depth1().blocks, second))


def depth3(input_shape: tuple[int, int, int] = CIFAR, widths: tuple[int, int, int] = (96, 384, 1536)) -> Architecture:
    """The three blocks of the paper's CIFAR network; each is wider than the one below by the factor of the name.

    Width x4 is 96-384-1536, x2 is 96-192-384, x1 is 96-96-96.
    """
    first, second, third = widths
    return Architecture(
        input_shape,
        (
            ConvBlock(first, 5, SoftHebb(1.0), power=0.7, pool=MAX, lr=0.08),
            ConvBlock(second, 3, SoftHebb(0.65), power=1.4, pool=MAX, lr=0.005),
            ConvBlock(third, 3, SoftHebb(0.25), power=1.0, pool=HALVE_AVG, lr=0.01),
        ),
    )


def grouped() -> Architecture:
    """CIFAR depth 3 with the third layer that the paper's backpropagation has: 1x1 in 192 groups of 8 neurons."""
    *below, third = depth3().blocks
    last = third.with_settings(kernel_size=1, pool=HALVE_MAX, groups=192)
    return Architecture(CIFAR, (*below, last))


def hard_network(depth: int = 3) -> Architecture:
    """The released code's own hard WTA at CIFAR depth 2 or 3: other triangles, pools and padding than SoftHebb's.

    Given are the widths, kernels, padding and rates, the first and last pool, and the first triangle and power of the
    rate; the other blocks take these over.  Depth 2 is the first two blocks, from radius 25.
    """
    blocks = (
        ConvBlock(96, 5, HardHebb(), pool=MAX, padding=1),
        ConvBlock(384, 3, HardHebb(), pool=MAX),
        ConvBlock(1536, 3, HardHebb(), pool=HALVE_MAX, padding=0),
    )
    return Architecture(CIFAR, tuple(replace(block, power=1.0, lr=0.05, lr_power=0.75) for block in blocks[:depth]))


def imagenet_hard_network() -> Architecture:
    """The released code's own hard WTA at depth 5 of ImageNet and ImageNette: larger kernels, the last 1x1 in groups.

    Pools and the power of the rate are not given: they are those of `hard_network`.
    """
    blocks = (
        ConvBlock(48, 7, HardHebb(), pool=MAX, padding=3, lr=0.05),
        ConvBlock(192, 5, HardHebb(), pool=MAX, lr=0.03),
        ConvBlock(768, 3, HardHebb(), pool=MAX, lr=0.02),
        ConvBlock(3072, 3, HardHebb(), pool=MAX, lr=0.01),
        ConvBlock(12288, 1, HardHebb(), pool=HALVE_MAX, groups=768, lr=0.02),
    )
    plain = tuple(replace(block, power=1.0, lr_power=0.75) for block in blocks)
    return Architecture(IMAGENET, plain, IMAGENET_MEAN, IMAGENET_STD)


def stl10(depth: int) -> Architecture:
    """STL-10 at depth 1 to 4.  Depths 1 and 2 are the first blocks of depth 3.

    The released code reads out STL-10 at depth 2 from CIFAR's network of depth 2, whose second block is rectified: that
    is the recipe softhebb2023-stl10-depth2-released.
    """
    blocks = (
        ConvBlock(96, 5, SoftHebb(1.0), power=0.7, pool=AVG, lr=0.08),
        ConvBlock(384, 3, SoftHebb(0.65), power=0.7 if depth == 4 else 1.4, pool=MAX, lr=0.005),
        ConvBlock(1536, 3, SoftHebb(0.45), power=1.4 if depth == 4 else 1.0, pool=AVG, lr=0.01),
        ConvBlock(6144, 3, SoftHebb(0.25), power=1.0, pool=HALVE_AVG, lr=0.01),
    )
    return Architecture(STL10, blocks[:depth])


def imagenet(depth: int) -> Architecture:
    """ImageNet and ImageNette at depth 1 to 5.  Depths below 5 are its first blocks.

    The released code takes CIFAR's network of depth 3 for ImageNette at depth 3: that is the recipe
    softhebb2023-imagenette-depth3-released.
    """
    blocks = (
        ConvBlock(48, 5, SoftHebb(1.1), power=0.7, pool=MAX, lr=0.08, lr_power=0.75),
        ConvBlock(192, 3, SoftHebb(0.7), power=0.7, pool=MAX, lr=0.01, lr_power=0.75),
        ConvBlock(768, 3, SoftHebb(0.5), power=0.7, pool=MAX, lr=0.01, lr_power=0.75),
        ConvBlock(3072, 3, SoftHebb(0.4), power=1.4, pool=MAX, lr=0.01, lr_power=0.75),
        ConvBlock(12288, 3, SoftHebb(0.25), power=1.0, pool=HALVE_AVG, lr=0.01, lr_power=0.75),
    )
    return Architecture(IMAGENET, blocks[:depth], IMAGENET_MEAN, IMAGENET_STD)


def linear(depth: int, input_shape: tuple[int, int, int] = CIFAR, neurons: int = 2000) -> Architecture:
    """One or two fully connected layers.  Their sizes and settings are not given: these are ours."""
    blocks = (
        LinearBlock(neurons, SoftHebb(1.0), power=0.7, lr=0.08),
        LinearBlock(neurons, SoftHebb(0.65), power=1.4, lr=0.005),
    )
    return Architecture(input_shape, blocks[:depth])
