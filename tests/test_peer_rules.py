"""The rules of the peers: one sample at a time, what they find, and a state that is carried on, saved and loaded."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.reference import LAW, agree, draw, numbers
from tests.reference import rules as reference
from torchhebb import load, save
from torchhebb.errors import UserError
from torchhebb.functional import linear_statistic, plasticity
from torchhebb.nn import Architecture, ConvBlock, HebbConv2d, HebbLinear, LinearBlock, learn
from torchhebb.nn.ensemble import stack_ensemble
from torchhebb.rules import BCM, Foldiak, Oja, OjaSubspace, Rule, Sanger

PEERS: list[Rule] = [Sanger(), OjaSubspace(), Foldiak(), BCM()]


def update_of(rule: Rule, x: Tensor, weight: Tensor, *state: Tensor) -> Tensor:
    y, decay = rule(x @ weight.T, None, *state)
    return plasticity(linear_statistic(x, y), weight, decay=decay)


@LAW
@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 4))
def test_updates_are_those_of_the_papers(seed: int, batch: int, neurons: int):
    x, weight = draw(seed, batch, 6), draw(seed + 1, neurons, 6)
    agree(update_of(Sanger(), x, weight), reference.sanger_update(numbers(x), numbers(weight)))
    agree(update_of(OjaSubspace(), x, weight), reference.subspace_update(numbers(x), numbers(weight)))
    threshold = draw(seed + 2, neurons).abs()
    expected = reference.bcm_update(numbers(x), numbers(weight), numbers(threshold))
    agree(update_of(BCM(), x, weight, threshold), expected)
    lateral = 0.1 * draw(seed + 3, neurons, neurons)
    lateral = (lateral + lateral.T).fill_diagonal_(0.0)
    update, correlation = reference.foldiak_update(numbers(x), numbers(weight), numbers(lateral))
    agree(update_of(Foldiak(), x, weight, lateral), update)
    after = Foldiak(0.05).next_state(lateral, x @ weight.T)
    agree(after, numbers(lateral) + 0.05 * correlation / batch)


def test_the_threshold_is_the_running_mean_of_squares():
    rule, state = BCM(0.25), BCM().initial_state(3).double()
    expected = None
    for number in range(4):
        u = draw(number, 5, 3)
        squares = np.maximum(numbers(u), 0.0) ** 2
        expected = squares.mean(0) if expected is None else 0.75 * expected + 0.25 * squares.mean(0)
        state = rule.next_state(state, u)
    assert expected is not None
    agree(state, expected)


@LAW
@given(st.integers(0, 2**31), st.sampled_from(PEERS))
def test_parts_of_a_batch_add(seed: int, rule: Rule):
    """As over ranks: statistics and decays, matrices too, are sums over samples."""
    x, weight = draw(seed, 8, 5), draw(seed + 1, 3, 5)
    state = (
        [] if rule in (Sanger(), OjaSubspace()) else [0.1 * draw(seed + 2, *([3] if rule == BCM() else [3, 3])).abs()]
    )
    parts = [update_of(rule, part, weight, *state) for part in x.split([3, 5])]
    agree(update_of(rule, x, weight, *state), parts[0] + parts[1])


@LAW
@given(st.integers(0, 2**31), st.sampled_from([OjaSubspace(), Foldiak(), BCM(), Oja()]))
def test_permuting_neurons_permutes_the_update(seed: int, rule: Rule):
    """Not Sanger's, whose neurons have an order."""
    x, weight = draw(seed, 8, 5), draw(seed + 1, 3, 5)
    order = torch.randperm(3, generator=torch.Generator().manual_seed(seed))
    agree(update_of(rule, x, weight[order]), update_of(rule, x, weight)[order])


def inputs(samples: int = 4000) -> tuple[Tensor, Tensor]:
    """Samples of six variances in a rotated space, and the principal components (6, 6), the first first."""
    scales = torch.tensor([3.0, 2.0, 1.4, 0.7, 0.4, 0.2]).double()
    rotation = torch.linalg.qr(draw(0, 6, 6))[0]
    x = draw(1, samples, 6) * scales @ rotation
    components = torch.linalg.eigh(x.T @ x).eigenvectors.flip(1).T
    return x, components


def settled(rule: Rule, x: Tensor, steps: int = 4000, lr: float = 0.02) -> HebbLinear:
    layer = HebbLinear(6, 3, rule=rule, init_radius=0.5, dtype=torch.float64)
    layer.reset_parameters(torch.Generator().manual_seed(3))
    for step in range(steps):
        layer.weight.grad = None
        layer.learn(x)
        assert layer.weight.grad is not None
        layer.weight.sub_(lr * layer.weight.grad)
        assert step or layer.weight.isfinite().all()
    return layer


def test_sanger_finds_the_principal_components_in_their_order():
    x, components = inputs()
    weight = settled(Sanger(), x).weight
    agree((weight @ components[:3].T).abs(), torch.eye(3).double(), torch.float64)


def test_the_subspace_rule_finds_an_orthonormal_basis_of_their_span():
    x, components = inputs()
    weight = settled(OjaSubspace(), x).weight
    agree(weight @ weight.T, torch.eye(3))
    agree(weight.T @ weight, components[:3].T @ components[:3])


