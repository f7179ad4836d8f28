"""Which way a convolutional layer takes, and that what it learns does not depend on it."""

import pytest
import torch

from tests.reference import draw
from torchhebb.nn import HebbConv2d
from torchhebb.ops.conv_algorithms import Convolution, Patches, Winograd, select_algorithm, select_forward_algorithm
from torchhebb.optim import NormAdaptiveSGD
from torchhebb.rules import GainShape, HardHebb, Instar, Oja, RankedHebb, SoftHebb

RULES = [
    SoftHebb(),
    SoftHebb(0.5, rectify=True),
    SoftHebb(anti_hebbian=False),
    HardHebb(),
    RankedHebb(),
    GainShape(),
    Instar(),
    Oja(),
]


def layer(rule=SoftHebb(), *, dtype=torch.float64, channels=32, kernel_size=3, **options) -> HebbConv2d:  # noqa: B008
    torch.manual_seed(0)
    options = {"padding": 1, "init_radius": 2.0, **options}
    made = HebbConv2d(channels, 64, kernel_size, rule=rule, dtype=dtype, **options)
    return made.to(memory_format=torch.channels_last)


def learning_way(conv, x):
    return type(select_algorithm(conv._pad(x), conv.weight, conv._geometry))


def forward_way(conv, x):
    return type(select_forward_algorithm(conv._pad(x), conv.weight, conv._geometry))


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("size", [(8, 8), (7, 9), (6, 5)])
def test_every_rule_learns_the_same(rule, size, monkeypatch):
    x = draw(0, 10, 32, *size)
    weights, outputs = [], []
    for channels, way in ((32, Winograd), (10**9, Patches)):
        monkeypatch.setattr("torchhebb.ops.conv_algorithms.WINOGRAD_CHANNELS", channels)
        conv = layer(rule)
        assert learning_way(conv, x) is way
        optimizer = NormAdaptiveSGD([conv.weight], lr=0.1)
        for _ in range(4):
            conv.learn(x)
            optimizer.step()
            optimizer.zero_grad()
        weights.append(conv.weight.detach())
        outputs.append(conv(x))
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-9, atol=1e-9)
    assert not weights[0].equal(layer(rule).weight)


def test_float32_learns_the_same_up_to_rounding(monkeypatch):
    x = draw(0, 5, 32, 8, 8, dtype=torch.float32)
    grads = []
    for channels in (32, 10**9):
        monkeypatch.setattr("torchhebb.ops.conv_algorithms.WINOGRAD_CHANNELS", channels)
        conv = layer(dtype=torch.float32)
        conv.learn(x)
        grads.append(conv.weight.grad)
    assert grads[0].dtype == torch.float32
    assert 0 < (grads[0] - grads[1]).norm() < 2e-5 * grads[1].norm()


def test_other_layers_take_other_ways():
    x = draw(0, 5, 32, 8, 8)
    assert learning_way(layer(), x) is forward_way(layer(), x) is Winograd
    assert learning_way(layer(), draw(0, 5, 32, 2, 2)) is Patches  # tiles would be empty for the most part
    assert learning_way(layer(), draw(0, 1, 32, 8, 8)) is Patches  # too few tiles for the transform of the weights
    assert learning_way(layer(channels=31), draw(0, 5, 31, 8, 8)) is Patches
    assert learning_way(layer(groups=2, channels=64), draw(0, 5, 64, 8, 8)) is Convolution
    for options in ({"kernel_size": 2}, {"stride": 2}, {"dilation": 2, "padding": 2}):
        assert learning_way(layer(**options), x) is Patches
        assert forward_way(layer(**options), x) is Convolution
    half = layer(dtype=torch.bfloat16)
    assert learning_way(half, x.bfloat16()) is Patches
    with torch.autocast("cpu", torch.bfloat16):
        assert learning_way(layer(dtype=torch.float32), x.float()) is Patches
    contiguous = layer().to(memory_format=torch.contiguous_format)
    assert learning_way(contiguous, x) is forward_way(contiguous, x) is Winograd


def test_where_a_gradient_is_asked_for_the_convolution_gives_it():
    conv, x = layer(), draw(0, 5, 32, 8, 8).requires_grad_()
    assert forward_way(conv, x) is Convolution
    (gradient,) = torch.autograd.grad(conv(x).sum(), x)
    assert gradient.abs().sum() > 0
    with torch.no_grad():
        assert forward_way(conv, x) is Winograd
    conv.weight.requires_grad_()
    assert forward_way(conv, x.detach()) is Convolution


def test_what_is_exported_is_a_convolution():
    conv = layer(dtype=torch.float32).eval()
    x = draw(0, 5, 32, 8, 8, dtype=torch.float32)
    with torch.no_grad():
        exported = torch.export.export(conv, (x,))
    assert "conv2d" in exported.graph_module.code and "bmm" not in exported.graph_module.code
