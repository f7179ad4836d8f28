"""SPHeRe-2025, rethinking the Hebbian principle: a local loss per block (NeurIPS 2025).

Each network stands three times: learning by its local losses, by backpropagation end to end (the baseline of the same
recipe: same blocks, same optimizer), and with SoftHebb's rule at the same widths (the recipes called -softhebb).
"""

from torchhebb.nn import Architecture, ConvBlock, Pool, SPHeReConvBlock
from torchhebb.readouts import Ridge
from torchhebb.recipes.claim import Claim, MeasureRef
from torchhebb.recipes.experiment import Experiment
from torchhebb.rules import SoftHebb
from torchhebb.train import Learning, Readout, Recipe, Supervised
from torchhebb.train.recipe import AdamW

MAX = Pool("max", kernel_size=4, stride=2, padding=1)
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2434, 0.2616)
TINY_MEAN, TINY_STD = (0.4803, 0.4482, 0.3976), (0.2764, 0.2689, 0.2816)

PUBLISHED, NARROW = (384, 768, 1536), (48, 96, 192)

# The authors' readout learns beside the blocks, without dropout; the one on frozen features follows it in that.
READOUT = Readout(dropout=0.0, standardize=True, init_scale=0.0, online=True)


def cifar10() -> Recipe:
    """CIFAR-10, blocks of 384, 768 and 1536 channels, 100 epochs.

    Reproduces the linear readout of the paper, here `online_test_accuracy`; the authors' log of an earlier form of the
    loss ends at 81.18 % (81.43 % at its best epoch on test images).  Not run; it takes days on two CPU cores.
    """
    return _local("sphere2025-cifar10", "cifar10", network(PUBLISHED), epochs=100, published=81.18)


def cifar100() -> Recipe:
    """CIFAR-100, the network and plan of CIFAR-10, its mean and deviation too.  Published value not known; not run."""
    return _local("sphere2025-cifar100", "cifar100", network(PUBLISHED), epochs=100)


def tiny_imagenet() -> Recipe:
    """Tiny-ImageNet at 64x64, its last maps averaged to 4x4.  Published value not known; not run."""
    architecture = network(PUBLISHED, (3, 64, 64), TINY_MEAN, TINY_STD)
    return _local("sphere2025-tiny-imagenet", "tiny_imagenet", architecture, epochs=100)


def cifar10_softhebb() -> Recipe:
    """CIFAR-10, SoftHebb at SPHeRe's widths with SoftHebb-2023's settings: one unsupervised epoch, 100 of readout.

    The paper's comparison; its value is not known to us.  Not run.
    """
    return _softhebb("sphere2025-cifar10-softhebb", "cifar10", PUBLISHED, readout_epochs=100)


def cifar10_narrow() -> Recipe:
    """CIFAR-10 at an eighth of the channels, 4 epochs of batches of 32: for two CPU cores; nothing was published on it.

    Batch size and rate were chosen on 5,000 held-out training images; small batches give more steps in as many epochs.
    """
    return _local("sphere2025-cifar10-narrow", "cifar10", network(NARROW), epochs=4, batch_size=32, lr=2e-3)


def cifar10_narrow_softhebb() -> Recipe:
    """CIFAR-10, SoftHebb at the narrow widths: one unsupervised epoch, 50 of readout."""
    return _softhebb("sphere2025-cifar10-narrow-softhebb", "cifar10", NARROW, readout_epochs=50)


def cifar100_narrow() -> Recipe:
    """CIFAR-100 with the narrow network and plan of CIFAR-10."""
    return _local("sphere2025-cifar100-narrow", "cifar100", network(NARROW), epochs=4, batch_size=32, lr=2e-3)


def cifar100_narrow_softhebb() -> Recipe:
    """CIFAR-100, SoftHebb at the narrow widths: one unsupervised epoch, 50 of readout."""
    return _softhebb("sphere2025-cifar100-narrow-softhebb", "cifar100", NARROW, readout_epochs=50)


def digits() -> Recipe:
    """The embedded 8x8 digits: three small blocks that learn in seconds; nothing was published on them.

    Epochs, batch size and rate were chosen on a quarter of the training images.  Expect 98 %, as
    random weights give here; a minute for three seeds on two CPU cores.
    """
    blocks = (SPHeReConvBlock(32, pool=None), SPHeReConvBlock(64), SPHeReConvBlock(128, residual=True))
    return _local("sphere2025-digits", "digits", Architecture((1, 8, 8), blocks), epochs=10, batch_size=64, seeds=3)


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
    blocks = tuple(SPHeReConvBlock(width, residual=number == len(widths)) for number, width in enumerate(widths, 1))
    return Architecture(input_shape, blocks, mean, std, feature_pool=4)


