"""Inputs of another shape are named by the module, before torch speaks of dims."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from torchhebb.functional import conv2d_statistic, norm_adaptive_step, power_of_two_scale, quantize, triangle
from torchhebb.nn import (
    BatchNorm,
    BatchNorm2d,
    HebbConv2d,
    HebbLinear,
    LinearReadout,
    NeuronLabels,
    PatchWhitening,
    SoftWTA,
    SPHeReBlock,
    Standardize,
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
    (PatchWhitening(3, 3), (4, 3, 2, 2)),
    (Standardize([0.0, 1.0], [1.0, 1.0]), (2, 3, 4, 4)),
    (Standardize([0.0], [1.0]), (4, 4)),
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


def test_images_smaller_than_a_patch_that_is_whitened() -> None:
    whitening = PatchWhitening(3, 3)
    with pytest.raises(ValueError, match=r"at least 3 pixels a side, got \(4, 3, 2, 2\)"):
        whitening.init_from_data(torch.rand(4, 3, 2, 2), torch.Generator())


@pytest.mark.parametrize("images", [torch.rand(0, 3, 4, 4), torch.full((2, 3, 4, 4), torch.nan)])
def test_images_that_cannot_be_whitened(images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="x must be finite images, at least one"):
        PatchWhitening(3, 2).init_from_data(images, torch.Generator())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: BatchNorm(2**63), "num_features must be at most 2,147,483,648"),
        (lambda: LinearReadout(2**63, 7), "in_features must be at most"),
        (lambda: LinearReadout(2**31, 2**31), "more than any memory holds"),
        (lambda: HebbLinear(3, 2**63), "out_features must be at most"),
        (lambda: HebbConv2d(3, 2, (1, 2**40)), "kernel_size must be at most"),
        (lambda: PatchWhitening(2**40, 16), "in_channels must be at most"),
        (lambda: PatchWhitening(2**20, 2**10), "more than any memory holds"),
        (lambda: SPHeReBlock(2**31, 2**31, projection=2), "more than any memory holds"),
        (lambda: conv2d_statistic(torch.rand(1, 1, 3, 3), torch.rand(1, 1, 2, 2), 2, groups=0), "groups must be"),
        (lambda: conv2d_statistic(torch.rand(1, 1, 3, 3), torch.rand(1, 1, 2, 2), (2**63, 2)), "kernel_size must be"),
        (lambda: norm_adaptive_step(torch.rand(2, 3), torch.rand(2, 3), 0.1, groups=0), "groups must divide"),
        (lambda: norm_adaptive_step(torch.rand(0, 3), torch.rand(0, 3), 0.1, groups=2**63), "groups must divide"),
        (lambda: quantize(torch.rand(3), 2**40, scale=1.0), "bits must lie from 2 to 64"),
        (lambda: power_of_two_scale(torch.rand(3, 2), 2**63), "bits must lie from 2 to 64"),
    ],
)
def test_sizes_that_nothing_holds(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said) as raised:
        make()
    assert "\n" not in str(raised.value)


def test_a_triangle_of_no_neurons() -> None:
    assert triangle(torch.rand(2, 0, 3), threshold=0.5).shape == (2, 0, 3)
