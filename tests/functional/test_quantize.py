"""Quantisation lands on its grid, rounds without bias where it says so, and never loses what is on the grid."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.reference import LAW, draw
from torchhebb.functional.quantize import power_of_two_scale, quantize

SEEDS = st.integers(0, 2**31)
BITS = st.integers(2, 16)
SCALES = st.floats(1e-3, 1e3)
ROUNDINGS = pytest.mark.parametrize("rounding", ["nearest", "stochastic"])


def drawn(weight: Tensor, bits: int, scale: float | Tensor, rounding: str, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return quantize(weight, bits, scale=scale, rounding=rounding, generator=generator)  # type: ignore[arg-type]


@ROUNDINGS
@LAW
@given(SEEDS, BITS, SCALES)
def test_it_lands_on_one_of_the_levels_next_to_the_weight(rounding: str, seed: int, bits: int, scale: float):
    levels = 2 ** (bits - 1) - 1
    weight = levels * scale * draw(seed, 50)
    level = drawn(weight, bits, scale, rounding) / scale
    torch.testing.assert_close(level, level.round(), rtol=0, atol=1e-9)
    assert level.abs().max() <= levels * (1 + 1e-12)
    inside = weight.abs() <= levels * scale
    reach = 0.5 if rounding == "nearest" else 1.0
    assert ((level - weight / scale).abs()[inside] <= reach + 1e-9).all()
    torch.testing.assert_close(level[~inside], levels * weight[~inside].sign())


@pytest.mark.parametrize(("bits", "levels"), [(2, 1), (4, 7), (8, 127), (16, 32767)])
def test_levels_per_side(bits: int, levels: int):
    every = quantize(torch.arange(-70_000.0, 70_000.0), bits, scale=1.0).unique()
    assert torch.equal(every, torch.arange(-levels, levels + 1.0))


def test_nearest_ties_go_to_the_even_level():
    assert quantize(torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5]), 8, scale=1.0).tolist() == [0, 2, 2, 0, -2]


@pytest.mark.parametrize("weight", [0.0, 0.1, 0.5, 0.93, -0.25, 2.718, -3.0])
@pytest.mark.parametrize("scale", [0.37, 1.0])
def test_stochastic_rounding_is_unbiased(weight: float, scale: float):
    count = 100_000
    rounded = drawn(torch.full((count,), weight, dtype=torch.float64), 8, scale, "stochastic", seed=3)
    fraction = weight / scale - math.floor(weight / scale)
    std = scale * math.sqrt(fraction * (1 - fraction))
    assert abs(rounded.mean() - weight) <= 5 * std / math.sqrt(count) + 1e-9
    assert abs(rounded.std() - std) <= 0.02 * scale


def test_stochastic_rounding_keeps_a_drift_that_nearest_loses():
    weights = {"nearest": torch.full((2000,), 10.0), "stochastic": torch.full((2000,), 10.0)}
    for step in range(100):
        for rounding, weight in weights.items():
            weights[rounding] = drawn(weight - 0.05, 8, 1.0, rounding, seed=step)
    assert torch.equal(weights["nearest"], torch.full((2000,), 10.0))
    assert abs(weights["stochastic"].mean() - 5) < 5 * math.sqrt(100 * 0.05 * 0.95 / 2000)


@ROUNDINGS
@LAW
@given(SEEDS, BITS, st.integers(-20, 5))
def test_what_is_on_a_grid_of_powers_of_two_stays(rounding: str, seed: int, bits: int, exponent: int):
    scale = 2.0**exponent
    weight = drawn((draw(seed, 40) * 2 ** (bits - 2) * scale).float(), bits, scale, "stochastic", seed)
    for again in range(3):
        assert torch.equal(drawn(weight, bits, scale, rounding, again), weight)


@ROUNDINGS
def test_draws_follow_the_generator_and_dtype_and_memory_format_stay(rounding: str):
    weight = draw(1, 6, 4, 3, 3).float().contiguous(memory_format=torch.channels_last)
    first, same, other = (drawn(weight, 4, 0.3, rounding, seed) for seed in (0, 0, 1))
    assert torch.equal(first, same) and torch.equal(first, other) == (rounding == "nearest")
    assert first.dtype == torch.float32 and first.is_contiguous(memory_format=torch.channels_last)


@LAW
@given(SEEDS, BITS, st.floats(1e-3, 1e3), st.sampled_from(["neuron", "layer"]))
def test_the_scale_is_the_smallest_power_of_two_that_clips_nothing(seed: int, bits: int, size: float, per: str):
    weight = (size * draw(seed, 5, 2, 3)).float()
    scale = power_of_two_scale(weight, bits, per=per)  # type: ignore[arg-type]
    assert scale.shape == ((5, 1, 1) if per == "neuron" else (1, 1, 1))
    assert torch.equal(torch.frexp(scale).mantissa, torch.full_like(scale, 0.5))
    most = (2 ** (bits - 1) - 1) * scale
    largest = weight.abs().amax((1, 2) if per == "neuron" else (0, 1, 2), keepdim=True)
    assert (largest <= most).all() and (largest > most / 2).all()


@LAW
@given(SEEDS, BITS)
def test_a_halved_level_moves_no_weight(seed: int, bits: int):
    scale = power_of_two_scale(draw(seed, 4, 6).float(), bits)
    coarse = quantize(draw(seed, 4, 6).float() / 4, bits, scale=scale)
    assert torch.equal(quantize(coarse, bits, scale=power_of_two_scale(coarse, bits)), coarse)


def test_zero_weights_have_a_scale():
    assert torch.equal(power_of_two_scale(torch.zeros(2, 3), 8), torch.ones(2, 1))


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="bits must lie from 2 to 64, got 1"):
        quantize(torch.zeros(2), 1, scale=1.0)
    with pytest.raises(ValueError, match="bits must lie from 2 to 64, got 0"):
        power_of_two_scale(torch.zeros(2, 2), 0)
    with pytest.raises(ValueError, match="rounding must be nearest or stochastic, got 'up'"):
        quantize(torch.zeros(2), 8, scale=1.0, rounding="up")  # type: ignore[arg-type]
