"""The posterior by Bayes' rule, the divergence between data and model, and the bias that learns the log prior."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from tests.reference import LAW, TOLERANCE, agree, draw, numbers
from tests.reference import bayes as reference
from torchhebb.functional import kl_divergence, log_prior_update, mixture_cross_entropy, posterior, soft_wta
from torchhebb.nn import HebbLinear
from torchhebb.rules import SoftHebb

CASES = [(1, 2, 1, 0.1), (4, 3, 2, 2.5), (3, 20, 5, 40.0), (2, 784, 10, 300.0), (2, 3072, 4, 1e4)]  # B, d, K, kappa


def problem(
    samples: int, dimension: int, components: int, kappa: float, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor, list[float]]:
    """Inputs, means, a bias, and the priors that it stands for; means 1 / kappa apart, so that components compete."""
    means = normalize(normalize(draw(1, 1, dimension), dim=1) + draw(2, components, dimension) / max(kappa, 1.0), dim=1)
    x = normalize(draw(0, samples, dimension), dim=1)
    bias = draw(3, components) / max(kappa, 1.0)
    powers = np.exp(kappa * numbers(bias))
    return x.to(dtype), means, bias, list(powers / powers.sum())


def layer(weight: Tensor, bias: Tensor, kappa: float) -> HebbLinear:
    components, dimension = weight.shape
    made = HebbLinear(
        dimension, components, bias=True, rule=SoftHebb(kappa, anti_hebbian=False), dtype=torch.float64, init_radius=1.0
    )
    made.weight.copy_(weight)
    assert made.bias is not None
    made.bias.copy_(bias)
    return made


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("case", [(3, 4, 2, 0.0), *CASES])
def test_posterior(case: tuple[int, int, int, float], dtype: torch.dtype):
    x, means, bias, priors = problem(*case, dtype)
    expected = reference.posterior(numbers(x), numbers(means), case[3], priors)
    agree(posterior(x, means, case[3], bias=bias), expected, dtype)
    uniform = reference.posterior(numbers(x), numbers(means), case[3], [1 / len(means)] * len(means))
    agree(posterior(x, means, case[3]), uniform, dtype)


@pytest.mark.parametrize("case", CASES)
def test_the_layer_infers_the_posterior(case: tuple[int, int, int, float]):
    (x, means, bias, priors), kappa = problem(*case), case[3]
    hebb = layer(means, bias, kappa)
    y = soft_wta(hebb(x), kappa, bias=hebb.bias)
    agree(y, posterior(x, hebb.weight, kappa, bias=hebb.bias))
    agree(y, reference.posterior(numbers(x), numbers(means), kappa, priors))


@pytest.mark.parametrize("radius", [0.5, 3.0])
def test_a_common_radius_multiplies_the_concentration(radius: float):
    x, means, bias, _ = problem(3, 20, 5, 40.0)
    y = soft_wta(x @ (radius * means).T, 40.0, bias=bias)
    agree(y, posterior(x, means, radius * 40.0, bias=bias / radius))
    assert (y - posterior(x, means, 40.0, bias=bias)).abs().max() > 0.01


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("case", [(3, 4, 2, 0.0), *CASES])
def test_mixture_cross_entropy(case: tuple[int, int, int, float], dtype: torch.dtype):
    x, means, bias, priors = problem(*case, dtype)
    for prior, given_bias in ((priors, bias), ([1 / len(means)] * len(means), None)):
        density = reference.mixture_density(numbers(x), numbers(means), case[3], prior)
        expected = -reference.logarithm(density).mean()
        agree(mixture_cross_entropy(x, means, case[3], bias=given_bias), expected, dtype)


@pytest.mark.parametrize("case", CASES)
def test_what_the_layer_learns_is_steepest_descent_on_the_cross_entropy(case: tuple[int, int, int, float]):
    (x, means, bias, priors), kappa = problem(*case), case[3]
    hebb = layer(means, torch.tensor(priors, dtype=torch.float64).log() / kappa, kappa)
    hebb.learn(x)
    assert hebb.bias is not None and hebb.weight.grad is not None and hebb.bias.grad is not None
    weight, bias = means.clone().requires_grad_(), hebb.bias.clone().requires_grad_()
    mixture_cross_entropy(x, weight, kappa, bias=bias).backward()
    assert weight.grad is not None and bias.grad is not None
    agree(hebb.weight.grad, weight.grad / kappa)
    agree(hebb.bias.grad, bias.grad / (kappa * torch.tensor(priors)))


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("samples", [1, 7])
def test_kl_divergence(samples: int, dtype: torch.dtype):
    log_p, log_q = draw(3, samples, dtype=dtype), draw(4, samples, dtype=dtype)
    expected = sum(math.log(math.exp(p) / math.exp(q)) for p, q in zip(log_p.tolist(), log_q.tolist(), strict=True))
    agree(kl_divergence(log_p, log_q), expected / samples, dtype)


def test_kl_divergence_needs_the_same_samples():
    with pytest.raises(ValueError, match=r"same samples, got \(3,\) and \(3, 1\)"):
        kl_divergence(torch.zeros(3), torch.zeros(3, 1))


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
