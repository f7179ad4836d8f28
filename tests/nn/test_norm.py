"""BatchNorm is PyTorch's, for vectors and images alike."""

from typing import Any

import pytest
import torch
from torch import nn

from tests.reference import agree, draw
from torchhebb.nn import BatchNorm, BatchNorm2d, UnitNorm

SHAPES = [(6, 3), (4, 3, 5, 2), (1, 3, 4, 4)]


def peer(shape: tuple[int, ...]) -> nn.Module:
    return (nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d)(3, affine=False, dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES)
def test_train_and_eval(shape: tuple[int, ...]):
    norm, expected = BatchNorm(3).double(), peer(shape)
    for step in range(3):
        x = 3 * draw(step, *shape) + 2
        agree(norm(x), expected(x))
        agree(norm.running_mean, expected.running_mean)
        agree(norm.running_var, expected.running_var)
    before = norm.running_mean.clone()
    x = draw(9, *shape)
    agree(norm.eval()(x), expected.eval()(x))
    assert torch.equal(norm.running_mean, before)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [False, True])
def test_gradient(shape: tuple[int, ...], training: bool):
    norm, expected = BatchNorm(3).double().train(training), peer(shape).train(training)
    x, other = (draw(1, *shape).requires_grad_() for _ in range(2))
    norm(x).pow(3).sum().backward()
    expected(other).pow(3).sum().backward()
    assert x.grad is not None and other.grad is not None
    agree(x.grad, other.grad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtype_is_kept(dtype: torch.dtype):
    x = draw(2, 8, 3, 4, 4, dtype=dtype)
    agree(BatchNorm(3).to(dtype)(x), peer(x.shape)(x.double()), dtype)


def test_there_is_nothing_to_learn_by_gradient():
    norm = BatchNorm(3)
    assert list(norm.parameters()) == []
    assert {"running_mean", "running_var"} <= set(norm.state_dict())


def test_state_round_trip():
    norm, other = BatchNorm(3), BatchNorm(3)
    norm(draw(3, 6, 3, dtype=torch.float32))
    other.load_state_dict(norm.state_dict())
    x = draw(4, 6, 3, dtype=torch.float32)
    assert torch.equal(other.eval()(x), norm.eval()(x))


@pytest.mark.parametrize("shape", [(6, 2), (2, 4, 3, 3)])
def test_impossible_inputs_are_named(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match="got"):
        BatchNorm(3)(torch.zeros(shape))


@pytest.mark.parametrize("make", [BatchNorm, BatchNorm2d])
@pytest.mark.parametrize("count", [0, 1])
def test_a_batch_without_a_variance_takes_the_running_statistics(make: Any, count: int):
    norm = make(3).double()
    norm(draw(0, 6, 3, 2, 2))
    before = norm.running_mean.clone(), norm.running_var.clone()
    x = draw(1, count, 3, 1, 1)
    found = norm(x)
    assert torch.equal(norm.running_mean, before[0]) and torch.equal(norm.running_var, before[1])
    assert found.shape == x.shape and torch.allclose(found, norm.eval()(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 1e4])
def test_unit_norm_in_any_dtype(dtype: torch.dtype, scale: float) -> None:
    x = torch.full((2, 1, 28, 28), scale, dtype=dtype)
    expected = torch.full_like(x, 1 / 28 if scale else 0.0)
    found = UnitNorm()(x)
    assert found.dtype == dtype and torch.allclose(found, expected, rtol=1e-2, atol=0)


def test_the_variance_around_a_large_mean_is_accurate() -> None:
    """What rounding leaves of the mean is taken off the sum of squares."""
    noise = torch.randn(4096, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    x = (30000.001 + noise.double() * 5e-3).float().contiguous(memory_format=torch.channels_last)
    norm = BatchNorm(3, momentum=1.0)
    norm(x)
    assert torch.allclose(norm.running_var.double(), x.double().var((0, 2, 3)), rtol=1e-4)
