"""Beyond SoftHebb-2023: how far a network without feedback gets on CIFAR-10 under a linear readout.

Two blocks of SoftHebb that compete for whitened patches, learned one after another from images alone, are read
together by a ridge.  What was chosen, was chosen on held-out training images; `docs/best.md` has the parts one by one.
"""

from torchhebb.nn import Architecture, Pool, Read, WhitenedBlock
from torchhebb.rules import SoftHebb
from torchhebb.train import Learning, Recipe
from torchhebb.train.readouts import WideRidge

POOL = Pool("avg", kernel_size=3, stride=2)


def first_block(neurons: int, **changes: object) -> WhitenedBlock:
    """Whitened 6x6 patches of pixels; flat patches stay short."""
    settings = {"rule": SoftHebb(150.0, anti_hebbian=False), "pool": POOL, "floor": 2.0, "lr": 0.02, **changes}
    return WhitenedBlock(neurons, 6, **settings)  # type: ignore[arg-type]


def second_block(neurons: int, **changes: object) -> WhitenedBlock:
    """Whitened 3x3 patches of the first block's maps, which are projected on 160 principal components."""
    settings = {
        "rule": SoftHebb(100.0, anti_hebbian=False),
        "project": 160,
        "components": 512,
        "remove_mean": False,
        "lr": 0.02,
        **changes,
    }
    return WhitenedBlock(neurons, 3, **settings)  # type: ignore[arg-type]


def cifar10_best() -> Recipe:
    """CIFAR-10, two whitened blocks read together, mirror images averaged; nothing below the ridge sees a label."""
    return Recipe(
        "softhebb2023-cifar10-best",
        "cifar10",
        Architecture((3, 32, 32), (first_block(2048), second_block(2048)), read=(Read(1, 3), Read(2, 2)), mirror=True),
        learning=Learning(order="greedy", schedule="linear"),
        readout=WideRidge(),
    )
