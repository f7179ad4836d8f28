"""A convolution on a CPU learns from patches and matrix products: the same updates as by torch's convolution."""

import itertools

import pytest
import torch

from torchhebb.nn import HebbConv2d
from torchhebb.ops.conv_algorithms import AlgorithmName, Convolution, Patches, convolutions_by, select_algorithm
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


def agree(convolution: HebbConv2d, patches: HebbConv2d, x: torch.Tensor) -> None:
    """Both learn the same, one by torch's convolution, the other from patches."""
    shapes, _ = convolution.algorithms(x)
    outputs = []
    ways: tuple[tuple[HebbConv2d, AlgorithmName, type], ...]
    ways = ((convolution, "torch", Convolution), (patches, "patches", Patches))
    for layer, name, kind in ways:
        with convolutions_by({shapes: name}):
            assert isinstance(select_algorithm(layer._pad(x), layer.weight, layer._geometry), kind)
            outputs.append(layer.learn(x))
    torch.testing.assert_close(outputs[1], outputs[0], rtol=0, atol=1e-10)
    torch.testing.assert_close(patches.weight.grad, convolution.weight.grad, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("kernel_size", "stride", "padding", "dilation"), GEOMETRY)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_patches_equal_the_convolution(kernel_size, stride, padding, dilation, layout):
    convolution, patches = twins(kernel_size, stride, padding, dilation, SoftHebb(2.0))
    x = torch.randn(2, 3, 7, 9, dtype=torch.float64).contiguous(memory_format=layout)
    agree(convolution, patches, x)


@pytest.mark.parametrize("rule", [HardHebb(), RankedHebb(), Instar(), SoftHebb(1.0, rectify=True)], ids=str)
def test_every_rule_learns_the_same_from_patches(rule):
    convolution, patches = twins(3, 1, 1, 1, rule)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    agree(convolution, patches, x)


def test_many_patches_are_not_kept_at_once(monkeypatch):
    convolution, patches = twins(3, 1, 1, 1, SoftHebb())
    x = torch.randn(4, 3, 6, 6, dtype=torch.float64)
    size = 4 * 6 * 6 * 27 * 8
    monkeypatch.setattr("torchhebb.ops.conv_algorithms.PATCHES_BYTES", size)
    assert isinstance(select_algorithm(patches._pad(x), patches.weight, patches._geometry), Patches)
    monkeypatch.setattr("torchhebb.ops.conv_algorithms.PATCHES_BYTES", size - 1)
    assert isinstance(select_algorithm(patches._pad(x), patches.weight, patches._geometry), Convolution)
    patches.learn(x)
    monkeypatch.undo()
    convolution.learn(x)
    torch.testing.assert_close(patches.weight.grad, convolution.weight.grad, rtol=0, atol=1e-10)
