"""Rules agree, through the update that they make, with one sample at a time."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.reference import LAW, agree, draw, numbers
from tests.reference import rules as reference
from tests.reference.competition import along
from torchhebb.functional import linear_statistic, plasticity, soft_wta
from torchhebb.nn import HebbLinear
from torchhebb.optim import NormAdaptiveSGD
from torchhebb.rules import GainShape, HardHebb, Instar, Oja, RankedHebb, Rule, SoftHebb

RULES = [
    (SoftHebb(), reference.soft_hebb()),
    (SoftHebb(0.5), reference.soft_hebb(0.5)),
    (SoftHebb(3.0, anti_hebbian=False), reference.soft_hebb(3.0, anti_hebbian=False)),
    (SoftHebb(0.65, rectify=True), reference.soft_hebb(0.65, rectify=True)),
    (SoftHebb(2.0, anti_hebbian=False, rectify=True), reference.soft_hebb(2.0, False, rectify=True)),
    (HardHebb(), reference.hard_hebb()),
    (RankedHebb(2, 0.4), reference.ranked_hebb()),
    (RankedHebb(rank=3, delta=0.1), reference.ranked_hebb(3, 0.1)),
    (GainShape(), reference.gain_shape()),
    (Instar(), reference.instar()),
    (Oja(), reference.oja()),
]


@pytest.mark.parametrize("batch", [1, 6])
@pytest.mark.parametrize(("rule", "learner"), RULES, ids=lambda value: repr(value) if isinstance(value, Rule) else "")
def test_update(rule: Rule, learner: reference.Learner, batch: int):
    x, weight = draw(0, batch, 5), draw(1, 4, 5)
    y, decay = rule(x @ weight.T)
    _, activity, update = reference.linear_layer(numbers(x), numbers(weight), learner)
    agree(y, activity)
    agree(plasticity(linear_statistic(x, y), weight, decay=decay), update)


@pytest.mark.parametrize("shape", [(3, 4), (2, 4, 3), (2, 4, 3, 2), (1, 4, 1, 1)])
@pytest.mark.parametrize(("rule", "learner"), RULES, ids=lambda value: repr(value) if isinstance(value, Rule) else "")
def test_positions_are_samples(rule: Rule, learner: reference.Learner, shape: tuple[int, ...]):
    u = draw(2, *shape)
    y, decay = rule(u)
    output = along(learner.output, numbers(u))
    activity = along(learner.compete, output)
    agree(y, activity)
    if decay is not None:
        forgotten = np.moveaxis(learner.forgets(activity, output), 1, 0).reshape(4, -1).sum(1)
        agree(decay, forgotten)


def test_rectified_decay_is_not_the_linear_one():
    u = draw(3, 5, 4)
    _, decay = SoftHebb(rectify=True)(u)
    assert decay is not None and decay.shape == (4,)


@LAW
@given(st.integers(0, 2**31))
def test_gain_shape_learns_axes(seed: int):
    """Of no sign: inputs and their negatives are one, and a neuron turned round learns the same turned round."""
    x, weight = draw(seed, 5, 4), draw(seed + 1, 3, 4)
    flipped = torch.randint(2, (5, 1), generator=torch.Generator().manual_seed(seed)).double() * 2 - 1
    turned = torch.randint(2, (3, 1), generator=torch.Generator().manual_seed(seed + 1)).double() * 2 - 1

    def update(x: Tensor, weight: Tensor) -> Tensor:
        y, decay = GainShape()(x @ weight.T)
        return plasticity(linear_statistic(x, y), weight, decay=decay)

    agree(update(flipped * x, weight), update(x, weight))
    agree(update(x, turned * weight), turned * update(x, weight))


def test_a_gain_shape_neuron_rests_at_the_first_principal_component_of_what_it_wins():
    x = torch.cat(
        [draw(3, 40, 4) * torch.tensor([3.0, 1.0, 0.1, 0.1]), draw(4, 40, 4) * torch.tensor([0.1, 0.1, 3.0, 1.0])]
    )
    weight = torch.eye(4, dtype=torch.float64)[[0, 2]]
    winner = GainShape()(x @ weight.T)[0] != 0
    for _ in range(20):  # the axes that win the same samples that they come from
        weight = torch.stack([torch.linalg.eigh(x[won].T @ x[won])[1][:, -1] for won in winner.T])
        winner = GainShape()(x @ weight.T)[0] != 0
    y, decay = GainShape()(x @ weight.T)
    agree(plasticity(linear_statistic(x, y), weight, decay=decay) / len(x), torch.zeros(2, 4))


def test_instar_moves_the_winner_to_its_input():
    """A winner that is already the mean of its inputs stays, whatever its norm."""
    x = torch.tensor([[3.0, 0.0], [5.0, 0.0], [0.0, 0.1]])
    weight = torch.tensor([[4.0, 0.0], [0.0, 0.1]])
    y, decay = Instar()(x @ weight.T)
    agree(plasticity(linear_statistic(x, y), weight, decay=decay), torch.zeros(2, 2), torch.float32)


@pytest.mark.parametrize("shape", [(3, 4), (2, 4, 3, 2)])
def test_the_bias_competes_and_is_not_forgotten(shape: tuple[int, ...]):
    """y depends on u + b; the decay is still the one of u alone."""
    u, bias = draw(7, *shape), 3 * draw(8, 4)
    column = bias.view(4, *[1] * (len(shape) - 2))
    for rule in (SoftHebb(1.5), SoftHebb(1.5, anti_hebbian=False), HardHebb(), RankedHebb(2, 0.4), Instar()):
        y, decay = rule(u, bias)
        agree(y, rule(u + column)[0])
        if decay is not None:
            agree(decay, (y if rule == Instar() else y * u).transpose(0, 1).flatten(1).sum(1))
    y, decay = SoftHebb(1.5, rectify=True)(u, bias)
    rectified = torch.relu(u - u.mean(1, keepdim=True))
    agree(y, soft_wta(rectified, 1.5, bias=bias, anti_hebbian=True))
    assert decay is not None
    agree(decay, (y * rectified).transpose(0, 1).flatten(1).sum(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("rule", "learner"), RULES, ids=lambda value: repr(value) if isinstance(value, Rule) else "")
def test_low_precision(rule: Rule, learner: reference.Learner, dtype: torch.dtype):
    u = torch.randperm(24, generator=torch.Generator().manual_seed(9)).view(2, 4, 3).to(dtype) / 8  # exact, no ties
    y, decay = rule(u)
    agree(y, along(learner.compete, along(learner.output, numbers(u))), dtype)
    assert decay is None or decay.isfinite().all()


def test_rules_are_values():
    assert SoftHebb() == SoftHebb(inverse_temperature=1.0, anti_hebbian=True, rectify=False)
    assert hash(RankedHebb(2, 0.4)) == hash(RankedHebb(rank=2, delta=0.4))
    assert SoftHebb(2.0) != SoftHebb(1.0)
    with pytest.raises(FrozenInstanceError):
        SoftHebb().inverse_temperature = 2.0  # type: ignore[misc]


@LAW
@given(st.integers(0, 2**31), st.integers(3, 7))
def test_permuting_units_permutes_the_rule(seed: int, units: int):
    u = draw(seed, 3, units, 2)
    order = torch.randperm(units, generator=torch.Generator().manual_seed(seed))
    for rule, _ in RULES:
        before, after = rule(u), rule(u[:, order])
        agree(after[0], before[0][:, order])
        assert (after[1] is None) == (before[1] is None)
        if isinstance(before[1], Tensor) and after[1] is not None:
            agree(after[1], before[1][order])


@LAW
@given(st.integers(0, 2**31), st.sampled_from([rule for rule, _ in RULES if not isinstance(rule, Instar)]))
def test_the_radius_moves_towards_one_where_statistic_and_weight_agree(seed: int, rule: Rule):
    """d ||w_k||^2 / 2 = <S_k, w_k> (1 - ||w_k||^2) under the decay <S_k, w_k>."""
    x, weight = draw(seed, 6, 5), draw(seed + 1, 4, 5)
    statistic = linear_statistic(x, rule(x @ weight.T)[0])
    drive = (statistic * weight).sum(1)
    agree((plasticity(statistic, weight) * weight).sum(1), drive * (1 - weight.square().sum(1)))
    if isinstance(rule, Oja | GainShape):
        assert (drive >= 0).all()


@pytest.mark.parametrize(
    "rule",
    [SoftHebb(), SoftHebb(anti_hebbian=False), RankedHebb(), HardHebb(), GainShape(), Oja(), Instar()],
    ids=repr,
)
def test_what_the_radius_does_under_one_input_and_under_many(rule: Rule):
    """What the module says: bounded for all under inputs that vary, and for those with a positive drive under one."""
    constant, varied = _largest_radius(rule, vary=False), _largest_radius(rule, vary=True)
    assert varied < 5.5  # the radius of the start, or of the inputs
    if rule in (SoftHebb(), SoftHebb(anti_hebbian=False)):
        assert constant > 6
    else:
        assert constant < 6


def _largest_radius(rule: Rule, *, vary: bool) -> float:
    layer = HebbLinear(12, 6, rule=rule, init_radius=4.0, dtype=torch.float64)
    layer.reset_parameters(torch.Generator().manual_seed(0))
    optimizer = NormAdaptiveSGD([layer.weight], lr=0.05)
    inputs = draw(1, 1500 if vary else 1, 12)
    for number in range(1500):
        layer.weight.grad = None
        layer.learn(inputs[[number % len(inputs)]])
        optimizer.step()
    return layer.weight.norm(dim=1).max().item()