def _local(
    name: str,
    data: str,
    architecture: Architecture,
    *,
    epochs: int,
    batch_size: int = 128,
    lr: float = 1e-3,
    seeds: int = 1,
    published: float | None = None,
) -> Recipe:
    """AdamW, its rate falling to a thousandth by a half cosine; backpropagation follows the same plan."""
    decay = 0.05
    return Recipe(
        name,
        data,
        architecture,
        Learning(batch_size, epochs, optimizer=AdamW(lr, decay), schedule="cosine", final_lr_fraction=1e-3),
        READOUT,
        baselines=("random", "backpropagation"),
        supervised=Supervised(epochs, batch_size, lr, weight_decay=decay),
        seeds=seeds,
        published=published,
    )


def _softhebb(name: str, data: str, widths: tuple[int, int, int], *, readout_epochs: int) -> Recipe:
    """SoftHebb-2023's settings for CIFAR at other widths."""
    first, second, third = widths
    blocks = (
        ConvBlock(first, 5, SoftHebb(1.0), power=0.7, pool=MAX, lr=0.08),
        ConvBlock(second, 3, SoftHebb(0.65), power=1.4, pool=MAX, lr=0.005),
        ConvBlock(third, 3, SoftHebb(0.25), power=1.0, pool=Pool("avg", 2, 2), lr=0.01),
    )
    return Recipe(name, data, Architecture((3, 32, 32), blocks), readout=Readout(readout_epochs))


RECIPES = (
    digits,
    digits_softhebb,
    cifar10_narrow,
    cifar10_narrow_softhebb,
    cifar100_narrow,
    cifar100_narrow_softhebb,
    cifar10,
    cifar10_softhebb,
    cifar100,
    tiny_imagenet,
)

_READOUTS = {"readouts": ("trained", "ridge")}
_DAYS = 5 * 86_400.0

_FEW = {"learning_images": 5000, "train_images": 5000, "test_images": 2000}
_ABLATION = {
    "epochs": 1,
    "learning_images": 10_000,
    "readout_images": 10_000,
    "projections": (64,),
    "channel_factors": (0.5,),
    "slopes": (0.0, 1.0),
}
_CONTINUAL = {
    "readouts": ("task_aware",),
    "images_per_class": 100,
    "probe_images_per_class": 50,
    "test_images_per_class": 50,
    "supervised_epochs": 4,
}
_NARROW10, _NARROW100 = "sphere2025-cifar10-narrow", "sphere2025-cifar100-narrow"

EXPERIMENTS = (
    Experiment("digits, SoftHebb", "sphere2025-digits-softhebb", "accuracy", 40, 15, _READOUTS),
    Experiment("digits", "sphere2025-digits", "accuracy", 60, 15, _READOUTS),
    Experiment("CIFAR-10, narrow, SoftHebb", f"{_NARROW10}-softhebb", "accuracy", 200, 20, _READOUTS),
    Experiment("CIFAR-100, narrow, SoftHebb", f"{_NARROW100}-softhebb", "accuracy", 220, 20, _READOUTS),
    Experiment("CIFAR-10, narrow", _NARROW10, "accuracy", 600, 20, _READOUTS),
    Experiment("CIFAR-10, narrow: similarity", _NARROW10, "similarity", 600, 25),
    Experiment("CIFAR-100, narrow", _NARROW100, "accuracy", 640, 20, _READOUTS),
    Experiment(
        "CIFAR-100, narrow, SoftHebb: continual",
        f"{_NARROW100}-softhebb",
        "continual",
        220,
        600,
        {**_CONTINUAL, "learning_epochs": 1},
    ),
    Experiment(
        "CIFAR-10, narrow: reconstruction",
        _NARROW10,
        "reconstruction",
        600,
        300,
        {"widths": (64, 32), "epochs": 3, "train_images": 5000, "baselines": ("own", "backpropagation", "random")},
    ),
    Experiment(
        "CIFAR-10, narrow: transfer",
        _NARROW10,
        "transfer",
        600,
        300,
        {**_FEW, "ridge": Ridge(project=1024)},
    ),
    Experiment(
        "CIFAR-10, narrow: ablation",
        _NARROW10,
        "ablation",
        600,
        400,
        _ABLATION,
    ),
    Experiment("CIFAR-100, narrow: continual", _NARROW100, "continual", 640, 650, {**_CONTINUAL, "learning_epochs": 3}),
    Experiment("CIFAR-10, SoftHebb", "sphere2025-cifar10-softhebb", "accuracy", 14_400, 600, _READOUTS, full=True),
    Experiment("CIFAR-10", "sphere2025-cifar10", "accuracy", _DAYS, 600, _READOUTS, full=True),
    Experiment("CIFAR-100", "sphere2025-cifar100", "accuracy", _DAYS, 600, _READOUTS, full=True),
    Experiment("Tiny-ImageNet", "sphere2025-tiny-imagenet", "accuracy", 8 * _DAYS, 1200, _READOUTS, full=True),
)

CLAIMS = tuple(
    Claim(
        f"{title}: local losses above SoftHebb on the same widths",
        MeasureRef(f"sphere2025-{data}", "accuracy", "test_accuracy"),
        MeasureRef(f"sphere2025-{data}-softhebb", "accuracy", "test_accuracy"),
    )
    for title, data in (("CIFAR-10", "cifar10"), ("CIFAR-10, narrow", "cifar10-narrow"))
)
