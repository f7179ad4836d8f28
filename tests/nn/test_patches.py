"""Channels-last weights on a CPU learn from patches and matrix products: the same updates as by convolution."""

import itertools

import pytest
import torch

from torchhebb.nn import HebbConv2d
from torchhebb.ops.conv_algorithms import Convolution, Patches, select_algorithm
from torchhebb.rules import HardHebb, Instar, RankedHebb, SoftHebb

GEOMETRY = list(itertools.product((1, 2, 3, (2, 3)), (1, 2, (2, 1)), (0, 1, (1, 2)), (1, 2, (2, 1))))


def twins(kernel_size, stride, padding, dilation, rule) -> tuple[HebbConv2d, HebbConv2d]:
    layers = [
        HebbConv2d(
            3, 6, kernel_size, stride=stride, padding=padding, dilation=dilation, rule=rule, init_radius=2.0,
            dtype=torch.float64,
        )
        for _ in range(2)
    ]  # fmt: skip
    layers[1].load_state_dict(layers[0].state_dict())
    return layers[0], layers[1].to(memory_format=torch.channels_last)


@pytest.mark.parametrize(("kernel_size", "stride", "padding", "dilation"), GEOMETRY)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_patches_equal_the_convolution(kernel_size, stride, padding, dilation, layout):
    convolution, patches = twins(kernel_size, stride, padding, dilation, SoftHebb(2.0))
    x = torch.randn(2, 3, 7, 9, dtype=torch.float64).contiguous(memory_format=layout)
    torch.testing.assert_close(patches.learn(x), convolution.learn(x), rtol=0, atol=1e-10)
    torch.testing.assert_close(patches.weight.grad, convolution.weight.grad, rtol=0, atol=1e-10)


@pytest.mark.parametrize("rule", [HardHebb(), RankedHebb(), Instar(), SoftHebb(1.0, rectify=True)], ids=str)
def test_every_rule_learns_the_same_from_patches(rule):
    convolution, patches = twins(3, 1, 1, 1, rule)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(patches.learn(x), convolution.learn(x), rtol=0, atol=1e-10)
    torch.testing.assert_close(patches.weight.grad, convolution.weight.grad, rtol=0, atol=1e-10)


def test_many_patches_are_not_kept_at_once(monkeypatch):
    convolution, patches = twins(3, 1, 1, 1, SoftHebb())
    x = torch.randn(4, 3, 6, 6, dtype=torch.float64)
    size = 4 * 6 * 6 * 27 * 8
    monkeypatch.setattr("torchhebb.ops.conv_algorithms.PATCHES_BYTES", size)
    assert isinstance(select_algorithm(patches._pad(x), patches.weight, patches._geometry), Patches)
    monkeypatch.setattr("torchhebb.ops.conv_algorithms.PATCHES_BYTES", size - 1)
    assert isinstance(select_algorithm(patches._pad(x), patches.weight, patches._geometry), Convolution)
    torch.testing.assert_close(patches.learn(x), convolution.learn(x), rtol=0, atol=1e-10)
    torch.testing.assert_close(patches.weight.grad, convolution.weight.grad, rtol=0, atol=1e-10)


def test_only_channels_last_weights_take_the_way_by_patches():
    convolution, patches = twins(3, 1, 1, 1, SoftHebb())
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    assert isinstance(select_algorithm(x, convolution.weight, convolution._geometry), Convolution)
    assert isinstance(select_algorithm(x, patches.weight, patches._geometry), Patches)
