"""The von Mises-Fisher mixture: its constants, its densities, and samples that follow it."""

import math

import numpy as np
import pytest
import scipy.special
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from tests.reference import LAW, TOLERANCE, agree, draw, numbers
from tests.reference import bayes as reference
from torchhebb.functional import (
    component_log_density,
    log_normaliser,
    mean_resultant_length,
    mixture_log_density,
    sample_mixture,
)

DIMENSIONS = [2, 3, 5, 20, 784, 3072]
CONCENTRATIONS = [1e-3, 0.5, 7.0, 100.0, 1e3, 1e4]
CASES = [(1, 2, 1, 0.0), (4, 3, 2, 2.5), (3, 20, 5, 40.0), (2, 784, 3, 300.0), (2, 3072, 2, 1e3)]  # B, d, K, kappa


def unit(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random unit rows."""
    return normalize(draw(seed, *shape), dim=1).to(dtype)


def priors(bias: Tensor, kappa: float) -> list[float]:
    """exp(kappa b_k), scaled to sum to one."""
    powers = np.exp(kappa * numbers(bias))
    return list(powers / powers.sum())


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("kappa", [0.0, *CONCENTRATIONS])
def test_log_normaliser(dimension: int, kappa: float):
    [expected] = reference.logarithm([reference.normaliser(dimension, kappa)])
    assert log_normaliser(dimension, kappa) == pytest.approx(expected, rel=1e-14, abs=3e-11)


def test_log_normaliser_where_scipy_does_not_overflow():
    compared = 0
    for dimension in DIMENSIONS:
        order = dimension / 2 - 1
        for kappa in CONCENTRATIONS:
            scaled = scipy.special.ive(order, kappa)  # I(kappa) exp(-kappa): zero where it underflows
            if scaled > 1e-290:
                expected = order * math.log(kappa) - dimension / 2 * math.log(2 * math.pi) - math.log(scaled) - kappa
                assert log_normaliser(dimension, kappa) == pytest.approx(expected, rel=1e-10, abs=1e-10)
                compared += 1
    assert compared > len(DIMENSIONS) * len(CONCENTRATIONS) / 2


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("kappa", CONCENTRATIONS)
def test_mean_resultant_length(dimension: int, kappa: float):
    expected = reference.mean_resultant_length(dimension, kappa)
    assert mean_resultant_length(dimension, kappa) == pytest.approx(expected, rel=1e-10)


def test_a_uniform_density_has_no_direction():
    assert mean_resultant_length(7, 0.0) == 0


@pytest.mark.parametrize("dimension", [2, 3, 20, 3072])
@pytest.mark.parametrize("kappa", [1.0, 50.0, 900.0])
def test_the_normaliser_falls_by_the_mean_resultant_length(dimension: int, kappa: float):
    step = 1e-3 * kappa
    slope = (log_normaliser(dimension, kappa + step) - log_normaliser(dimension, kappa - step)) / (2 * step)
    assert -slope == pytest.approx(mean_resultant_length(dimension, kappa), rel=1e-5)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize(("samples", "dimension", "components", "kappa"), CASES)
def test_component_log_density(samples: int, dimension: int, components: int, kappa: float, dtype: torch.dtype):
    x, weight = unit(0, samples, dimension, dtype=dtype), 3 * draw(1, components, dimension, dtype=dtype)
    means = numbers(weight) / np.linalg.norm(numbers(weight), axis=1, keepdims=True)
    expected = [reference.logarithm(row) for row in reference.component_density(numbers(x), means, kappa)]
    agree(component_log_density(x, weight, kappa), np.array(expected), dtype)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("samples", "dimension", "components", "kappa"), CASES)
def test_mixture_log_density(
    samples: int, dimension: int, components: int, kappa: float, biased: bool, dtype: torch.dtype
):
    x, means = unit(2, samples, dimension, dtype=dtype), unit(3, components, dimension)
    bias = draw(4, components) / max(kappa, 1.0)
    prior = priors(bias, kappa) if biased else [1 / components] * components
    expected = reference.logarithm(reference.mixture_density(numbers(x), numbers(means), kappa, prior))
    actual = mixture_log_density(x, means, kappa, bias=bias if biased else None)
    agree(actual, expected, dtype)


@pytest.mark.parametrize("kappa", [0.0, 1.0, 30.0])
def test_density_on_the_circle_integrates_to_one(kappa: float):
    angle = torch.arange(2000, dtype=torch.float64) * (2 * math.pi / 2000)
    x = torch.stack([angle.cos(), angle.sin()], 1)
    total = mixture_log_density(x, unit(5, 3, 2), kappa, bias=0.1 * draw(6, 3)).exp().mean() * 2 * math.pi
    agree(total, 1.0)


@pytest.mark.parametrize("kappa", [0.0, 1.0, 30.0])
def test_density_on_the_sphere_integrates_to_one(kappa: float):
    height, share = (torch.from_numpy(values) for values in np.polynomial.legendre.leggauss(100))
    angle = torch.arange(200, dtype=torch.float64) * (2 * math.pi / 200)
    height, angle = (grid.flatten() for grid in torch.meshgrid(height, angle, indexing="ij"))
    ring = (1 - height.square()).sqrt()
    x = torch.stack([ring * angle.cos(), ring * angle.sin(), height], 1)
    density = mixture_log_density(x, unit(7, 3, 3), kappa, bias=0.1 * draw(8, 3)).exp().view(100, 200)
    agree((density.mean(1) * 2 * math.pi * share).sum(), 1.0)


def test_only_directions_of_weights_and_differences_of_bias_count():
    x, weight, bias = unit(9, 4, 6), draw(10, 3, 6), draw(11, 3)
    scaled = weight * torch.tensor([[0.1], [2.0], [30.0]])
    expected = mixture_log_density(x, weight, 3.0, bias=bias)
    agree(mixture_log_density(x, scaled, 3.0, bias=bias + 5), expected)


def test_densities_are_differentiable():
    x, weight, bias = unit(12, 3, 4), draw(13, 2, 4).requires_grad_(), draw(14, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda w, b: mixture_log_density(x, w, 1.5, bias=b), (weight, bias))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("dimension", "kappa"), [(2, 0.0), (2, 3.0), (3, 1e4), (20, 40.0), (300, 5.0), (300, 2000.0)])
def test_samples_have_the_moments_of_their_density(dimension: int, kappa: float):
    """mu . x has mean A and variance 1 - A^2 - (d - 1) A / kappa; the rest of x has no direction."""
    count, mean = 5000, unit(15, 1, dimension)
    x, component = sample_mixture(count, mean, kappa, generator=generator())
    assert x.dtype == torch.float64 and not component.any()
    agree(x.norm(dim=1), torch.ones(count))
    length = reference.mean_resultant_length(dimension, kappa) if kappa else 0.0
    variance = 1 - length**2 - (dimension - 1) * (length / kappa if kappa else 1 / dimension)
    along = x @ mean[0]
    assert abs(along.mean() - length) < 4 * math.sqrt(variance / count)
    fourth = (along - along.mean()).pow(4).mean()
    assert abs(along.var() - variance) < 4 * ((fourth - variance**2) / count).sqrt()
    aside = x - along[:, None] * mean
    spread = math.sqrt((1 - length**2 - variance) / (dimension - 1))
    assert aside.mean(0).norm() < 4 * spread * math.sqrt(dimension / count)


def test_samples_follow_the_density_all_along():
    """Quantiles of mu . x in three dimensions, where its distribution function is elementary."""
    kappa, mean = 2.0, unit(16, 1, 3)
    x, _ = sample_mixture(20_000, mean, kappa, generator=generator(1))
    along = numbers((x @ mean[0]).sort().values)
    exact = (np.exp(kappa * along) - np.exp(-kappa)) / (np.exp(kappa) - np.exp(-kappa))
    assert abs(exact - (np.arange(20_000) + 0.5) / 20_000).max() < 1.95 / math.sqrt(20_000)  # Kolmogorov, 0.1 %


def test_samples_come_from_their_components_by_their_priors():
    means, prior, kappa = unit(17, 3, 10), torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64), 25.0
    x, component = sample_mixture(20_000, means, kappa, bias=prior.log() / kappa, generator=generator(2))
    share = component.bincount(minlength=3) / len(component)
    assert (share - prior).abs().max() < 4 * math.sqrt(0.25 / len(component))
    for k in range(3):
        own = x[component == k].mean(0) / mean_resultant_length(10, kappa)
        torch.testing.assert_close(own, means[k], rtol=0, atol=0.03)


def test_samples_follow_their_generator_and_the_dtype_of_the_means():
    first, again, other = (
        sample_mixture(50, unit(18, 2, 5, dtype=torch.float32), 4.0, generator=generator(seed))[0] for seed in (3, 3, 4)
    )
    assert first.dtype == torch.float32
    assert torch.equal(first, again) and not torch.equal(first, other)


@LAW
@given(st.integers(2, 4000), st.floats(0, 1e4))
def test_constants_are_finite(dimension: int, kappa: float):
    assert math.isfinite(log_normaliser(dimension, kappa))
    assert 0 <= mean_resultant_length(dimension, kappa) < 1


@pytest.mark.parametrize(("dimension", "kappa", "name"), [(1, 1.0, "dimension"), (3, -1.0, "inverse_temperature"),
                                                          (3, math.inf, "inverse_temperature"),
                                                          (3, math.nan, "inverse_temperature")])  # fmt: skip
def test_impossible_constants_are_named(dimension: int, kappa: float, name: str):
    for call in (log_normaliser, mean_resultant_length):
        with pytest.raises(ValueError, match=f"{name} must .*got"):
            call(dimension, kappa)
    with pytest.raises(ValueError, match=f"{name} must .*got"):
        sample_mixture(3, torch.ones(2, dimension), kappa, generator=generator())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.ones(2, 3)}, "x must hold unit vectors, got norms from 1.73"),
        ({"x": torch.full((2, 3), math.nan)}, "x must hold unit vectors, got norms from nan"),
        ({"x": torch.eye(4)}, r"x must have shape \(B, 3\), got \(4, 4\)"),
        ({"weight": torch.ones(3)}, r"weight must have shape \(K, d\), got \(3,\)"),
        ({"weight": torch.zeros(2, 3)}, "every row of weight must have a direction"),
        ({"weight": torch.full((2, 3), math.inf)}, "every row of weight must have a direction"),
        ({"bias": torch.zeros(3)}, r"bias must have shape \(2,\), got \(3,\)"),
    ],
)
def test_impossible_inputs_are_named(change: dict[str, Tensor], message: str):
    given = {"x": torch.eye(3), "weight": torch.ones(2, 3), "bias": torch.zeros(2)} | change
    with pytest.raises(ValueError, match=message):
        mixture_log_density(given["x"], given["weight"], 1.0, bias=given["bias"])
    if "x" not in change:
        with pytest.raises(ValueError, match=message):
            sample_mixture(3, given["weight"], 1.0, bias=given["bias"], generator=generator())


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match="samples must be positive, got 0"):
        sample_mixture(0, torch.eye(2), 1.0, generator=generator())


def test_a_series_has_an_end() -> None:
    assert math.isfinite(log_normaliser(3, 1e6))
    with pytest.raises(ValueError, match=r"inverse_temperature must be from 0 to 1e\+07, got 1e\+38"):
        log_normaliser(2, 1e38)
