"""Published test accuracies of SoftHebb-2023 in percent, by data set and depth.

Source: the paper's tables on depth, its appendix on width and on fully connected networks.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Printed:
    """One depth of one data set; None where the paper gives no value."""

    softhebb: float | None = None
    hard: float | None = None
    random: float | None = None
    backpropagation: float | None = None


BY_DEPTH: dict[str, dict[int, Printed]] = {
    "cifar10": {
        1: Printed(71.10, 62.7, 64.0, 72.4),
        2: Printed(77.70, 60.1, 68.6, 82.5),
        3: Printed(80.31, 60.3, 64.6, 84.0),
    },
    "cifar100": {
        1: Printed(43.0, 34.3, 34.6, 44.8),
        2: Printed(52.3, 33.5, 38.8, 52.1),
        3: Printed(56.0, 21.6, 38.3, 57.2),
    },
    "stl10": {
        1: Printed(65.4, 57.9, 62.6, 67.5),
        2: Printed(70.1, 58.4, 65.7, 69.6),
        3: Printed(73.1, 54.3, 68.1, 72.9),
        4: Printed(76.2, 54.8, 68.2, 74.5),
    },
    "imagenette": {
        1: Printed(61.0, 56.8, 61.0, 61.9),
        2: Printed(71.3, 60.8, 67.3, 72.3),
        3: Printed(75.7, 60.7, 68.1, 76.5),
        4: Printed(78.8, 59.6, 74.2, 81.5),
        5: Printed(81.0, 61.2, 74.1, 85.3),
    },
    "imagenet": {**dict.fromkeys(range(1, 5), Printed()), 5: Printed(27.3, random=14.0)},
    "mnist": {3: Printed(99.35, backpropagation=99.45)},
    "fashion_mnist": {3: Printed()},
}
"""The deepest network of a data set is its plain recipe."""

CIFAR10_BY_WIDTH = {1: 66.4, 2: 73.9}
"""At depth 3; width x4 is the plain network."""

FULLY_CONNECTED: dict[str, dict[int, float]] = {"cifar10": {1: 43.9, 2: 32.9}, "stl10": {1: 36.9, 2: 31.5}}


@dataclass(frozen=True)
class Released:
    """A network that the released code was run for, on torch 2.13, seed 0, its own readout: accuracies in percent."""

    network: str
    printed: float
    released: float
    recipe: str
    """The recipe of this library with the same protocol."""
    port: float | None = None
    """What an independent port reports."""
    calibrated: str | None = None
    """The recipe whose random weights have calibrated batch norms."""


RELEASED = (
    Released("hard WTA, depth 1", 62.7, 55.9, "softhebb2023-cifar10-depth1-hard"),
    Released(
        "random weights, depth 1",
        64.0,
        59.1,
        "softhebb2023-cifar10-depth1-random",
        calibrated="softhebb2023-cifar10-depth1",
    ),
    Released(
        "random weights, depth 3",
        64.6,
        68.8,
        "softhebb2023-cifar10-random",
        port=68.6,
        calibrated="softhebb2023-cifar10",
    ),
)
"""Baselines on CIFAR-10 whose printed values the released code does not give either."""
