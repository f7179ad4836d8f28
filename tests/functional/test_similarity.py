"""The terms of the local loss agree with one pair of rows at a time; zero vectors do no harm."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.reference import LAW, TOLERANCE, agree, draw, numbers
from tests.reference import similarity as reference
from torchhebb.functional import orthogonality_loss, structure_loss

SEEDS = st.integers(0, 2**31)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize(("batch", "inputs", "outputs"), [(1, 3, 2), (5, 7, 3), (6, 2, 9), (4, 1, 1)])
def test_structure_loss(batch: int, inputs: int, outputs: int, dtype: torch.dtype):
    x, z = draw(0, batch, inputs, dtype=dtype), draw(1, batch, outputs, dtype=dtype)
    loss = structure_loss(x, z)
    assert loss.shape == ()
    agree(loss, reference.structure_loss(numbers(x), numbers(z)), dtype)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize(("batch", "width"), [(1, 3), (5, 7), (6, 2), (4, 1)])
def test_orthogonality_loss(batch: int, width: int, dtype: torch.dtype):
    z = draw(2, batch, width, dtype=dtype)
    loss = orthogonality_loss(z)
    assert loss.shape == ()
    agree(loss, reference.orthogonality_loss(numbers(z)), dtype)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_images_are_compared_as_flat_vectors(layout: torch.memory_format):
    x, z = draw(3, 4, 2, 3, 3), draw(4, 4, 3, 2, 2)
    found = structure_loss(*(images.contiguous(memory_format=layout) for images in (x, z)))
    agree(found, reference.structure_loss(numbers(x.flatten(1)), numbers(z.flatten(1))))


def zero_row(z: Tensor) -> Tensor:
    return torch.cat([z[:-1], torch.zeros_like(z[:1])])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_zero_vectors_are_orthogonal_to_all(dtype: torch.dtype):
    x, z = zero_row(draw(5, 4, 3, dtype=dtype)), zero_row(draw(6, 4, 5, dtype=dtype))
    agree(structure_loss(x, z), reference.structure_loss(numbers(x), numbers(z)), dtype)
    columns = z.T.contiguous()
    agree(orthogonality_loss(columns), reference.orthogonality_loss(numbers(columns)), dtype)


def test_zero_vectors_in_half_precision():
    z = zero_row(draw(5, 4, 3, dtype=torch.float16))
    for loss in (structure_loss(z, z + 1), orthogonality_loss(z.T)):
        assert loss.isfinite() and loss > 0


@pytest.mark.parametrize("loss", [lambda x, z: structure_loss(x, z), lambda x, z: orthogonality_loss(z.T)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_gradient_at_zero_vectors_is_finite(loss: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype):
    x, z = draw(7, 4, 3, dtype=dtype), zero_row(draw(8, 4, 5, dtype=dtype)).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(x, z), z)
    assert gradient.isfinite().all()
    assert gradient[0].abs().sum() > 0


def test_gradients():
    x, z = draw(9, 5, 4).requires_grad_(), draw(10, 5, 3).requires_grad_()
    assert torch.autograd.gradcheck(structure_loss, (x, z))
    assert torch.autograd.gradcheck(orthogonality_loss, (z,))


@LAW
@given(SEEDS, st.integers(2, 8), st.integers(1, 6))
def test_structure_ignores_scale_and_rotation(seed: int, batch: int, width: int):
    x, scales = draw(seed, batch, width), draw(seed + 1, batch, 1).abs() + 0.1
    rotation, _ = torch.linalg.qr(draw(seed + 2, width, width))
    agree(structure_loss(x, scales * x @ rotation), 0.0)
    z = draw(seed + 3, batch, 3)
    agree(structure_loss(x, z), structure_loss(z, x))


@LAW
@given(SEEDS, st.integers(1, 6), st.integers(0, 5))
def test_orthogonal_columns_cost_nothing(seed: int, width: int, more: int):
    columns, _ = torch.linalg.qr(draw(seed, width + more, width))
    agree(orthogonality_loss(3.0 * columns), 0.0)


@LAW
@given(SEEDS, st.integers(1, 8))
def test_more_columns_than_samples_cost_at_least_the_rank_bound(seed: int, batch: int):
    width = 2 * batch  # n unit columns in d dimensions: sum of squared cosines >= n^2 / d, here with equality
    frame = torch.cat([torch.linalg.qr(draw(seed + i, batch, batch))[0] for i in range(2)], 1)
    agree(orthogonality_loss(frame), 1 / width)
    assert orthogonality_loss(draw(seed, batch, width)) >= 1 / width - 1e-12
