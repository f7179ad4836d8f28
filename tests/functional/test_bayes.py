"""The bias learns the log prior."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.reference import LAW, TOLERANCE, agree, draw, numbers
from tests.reference import bayes as reference
from torchhebb.functional import log_prior_update


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("inverse_temperature", [0.5, 1.0, math.log(200)])
def test_log_prior_update(inverse_temperature: float, dtype: torch.dtype):
    y, bias = torch.softmax(draw(0, 9), 0).to(dtype), (0.25 * draw(1, 9)).to(dtype)
    expected = reference.log_prior_update(numbers(y), numbers(bias), inverse_temperature)
    agree(log_prior_update(y, bias, inverse_temperature), expected, dtype)


def test_base_is_e_by_default():
    y, bias = torch.softmax(draw(2, 5), 0), draw(3, 5)
    agree(log_prior_update(y, bias), reference.log_prior_update(numbers(y), numbers(bias)))


@LAW
@given(st.integers(0, 2**31), st.floats(0.2, 10))
def test_fixed_point_is_the_log_of_the_mean_activity(seed: int, inverse_temperature: float):
    y = torch.softmax(draw(seed, 6), 0)
    fixed = y.log() / inverse_temperature
    agree(log_prior_update(y, fixed, inverse_temperature), torch.zeros(6))
    assert (log_prior_update(y, fixed - 0.1, inverse_temperature) > 0).all()  # drawn back from both sides
    assert (log_prior_update(y, fixed + 0.1, inverse_temperature) < 0).all()
