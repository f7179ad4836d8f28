"""HebbLinear against one sample at a time; its bias is a log prior; it is a convolution of one pixel."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.reference import LAW, agree, bayes, competition, draw, numbers
from tests.reference import rules as reference
from torchhebb.nn import HebbConv2d, HebbLinear
from torchhebb.optim import NormAdaptiveSGD
from torchhebb.rules import GainShape, HardHebb, Instar, Oja, RankedHebb, Rule, SoftHebb

RULES = [
    (SoftHebb(1.5), reference.soft_hebb(1.5)),
    (SoftHebb(0.5, anti_hebbian=False), reference.soft_hebb(0.5, anti_hebbian=False)),
    (SoftHebb(0.65, rectify=True), reference.soft_hebb(0.65, rectify=True)),
    (HardHebb(), reference.hard_hebb()),
    (RankedHebb(2, 0.4), reference.ranked_hebb()),
    (GainShape(), reference.gain_shape()),
    (Instar(), reference.instar()),
    (Oja(), reference.oja()),
]


def layer(rule: Rule, bias: bool = False, dtype: torch.dtype = torch.float64) -> HebbLinear:
    torch.manual_seed(0)
    return HebbLinear(5, 4, rule=rule, bias=bias, init_radius=2.0, dtype=dtype)


@pytest.mark.parametrize("batch", [1, 6])
@pytest.mark.parametrize(("rule", "learner"), RULES, ids=lambda value: repr(value) if isinstance(value, Rule) else "")
def test_update(rule: Rule, learner: reference.Learner, batch: int):
    linear, x = layer(rule), draw(1, batch, 5)
    output, _, update = reference.linear_layer(numbers(x), numbers(linear.weight), learner)
    agree(linear(x), output)
    agree(linear.learn(x), output)
    assert linear.weight.grad is not None
    agree(linear.weight.grad, -update / batch)
    linear.learn(x)
    agree(linear.weight.grad, -2 * update / batch)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision(dtype: torch.dtype):
    linear, x = layer(SoftHebb(anti_hebbian=False), dtype=dtype), draw(2, 6, 5, dtype=dtype)
    learner = reference.soft_hebb(anti_hebbian=False)
    output, _, update = reference.linear_layer(numbers(x), numbers(linear.weight), learner)
    agree(linear.learn(x), output, dtype)
    assert linear.weight.grad is not None
    agree(linear.weight.grad, -update / 6, dtype)


def test_forward_is_pure_and_eval_learns_nothing():
    linear = layer(SoftHebb(), bias=True)
    assert not any(parameter.requires_grad for parameter in linear.parameters())
    before = {name: value.clone() for name, value in linear.state_dict().items()}
    x = draw(3, 6, 5).requires_grad_()
    assert torch.autograd.gradcheck(linear, (x,))
    linear(x).sum().backward()
    assert torch.equal(linear.eval().learn(x), linear(x))
    assert all(parameter.grad is None for parameter in linear.parameters())
    output = linear.train().learn(x)
    assert not output.requires_grad and torch.equal(output, linear(x))
    assert all(parameter.grad is not None for parameter in linear.parameters())
    assert all(torch.equal(value, before[name]) for name, value in linear.state_dict().items())


@pytest.mark.parametrize("inverse_temperature", [0.5, 1.0, 12.0])
def test_bias_competes_and_learns_the_log_prior(inverse_temperature: float):
    linear, x = layer(SoftHebb(inverse_temperature, anti_hebbian=False), bias=True), draw(4, 6, 5)
    linear.bias.copy_(0.3 * draw(5, 4))
    prior = numbers(linear.bias)
    u = numbers(x) @ numbers(linear.weight).T
    agree(linear(x), u)  # the bias stands apart from the pre-activation
    y = competition.along(lambda line: competition.soft_wta(line, inverse_temperature, prior), u)
    linear.learn(x)
    assert linear.weight.grad is not None and linear.bias.grad is not None
    agree(linear.bias.grad, -bayes.log_prior_update(y.mean(0), prior, inverse_temperature))
    update = y.T @ numbers(x) - (y * u).sum(0)[:, None] * numbers(linear.weight)
    agree(linear.weight.grad, -update / 6)
    first = linear.bias.grad.clone()
    linear.learn(x)
    agree(linear.bias.grad, 2 * first)


@pytest.mark.parametrize("inverse_temperature", [0.5, 1.0, 12.0])
def test_bias_starts_at_the_uniform_prior(inverse_temperature: float):
    linear = layer(SoftHebb(inverse_temperature), bias=True)
    agree((inverse_temperature * linear.bias).exp(), torch.full((4,), 0.25))


def test_bias_is_the_prior_whatever_the_sign_of_the_plasticity():
    """A prior is how probable a cause is: it learns from the posterior, not from the sign that losers take."""
    signed, plain = (layer(SoftHebb(2.0, anti_hebbian=flip), bias=True) for flip in (True, False))
    x = draw(6, 8, 5)
    signed.learn(x)
    plain.learn(x)
    assert signed.bias.grad is not None and plain.bias.grad is not None
    agree(signed.bias.grad, plain.bias.grad)


def test_bias_arrives_at_the_mean_posterior():
    linear, x = layer(SoftHebb(2.0, anti_hebbian=False), bias=True), 0.3 * draw(6, 50, 5)
    optimizer = NormAdaptiveSGD([linear.bias], lr=0.1)
    for _ in range(500):
        optimizer.zero_grad()
        linear.learn(x)
        optimizer.step()
    prior = (2.0 * linear.bias).exp()
    posterior = torch.softmax(2.0 * (linear(x) + linear.bias), 1).mean(0)
    torch.testing.assert_close(prior, posterior, rtol=0, atol=1e-3)


def test_defaults():
    linear = HebbLinear(3, 2)
    assert linear.bias is None
    assert linear.weight.shape == (2, 3)
    assert linear.rule == SoftHebb()
    assert list(linear.state_dict()) == ["weight"]
    assert HebbLinear(3, 2, bias=True).bias.shape == (2,)


def test_initial_weights():
    torch.manual_seed(1)
    weight = HebbLinear(400, 256, init_radius=3.0).weight
    std = 3.0 / math.sqrt(400)
    assert abs(weight.mean() / std) < 0.02
    assert weight.std() / std == pytest.approx(1, abs=0.02)
    assert (weight.abs() > 2 * std).float().mean().item() == pytest.approx(0.0455, abs=0.005)  # normal tails
    assert HebbLinear(400, 64).weight.norm(dim=1).mean().item() == pytest.approx(25, rel=0.02)


@LAW
@given(st.integers(0, 2**31), st.integers(1, 5), st.sampled_from([rule for rule, _ in RULES]))
def test_linear_is_a_conv_of_one_pixel(seed: int, batch: int, rule: Rule):
    linear = layer(rule)
    conv = HebbConv2d(5, 4, 1, rule=rule, dtype=torch.float64)
    conv.weight.copy_(linear.weight[:, :, None, None])
    x = draw(seed, batch, 5)
    agree(conv.learn(x[:, :, None, None])[:, :, 0, 0], linear.learn(x))
    assert linear.weight.grad is not None and conv.weight.grad is not None
    agree(conv.weight.grad[:, :, 0, 0], linear.weight.grad)


@LAW
@given(st.integers(0, 2**31))
def test_permuting_units_permutes_what_is_learned(seed: int):
    linear, other = layer(SoftHebb(), bias=True), layer(SoftHebb(), bias=True)
    linear.bias.copy_(draw(seed, 4))
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    other.weight.copy_(linear.weight[order])
    other.bias.copy_(linear.bias[order])
    x = draw(seed + 1, 3, 5)
    agree(other.learn(x), linear.learn(x)[:, order])
    for mine, theirs in zip(linear.parameters(), other.parameters(), strict=True):
        assert mine.grad is not None and theirs.grad is not None
        agree(theirs.grad, mine.grad[order])


@pytest.mark.parametrize("options", [{"in_features": 0}, {"out_features": -2}, {"init_radius": -1.0}])
def test_impossible_arguments_are_named(options: dict[str, float]):
    with pytest.raises(ValueError, match=next(iter(options))):
        HebbLinear(**({"in_features": 3, "out_features": 2} | options))  # type: ignore[arg-type]


def test_impossible_inputs_are_named():
    linear = layer(SoftHebb())
    for call in (linear, linear.learn):
        with pytest.raises(ValueError, match=r"x .*got"):
            call(torch.zeros(2, 3, dtype=torch.float64))


def test_uniform_weights_are_positive_and_have_the_radius():
    weight = HebbLinear(784, 500, init="uniform", init_radius=35.0).weight
    edge = math.sqrt(3) * 35 / 28
    assert weight.min() >= 0 and weight.max() <= edge and weight.max() > 0.99 * edge
    assert weight.norm(dim=1).mean().item() == pytest.approx(35, rel=0.01)