def test_lateral_inhibition_spans_them_and_leaves_no_correlation():
    x, components = inputs()
    layer = settled(Foldiak(0.05), x, steps=6_000, lr=0.06)
    assert layer.rule_state is not None
    y, _ = layer.rule(x @ layer.weight.T, None, layer.rule_state)  # type: ignore[call-arg]
    covariance = y.T @ y / len(y)
    off = (covariance - covariance.diag().diag()).abs().max()
    assert off < 1e-3 * covariance.diag().max()
    basis = torch.linalg.qr(layer.weight.T)[0]
    torch.testing.assert_close(basis @ basis.T, components[:3].T @ components[:3], rtol=0, atol=1e-2)


def test_bcm_becomes_selective_for_one_input():
    """Of four independent inputs, equally likely, a neuron answers 4 to one and 0 to the others."""
    x = torch.linalg.qr(draw(5, 4, 4))[0] + 0.2  # four inputs that are not orthogonal
    selective = 4 * torch.linalg.inv(x).T  # row k answers 4 to input k alone
    u = x @ selective.T
    agree(update_of(BCM(), x, selective, u.square().mean(0)), torch.zeros(4, 4), torch.float64)
    layer = HebbLinear(4, 3, rule=BCM(0.05), init_radius=0.5, dtype=torch.float64)
    layer.reset_parameters(torch.Generator().manual_seed(1))
    for _ in range(5_000):
        layer.weight.grad = None
        layer.learn(x)
        assert layer.weight.grad is not None
        layer.weight.sub_(0.03 * layer.weight.grad)
    answers = (x @ layer.weight.T).clamp_min(0).sort(0, descending=True).values
    torch.testing.assert_close(answers[0], torch.full((3,), 4.0).double(), rtol=0, atol=0.05)
    assert answers[1:].abs().max() < 0.05


@pytest.mark.parametrize("rule", PEERS, ids=repr)
def test_a_convolution_of_one_pixel_is_a_linear_layer(rule: Rule):
    linear, conv = HebbLinear(4, 3, rule=rule, dtype=torch.float64), HebbConv2d(4, 3, 1, rule=rule, dtype=torch.float64)
    conv.weight.copy_(linear.weight[:, :, None, None])
    maps = draw(0, 2, 4, 3, 5)
    for _ in range(2):
        linear.learn(maps.movedim(1, -1).flatten(0, -2))
        conv.learn(maps)
    assert linear.weight.grad is not None and conv.weight.grad is not None
    agree(conv.weight.grad[:, :, 0, 0], linear.weight.grad)
    agree(conv.weight.grad.contiguous(memory_format=torch.channels_last)[:, :, 0, 0], linear.weight.grad)


def test_groups_keep_their_neurons_apart():
    grouped = HebbConv2d(4, 6, 1, groups=2, rule=Sanger(), dtype=torch.float64)
    apart = [HebbConv2d(2, 3, 1, rule=Sanger(), dtype=torch.float64) for _ in range(2)]
    for layer, weight in zip(apart, grouped.weight.chunk(2), strict=True):
        layer.weight.copy_(weight)
    x = draw(0, 3, 4, 2, 2)
    grouped.learn(x)
    for layer, part in zip(apart, x.chunk(2, 1), strict=True):
        layer.learn(part)
    assert grouped.weight.grad is not None
    agree(grouped.weight.grad, torch.cat([layer.weight.grad for layer in apart if layer.weight.grad is not None]))
    with pytest.raises(UserError, match="groups must be 1 for BCM, whose state is of all neurons, got 2"):
        HebbConv2d(4, 6, 1, groups=2, rule=BCM())


@pytest.mark.parametrize("rule", PEERS, ids=repr)
def test_members_of_an_ensemble_learn_as_each_would_alone(rule: Rule):
    networks = [nn.Sequential(HebbLinear(4, 3, rule=rule)) for _ in range(2)]
    alone = copy.deepcopy(networks)
    stacked = stack_ensemble(networks)
    x = torch.randn(2 * 5, 4)
    learn(stacked, x)
    for network, part in zip(alone, x.chunk(2), strict=True):
        learn(network, part)
    for network, other in zip(networks, alone, strict=True):
        torch.testing.assert_close(network[0].weight.grad, other[0].weight.grad)


@pytest.mark.parametrize("rule", [Foldiak(), BCM()], ids=repr)
@pytest.mark.parametrize("conv", [False, True])
def test_the_state_is_carried_on_saved_and_loaded(rule: Rule, conv: bool, tmp_path: Path):
    block = ConvBlock(4, 3, rule) if conv else LinearBlock(4, rule)
    network = Architecture((1, 6, 6), (block,)).build()
    start = copy.deepcopy(network)
    x = torch.rand(8, 1, 6, 6)
    network.train()
    learn(network, x)
    layer = network.get_submodule("block1.layer")
    kept = layer.rule_state.clone()  # type: ignore[union-attr, operator]
    assert not torch.equal(kept, start.get_submodule("block1.layer").rule_state)
    learn(network.eval(), x)
    assert torch.equal(layer.rule_state, kept)
    save(network, tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    assert torch.equal(loaded.get_submodule("block1.layer").rule_state, kept)
    network.reset_parameters(torch.Generator().manual_seed(0))
    assert torch.equal(layer.rule_state, start.get_submodule("block1.layer").rule_state)
