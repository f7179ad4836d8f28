"""Updates in float32 are those in float64: sums over a batch are accurate in every memory layout.

At the full width of the papers' blocks, where one channel has thousands of values.  Where a relu is within rounding of
0 its gradient is another one, by 1e-3 of a block's; batches are small enough to have no such value.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.reference import draw
from torchhebb import learn
from torchhebb.nn import Architecture, BatchNorm, BatchNorm2d, HebbConv2d, batch_norm
from torchhebb.ops.conv_algorithms import convolutions_by
from torchhebb.recipes import get_recipe

F64, F32 = torch.float64, torch.float32
LAYOUTS = [torch.contiguous_format, torch.channels_last]
MOST = 1e-4


def error(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).norm() / expected.norm())


def gradients(module: nn.Module) -> Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in module.parameters() if parameter.grad is not None])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("make", [BatchNorm, BatchNorm2d])
@pytest.mark.parametrize("chunk", [1, 100_000, batch_norm.CHUNK])
def test_batch_norm_of_many_values(make: Any, layout: torch.memory_format, chunk: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(batch_norm, "CHUNK", chunk)  # one image at a time, six, and all
    x = 0.3 * draw(0, 64, 16, 32, 32) + 3
    weights = draw(1, *x.shape) + x
    found = []
    for dtype in (F64, F32):
        norm = make(16).to(dtype)
        for number, parameter in enumerate(norm.parameters()):  # weight and bias
            parameter.data.copy_(draw(number + 2, 16) + 2)
        given = x.to(dtype).contiguous(memory_format=layout).requires_grad_()
        y = norm(given)
        gradient = torch.autograd.grad((y * weights.to(dtype)).sum(), [given, *norm.parameters()])
        found.append([y.detach(), *gradient, norm.running_mean, norm.running_var])
    assert max(error(*pair) for pair in zip(found[1], found[0], strict=True)) < 1e-5


@pytest.mark.parametrize("layout", LAYOUTS)
def test_batch_norm_of_many_vectors(layout: torch.memory_format):
    x = 0.1 * draw(0, 8192, 32) + 3
    assert error(BatchNorm(32)(x.float()), BatchNorm(32).double()(x)) < 1e-5


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("recipe", "number", "batch"),
    [
        ("softhebb2023-cifar10", 1, 10),
        ("softhebb2023-cifar10", 2, 10),
        ("softhebb2023-cifar10", 3, 10),
        ("sphere2025-cifar10", 1, 32),
        ("sphere2025-cifar10", 2, 4),
        ("sphere2025-cifar10", 3, 4),
    ],
)
def test_update_of_a_block_at_full_width(recipe: str, number: int, batch: int, layout: torch.memory_format):
    architecture = get_recipe(recipe).architecture
    shape = torch.Size(architecture.input_shape)
    for below in architecture.blocks[: number - 1]:
        shape = below.output_shape(shape)
    block = Architecture(tuple(shape), architecture.blocks[number - 1 : number])
    x = draw(13 + number, batch, *shape).abs()
    expected, found = (block.build(0).to(dtype).to(memory_format=layout).train() for dtype in (F64, F32))
    for network, dtype in ((expected, F64), (found, F32)):
        # Contiguous by torch's convolution, channels-last by Winograd's algorithm or patches.
        layers = [layer for layer in network.modules() if isinstance(layer, HebbConv2d)]
        by_torch = layout == torch.contiguous_format
        with convolutions_by({layer.algorithms(x)[0]: "torch" for layer in layers if by_torch}):
            learn(network, x.to(dtype).contiguous(memory_format=layout))
    assert error(gradients(found), gradients(expected)) < MOST
