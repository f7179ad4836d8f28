"""What a Hebbian update is, as properties of the functions that make it."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import conv2d, unfold

from tests.reference import LAW, agree, draw
from torchhebb.functional import conv2d_statistic, linear_statistic, norm_adaptive_step, plasticity, soft_wta

SEEDS = st.integers(0, 2**31)
SIZES = st.integers(1, 6)


def gradient(objective: Tensor, weight: Tensor) -> Tensor:
    return torch.autograd.grad(objective, weight)[0]


@LAW
@given(SEEDS, SIZES, SIZES, SIZES)
def test_statistic_is_the_gradient_of_the_answered_input(seed: int, batch: int, inputs: int, outputs: int):
    """With y held constant, S is the gradient of sum y u: minus the weight gradient of the loss -sum y u."""
    x, weight = draw(seed, batch, inputs), draw(seed + 1, outputs, inputs).requires_grad_()
    u = x @ weight.T
    y = soft_wta(u, 2.0, anti_hebbian=True).detach()
    agree(linear_statistic(x, y), -gradient(-(y * u).sum(), weight))


@LAW
@given(SEEDS, SIZES, st.floats(0.2, 5))
def test_statistic_of_the_soft_wta_climbs_the_free_energy(seed: int, batch: int, inverse_temperature: float):
    """Without anti-Hebbian losers nothing is held constant: S is the gradient of sum logsumexp(it u) / it."""
    x, weight = draw(seed, batch, 5), draw(seed + 1, 4, 5).requires_grad_()
    u = x @ weight.T
    free_energy = torch.logsumexp(inverse_temperature * u, 1).sum() / inverse_temperature
    agree(linear_statistic(x, soft_wta(u.detach(), inverse_temperature)), gradient(free_energy, weight))


@LAW
@given(SEEDS, SIZES, st.floats(0.3, 3))
def test_update_is_the_gradient_on_the_sphere(seed: int, batch: int, radius: float):
    """At unit norm dw is the gradient of sum y u on the sphere; elsewhere, of sum y u - decay ||w||^2 / 2."""
    x, direction = draw(seed, batch, 5), torch.nn.functional.normalize(draw(seed + 1, 4, 5))
    weight = direction.clone().requires_grad_()
    y = soft_wta(x @ direction.T, 2.0, anti_hebbian=True)
    on_the_sphere = (y * (x @ torch.nn.functional.normalize(weight).T)).sum()
    agree(plasticity(linear_statistic(x, y), direction), gradient(on_the_sphere, weight))

    weight = (radius * direction).requires_grad_()
    u = x @ weight.T
    y = soft_wta(u, 2.0, anti_hebbian=True).detach()
    decay = (y * u).sum(0).detach()
    surrogate = (y * u).sum() - (decay * weight.square().sum(1)).sum() / 2
    climbed = gradient(surrogate, weight)
    agree(plasticity(linear_statistic(x, y), weight.detach()), climbed)
    agree(plasticity(linear_statistic(x, y), weight.detach(), decay=decay), climbed)


@LAW
@given(SEEDS, st.integers(1, 3), st.integers(1, 2), st.integers(1, 2), st.integers(1, 2))
def test_conv_statistic_is_autograd_and_unfold(seed: int, kernel: int, stride: int, dilation: int, groups: int):
    x, weight = draw(seed, 2, 2 * groups, 7, 6), draw(seed + 1, 3 * groups, 2, kernel, kernel).requires_grad_()
    u = conv2d(x, weight, stride=stride, dilation=dilation, groups=groups)
    y = soft_wta(u, anti_hebbian=True).detach()
    statistic = conv2d_statistic(x, y, kernel, stride=stride, dilation=dilation, groups=groups)
    agree(statistic, gradient((y * u).sum(), weight))

    patches = unfold(x, kernel, dilation=dilation, stride=stride).view(2, groups, 2 * kernel**2, -1)
    by_group = torch.einsum("bgkp,bgip->gki", y.view(2, groups, 3, -1), patches)
    agree(statistic, by_group.reshape(weight.shape))


@LAW
@given(SEEDS, SIZES, SIZES, SIZES)
def test_linear_is_a_conv_of_one_pixel(seed: int, batch: int, inputs: int, outputs: int):
    x, y = draw(seed, batch, inputs), draw(seed + 1, batch, outputs)
    images = conv2d_statistic(x[:, :, None, None], y[:, :, None, None], 1)
    agree(images[:, :, 0, 0], linear_statistic(x, y))


@LAW
@given(SEEDS, st.integers(2, 6))
def test_statistic_is_additive_over_samples(seed: int, batch: int):
    x, y = draw(seed, batch, 2, 5, 4), draw(seed + 1, batch, 3, 3, 2)
    agree(conv2d_statistic(x, y, 3), sum(conv2d_statistic(x[b : b + 1], y[b : b + 1], 3) for b in range(batch)))
    x, y = x.flatten(1), y.flatten(1)
    agree(linear_statistic(x, y), sum(linear_statistic(x[b : b + 1], y[b : b + 1]) for b in range(batch)))


@LAW
@given(SEEDS, st.integers(2, 6))
def test_permuting_units_permutes_the_update(seed: int, units: int):
    x, weight = draw(seed, 4, 5), draw(seed + 1, units, 5)
    order = torch.randperm(units, generator=torch.Generator().manual_seed(seed))

    def stepped(weight: Tensor) -> Tensor:
        statistic = linear_statistic(x, soft_wta(x @ weight.T, anti_hebbian=True))
        return norm_adaptive_step(weight, plasticity(statistic, weight), 0.1)

    agree(stepped(weight[order]), stepped(weight)[order])


@LAW
@given(SEEDS, SIZES)
def test_a_duplicated_batch_leaves_the_step_unchanged(seed: int, batch: int):
    x, weight = draw(seed, batch, 5), draw(seed + 1, 4, 5)

    def stepped(x: Tensor) -> Tensor:
        statistic = linear_statistic(x, soft_wta(x @ weight.T, anti_hebbian=True))
        return norm_adaptive_step(weight, plasticity(statistic, weight), 0.1)

    agree(stepped(torch.cat([x, x])), stepped(x))


@LAW
@given(SEEDS, st.floats(0.01, 1), st.sampled_from([0.2, 0.5, 1.0]))
def test_unit_norm_is_the_fixed_point_of_the_step(seed: int, lr: float, power: float):
    weight, update = torch.nn.functional.normalize(draw(seed, 4, 5)), draw(seed + 1, 4, 5)
    weight[3] *= 2  # one neuron still learns
    moved = (norm_adaptive_step(weight, update, lr, power) - weight).abs()
    assert (moved[:3] <= lr * 1e-10**power * (1 + 1e-4) + 1e-15).all()  # room for the rounding of norm and sum
    assert moved[3].max() > lr / 10 * update[3].abs().max() / update.abs().max()


@LAW
@given(SEEDS, st.floats(0.2, 4))
def test_decay_pulls_the_norm_to_one(seed: int, radius: float):
    """<dw, w> = <S, w> (1 - ||w||^2): a neuron that answers its input positively grows below 1 and shrinks above."""
    x, weight = draw(seed, 6, 5), radius * torch.nn.functional.normalize(draw(seed + 1, 3, 5))
    statistic = linear_statistic(x, soft_wta(x @ weight.T))
    pull = (plasticity(statistic, weight) * weight).sum(1)
    agree(pull, (statistic * weight).sum(1) * (1 - radius**2))

    w = weight[:1]
    for _ in range(300):  # Oja: y = u, so <S, w> = sum u^2 is never negative
        w = w + 0.02 * plasticity(linear_statistic(x, x @ w.T), w) / len(x)
    assert abs(w.norm() - 1) < max(0.02, abs(radius - 1) / 10)
