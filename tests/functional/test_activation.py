"""The triangle agrees with one vector at a time, and its gradient is usable."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.reference import LAW, TOLERANCE, agree, draw, numbers
from tests.reference import activation as reference
from tests.reference.competition import along
from torchhebb.functional import triangle
from torchhebb.nn import Triangle


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("power", [0.7, 1.0, 1.4, 2.0])
@pytest.mark.parametrize(("shape", "dim"), [((4, 7), 1), ((1, 3), 1), ((2, 5, 3, 2), 1), ((3, 2, 6), -1), ((6, 4), 0)])
def test_triangle(shape: tuple[int, ...], dim: int, power: float, dtype: torch.dtype):
    u = draw(0, *shape, dtype=dtype)
    expected = along(lambda line: reference.triangle(line, power), numbers(u), dim)
    agree(triangle(u, power, dim=dim), expected, dtype)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize(("shape", "dim"), [((4, 7), 1), ((2, 5, 3, 2), 1), ((3, 2, 6), -1)])
def test_threshold(shape: tuple[int, ...], dim: int, dtype: torch.dtype):
    u = draw(0, *shape, dtype=dtype)
    for threshold in (0.5, -0.3):
        expected = along(lambda line, t=threshold: reference.triangle(line, 1.4, threshold=t), numbers(u), dim)  # type: ignore[misc]
        agree(triangle(u, 1.4, threshold=threshold, dim=dim), expected, dtype)


@pytest.mark.parametrize(("shape", "dim"), [((4, 7), 1), ((2, 5, 3, 2), 1), ((3, 2, 6), -1)])
@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_split(shape: tuple[int, ...], dim: int, threshold: float):
    u = draw(0, *shape)
    sides = [
        along(lambda line, sign=sign: reference.triangle(sign * line, 1.4, threshold=threshold), numbers(u), dim)  # type: ignore[misc]
        for sign in (1, -1)
    ]
    agree(triangle(u, 1.4, threshold=threshold, split=True, dim=dim), np.concatenate(sides, dim))


def test_split_gives_back_what_the_mean_took():
    u = draw(2, 3, 6)
    above, below = triangle(u, split=True).chunk(2, 1)
    agree(above - below, u - u.mean(1, keepdim=True))


def test_power_is_one_by_default():
    u = draw(1, 3, 4, 2)
    agree(triangle(u), along(reference.rectify, numbers(u)))


@pytest.mark.parametrize("shape", [(4, 7), (2, 5, 3, 2)])
def test_a_detached_mean_changes_the_gradient_alone(shape: tuple[int, ...]):
    u = draw(3, *shape).requires_grad_()
    kept, detached = triangle(u, 1.4), Triangle(1.4, detach_mean=True)(u)
    assert torch.equal(kept, detached)
    own = torch.autograd.grad(kept.sum(), u)[0]
    found = torch.autograd.grad(detached.sum(), u)[0]
    # With f' = 1.4 (u - mean)^0.4 where that is positive: through the mean every neuron loses the mean of f'.
    agree(found, 1.4 * (u - u.mean(1, keepdim=True)).clamp_min(0).pow(0.4))
    agree(own, found - found.mean(1, keepdim=True))


def test_gradient_away_from_the_kink():
    u = torch.tensor([[0.0, 1.0, 4.0], [-3.0, 2.0, 0.5]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(triangle, (u,))
    assert torch.autograd.gradcheck(lambda u: triangle(u, 1.4), (u,))


@pytest.mark.parametrize("power", [0.7, 1.0, 1.4])
def test_gradient_is_finite_where_neurons_are_silent(power: float):
    u = torch.tensor([[0.0, 1.0, 4.0], [2.0, 2.0, 2.0]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(triangle(u, power).sum(), u)
    assert gradient.isfinite().all()
    assert gradient[0].abs().sum() > 0


@LAW
@given(st.integers(0, 2**31), st.floats(0.1, 10), st.floats(-5, 5), st.floats(0.3, 3))
def test_shift_is_ignored_and_scale_is_a_power(seed: int, scale: float, shift: float, power: float):
    u = torch.randperm(8, generator=torch.Generator().manual_seed(seed)).double()[None]  # no entry sits on the mean
    agree(triangle(scale * u + shift, power), scale**power * triangle(u, power))
