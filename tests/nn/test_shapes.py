"""Inputs of another shape are named by the module, before torch speaks of dims."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from torchhebb.nn import (
    BatchNorm,
    BatchNorm2d,
    LinearReadout,
    NeuronLabels,
    PatchWhitening,
    SoftWTA,
    SPHeReBlock,
    Triangle,
    UnitNorm,
)

CASES = [
    (UnitNorm(), (3,)),
    (SoftWTA(), ()),
    (Triangle(), (3,)),
    (BatchNorm2d(3), (2, 3)),
    (BatchNorm2d(3), (1, 1, 1, 1)),
    (BatchNorm2d(3).eval(), (2, 4, 2, 2)),
    (LinearReadout(6, 2), (2, 7)),
    (LinearReadout(3, 2), (3,)),
    (NeuronLabels(3, 2), (3,)),
    (NeuronLabels(3, 2), (2, 4)),
    (PatchWhitening(3, 2), (2, 3)),
    (SPHeReBlock(3, 4, projection=2), (2, 3)),
    (SPHeReBlock(3, 4, projection=2), (2, 1, 8, 8)),
]


@pytest.mark.parametrize(("module", "shape"), CASES)
def test_of_another_shape(module: nn.Module, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="x must have shape .*, got"):
        module(torch.zeros(shape))


def test_of_another_shape_while_learning() -> None:
    for call in (SPHeReBlock(3, 4).learn, lambda x: PatchWhitening(3, 2).init_from_data(x, torch.Generator())):
        with pytest.raises(ValueError, match=r"x must have shape \(B, 3, H, W\), got \(3,\)"):
            call(torch.zeros(3))


@pytest.mark.parametrize("make", [BatchNorm, BatchNorm2d, lambda n: LinearReadout(n, 2), lambda n: NeuronLabels(2, n)])
def test_of_no_size(make: Callable[[int], nn.Module]) -> None:
    with pytest.raises(ValueError, match="must be positive, got -3"):
        make(-3)
