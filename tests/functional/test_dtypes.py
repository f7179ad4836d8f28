"""Every float dtype gives what float64 gives on the same inputs, up to its rounding, at all scales that are allowed."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.reference import LAW, draw, numbers
from tests.reference import competition as reference
from torchhebb import functional as F
from torchhebb.functional.bayes import mixture_cross_entropy, posterior

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
TEMPERATURES = st.floats(-3, 4).map(lambda power: 10.0**power)
SCALES = st.floats(-3, 4).map(lambda power: 10.0**power)
SEEDS = st.integers(0, 2**31)


def scaled(seed: int, scale: float, *shape: int, dtype: torch.dtype) -> Tensor:
    """Numbers between -scale and scale, exact in `dtype`."""
    drawn = torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (scale * (2 * drawn - 1)).to(dtype)


@LAW
@given(SEEDS, SCALES, TEMPERATURES, st.sampled_from(DTYPES), st.booleans())
def test_soft_wta(seed: int, scale: float, inverse_temperature: float, dtype: torch.dtype, anti_hebbian: bool):
    u = scaled(seed, scale, 3, 8, dtype=dtype)
    y = F.soft_wta(u, inverse_temperature, anti_hebbian=anti_hebbian)
    expected = reference.along(
        lambda line: reference.soft_wta(line, inverse_temperature, anti_hebbian=anti_hebbian), numbers(u)
    )
    assert y.dtype == dtype
    rounding = inverse_temperature * scale * torch.finfo(torch.float32).eps  # of t u, in the exponent
    close = 2 * torch.finfo(dtype).eps + math.expm1(min(4 * rounding, 1.0))
    torch.testing.assert_close(y.double(), torch.from_numpy(expected), rtol=0, atol=close)
    assert y.isfinite().all()
    torch.testing.assert_close(y.double().abs().sum(1), torch.ones(3).double(), rtol=0, atol=8 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_soft_wta_where_the_product_overflows(dtype: torch.dtype):
    u = torch.tensor([[700.0, 650.0, -700.0]], dtype=dtype)
    assert F.soft_wta(u, 100.0).tolist() == [[1.0, 0.0, 0.0]]
    assert F.soft_wta(u, 100.0, bias=torch.zeros(3, dtype=dtype), anti_hebbian=True).tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.parametrize("dtype", DTYPES)
def test_soft_wta_keeps_the_prior_beside_large_inputs(dtype: torch.dtype):
    u, bias = torch.full((1, 2), 512.0, dtype=dtype), torch.tensor([0.125, 0.0], dtype=dtype)
    torch.testing.assert_close(
        F.soft_wta(u, 4.0, bias=bias).double(), torch.softmax(torch.tensor([[0.5, 0.0]]).double(), 1), rtol=0, atol=0.01
    )


@LAW
@given(SEEDS, SCALES, st.sampled_from(DTYPES), st.floats(0, 2), st.booleans())
def test_triangle(seed: int, scale: float, dtype: torch.dtype, threshold: float, split: bool):
    u = scaled(seed, scale, 3, 500, dtype=dtype)
    agree(
        F.triangle(u, threshold=threshold, split=split),
        F.triangle(u.double(), threshold=threshold, split=split),
        dtype,
        scale,
    )


@LAW
@given(SEEDS, SCALES, st.sampled_from(DTYPES), st.booleans())
def test_plasticity(seed: int, scale: float, dtype: torch.dtype, vector: bool):
    statistic, weight = scaled(seed, scale, 4, 30, dtype=dtype), scaled(seed + 1, 1.0, 4, 30, dtype=dtype)
    decay = scaled(seed + 2, scale, 4, dtype=dtype) if vector else None
    expected = F.plasticity(statistic.double(), weight.double(), decay=None if decay is None else decay.double())
    found = F.plasticity(statistic, weight, decay=decay)
    clipped = expected.clamp(-torch.finfo(dtype).max, torch.finfo(dtype).max)
    agree(found.clamp(-torch.finfo(dtype).max, torch.finfo(dtype).max), clipped, dtype, expected.abs().max().item())
    agree(F.plasticity(statistic, weight, decay=decay, out=statistic), found.double(), dtype, 1.0)


@LAW
@given(SEEDS, SCALES, SCALES, st.sampled_from(DTYPES))
def test_norm_adaptive_step(seed: int, radius: float, scale: float, dtype: torch.dtype):
    weight, update = scaled(seed, radius, 4, 30, dtype=dtype), scaled(seed + 1, scale, 4, 30, dtype=dtype)
    expected = F.norm_adaptive_step(weight.double(), update.double(), 0.1)
    agree(F.norm_adaptive_step(weight, update, 0.1), expected, dtype, expected.abs().max().item())


@LAW
@given(SEEDS, TEMPERATURES, st.sampled_from(DTYPES))
def test_log_prior_update(seed: int, inverse_temperature: float, dtype: torch.dtype):
    y_mean = torch.softmax(draw(seed, 6), 0).to(dtype)
    y_mean[0] = 0.0  # a neuron that never answers
    bias = scaled(seed + 1, 30.0, 6, dtype=dtype)
    found = F.log_prior_update(y_mean, bias, inverse_temperature)
    most = torch.finfo(dtype).max
    exact = y_mean.double() * torch.exp(-inverse_temperature * bias.double()).clamp_max(1e300) - 1
    assert found.dtype == dtype
    assert found[0] == -1
    assert found.isfinite().all()
    rounding = 4 * torch.finfo(dtype).eps + 60 * inverse_temperature * torch.finfo(torch.float32).eps
    inside = exact < most / 2
    torch.testing.assert_close(found.double()[inside], exact[inside], rtol=rounding, atol=rounding)
    assert (found[exact > 2 * most].double() >= min(most, torch.finfo(torch.float32).max * 1e-3)).all()


@LAW
@given(SEEDS, SCALES, st.sampled_from(DTYPES), st.sampled_from(["structure", "orthogonality"]))
def test_losses(seed: int, scale: float, dtype: torch.dtype, which: str):
    x, z = scaled(seed, scale, 6, 200, dtype=dtype), scaled(seed + 1, scale, 6, 9, dtype=dtype)
    loss: Callable[..., Tensor] = F.structure_loss if which == "structure" else lambda _, z: F.orthogonality_loss(z)
    agree(loss(x, z), loss(x.double(), z.double()), dtype, 1.0)


@LAW
@given(SEEDS, SCALES, st.integers(2, 16), st.sampled_from(DTYPES), st.sampled_from(["nearest", "stochastic"]))
def test_quantize(seed: int, scale: float, bits: int, dtype: torch.dtype, rounding: str):
    weight = scaled(seed, scale, 3, 8, dtype=dtype)
    size = F.power_of_two_scale(weight, bits)
    assert size.dtype == dtype
    expected = weight.double() / size.double()
    if not (size.double() > 2 ** (2 - bits) * torch.finfo(dtype).smallest_normal).all():
        return  # the level itself is below what the dtype holds
    found = F.quantize(weight, bits, scale=size, rounding=rounding, generator=torch.Generator().manual_seed(seed))  # type: ignore[arg-type]
    distance = (found.double() - weight.double()).abs()
    levels = 0.5 if rounding == "nearest" else 1.0
    assert (distance <= levels * size.double() + torch.finfo(dtype).eps * weight.double().abs() + 1e-30).all()
    assert expected.isfinite().all()


@LAW
@given(SEEDS, st.floats(-3, 2).map(lambda power: 10.0**power), st.sampled_from(DTYPES))
def test_decorrelation_step(seed: int, scale: float, dtype: torch.dtype):
    matrix, x = (torch.eye(5) + 0.1 * draw(seed, 5, 5)).to(dtype), scaled(seed, scale, 40, 5, dtype=dtype)
    expected = F.decorrelation_step(matrix.double(), x.double(), 0.01)
    agree(F.decorrelation_step(matrix, x, 0.01), expected, dtype, expected.abs().max().item())


@LAW
@given(SEEDS, TEMPERATURES, st.sampled_from(DTYPES))
def test_posterior_and_cross_entropy(seed: int, inverse_temperature: float, dtype: torch.dtype):
    x, weight = (torch.nn.functional.normalize(draw(seed + i, 4, 30)).to(dtype) for i in (0, 1))
    agree(
        posterior(x, weight, inverse_temperature), posterior(x.double(), weight.double(), inverse_temperature), dtype, 1
    )
    exact = mixture_cross_entropy(x.double(), weight.double(), inverse_temperature)
    agree(mixture_cross_entropy(x, weight, inverse_temperature), exact, dtype, exact.abs().item())


@LAW
@given(SEEDS, SCALES, st.sampled_from(DTYPES))
def test_winners_are_exact(seed: int, scale: float, dtype: torch.dtype):
    u = scaled(seed, scale, 3, 8, dtype=dtype)
    agree(F.hard_wta(u), F.hard_wta(u.double()), dtype, 0.0)
    agree(F.signed_wta(u), F.signed_wta(u.double()), dtype, 0.0)
    agree(F.ranked_wta(u, delta=0.5), F.ranked_wta(u.double(), delta=0.5), dtype, 0.0)


def agree(found: Tensor, expected: Tensor, dtype: torch.dtype, scale: float) -> None:
    """Equal up to a few roundings of numbers of that scale."""
    assert found.dtype == dtype
    torch.testing.assert_close(
        found.double(), expected, rtol=0, atol=8 * torch.finfo(dtype).eps * scale + 1e-7 * (scale > 0)
    )


def test_autocast_leaves_the_soft_wta_in_float32_and_meta_tensors_have_shapes():
    u = torch.randn(2, 4, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert F.soft_wta(u, 2.0).dtype == torch.float32
    assert F.soft_wta(u, 2.0).dtype == torch.bfloat16
    assert F.soft_wta(torch.empty(2, 4, device="meta")).shape == (2, 4)
