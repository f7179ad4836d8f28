"""Competitions agree with one vector at a time, and keep their laws."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.reference import LAW, agree, draw, numbers
from tests.reference import competition as reference
from torchhebb.functional import hard_wta, ranked_wta, signed_wta, soft_wta

SHAPES = [((4, 7), 1), ((1, 3), 1), ((2, 5, 3, 2), 1), ((3, 2, 6), -1), ((6, 4), 0)]
SEEDS = st.integers(0, 2**31)
NEURONS = st.integers(2, 12)


@pytest.mark.parametrize("anti_hebbian", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("inverse_temperature", [0.25, 1.0, 12.0])
@pytest.mark.parametrize(("shape", "dim"), SHAPES)
def test_soft_wta(shape: tuple[int, ...], dim: int, inverse_temperature: float, biased: bool, anti_hebbian: bool):
    u = draw(0, *shape)
    bias = 2 * draw(1, shape[dim]) if biased else None  # large enough to change who wins
    prior = None if bias is None else numbers(bias)
    expected = reference.along(
        lambda line: reference.soft_wta(line, inverse_temperature, prior, anti_hebbian), numbers(u), dim
    )
    agree(soft_wta(u, inverse_temperature, bias=bias, anti_hebbian=anti_hebbian, dim=dim), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_soft_wta_low_precision(dtype: torch.dtype):
    u = torch.randperm(24, generator=torch.Generator().manual_seed(2)).view(2, 6, 2).to(dtype) / 8  # exact, no ties
    expected = reference.along(lambda line: reference.soft_wta(line, 2.0, anti_hebbian=True), numbers(u))
    agree(soft_wta(u, 2.0, anti_hebbian=True), expected, dtype)


def test_soft_wta_defaults():
    u = draw(3, 4, 5)
    agree(soft_wta(u), torch.exp(u) / torch.exp(u).sum(1, keepdim=True))


def test_soft_wta_survives_large_values():
    y = soft_wta(torch.tensor([[1e4, 1e4 - 1, -1e4]]), 50.0, anti_hebbian=True)
    agree(y, torch.tensor([[1.0, 0.0, 0.0]]), torch.float32)


@pytest.mark.parametrize("anti_hebbian", [False, True])
def test_soft_wta_gradient(anti_hebbian: bool):
    u, bias = draw(4, 3, 4, 2).requires_grad_(), draw(5, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda u, b: soft_wta(u, 1.5, bias=b, anti_hebbian=anti_hebbian), (u, bias))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("shape", "dim"), SHAPES)
def test_hard_wta(shape: tuple[int, ...], dim: int, dtype: torch.dtype):
    u = draw(6, *shape, dtype=dtype)
    agree(hard_wta(u, dim=dim), reference.along(reference.hard_wta, numbers(u), dim), dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("shape", "dim"), SHAPES)
@pytest.mark.parametrize(("rank", "delta"), [(2, 0.4), (3, 0.25)])
def test_ranked_wta(shape: tuple[int, ...], dim: int, rank: int, delta: float, dtype: torch.dtype):
    u = (
        torch.randperm(256, generator=torch.Generator().manual_seed(7))[: torch.Size(shape).numel()]
        .view(shape)
        .to(dtype)
    )
    expected = reference.along(lambda line: reference.ranked_wta(line, rank, delta), numbers(u), dim)
    agree(ranked_wta(u, rank=rank, delta=delta, dim=dim), expected, dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("shape", "dim"), SHAPES)
def test_signed_wta(shape: tuple[int, ...], dim: int, biased: bool, dtype: torch.dtype):
    u = draw(6, *shape, dtype=dtype)
    bias = draw(7, shape[dim], dtype=dtype) if biased else None
    weights = None if bias is None else numbers(bias)
    y = signed_wta(u, bias=bias, dim=dim)
    assert y.dtype == dtype
    if dtype == torch.bfloat16 and biased:  # sums round, so that others may win: by no more than a rounding
        strength = u.abs() + bias.view([-1 if axis == dim % u.dim() else 1 for axis in range(u.dim())])  # type: ignore[union-attr]
        won = torch.where(y != 0, strength, -torch.inf).amax(dim)
        assert torch.equal(won, strength.amax(dim)) and ((y == 0) | (y == u)).all()
    else:
        agree(y, reference.along(lambda line: reference.signed_wta(line, weights), numbers(u), dim), dtype)


def test_signed_wta_refuses_a_bias_of_another_size():
    with pytest.raises(ValueError, match=r"bias must have shape \(3,\), got \(2,\)"):
        signed_wta(torch.zeros(2, 3), bias=torch.zeros(2))


def test_ranked_wta_defaults():
    agree(ranked_wta(torch.tensor([[1.0, 3.0, 2.0]])), torch.tensor([[0.0, 1.0, -0.4]]), torch.float32)


@pytest.mark.parametrize("rank", [-1, 0, 1, 4])
def test_ranked_wta_refuses_ranks_that_do_not_exist(rank: int):
    with pytest.raises(ValueError, match=f"rank.*{rank}"):
        ranked_wta(torch.zeros(2, 3), rank=rank)


@LAW
@given(SEEDS, NEURONS, st.floats(0.01, 100))
def test_soft_wta_sums_to_one(seed: int, neurons: int, inverse_temperature: float):
    y = soft_wta(draw(seed, 3, neurons, 2), inverse_temperature)
    agree(y.sum(1), torch.ones(3, 2))
    assert (y >= 0).all()


@LAW
@given(SEEDS, NEURONS)
def test_anti_hebbian_flips_all_but_the_winner(seed: int, neurons: int):
    u, bias = draw(seed, 4, neurons, 3), draw(seed + 1, neurons)
    plain, signed = soft_wta(u, 2.0, bias=bias), soft_wta(u, 2.0, bias=bias, anti_hebbian=True)
    winner = hard_wta(u + bias[:, None]).bool()
    assert torch.equal(signed, torch.where(winner, plain, -plain))


@LAW
@given(SEEDS, NEURONS)
def test_infinite_inverse_temperature_is_the_hard_wta(seed: int, neurons: int):
    u = torch.stack([torch.randperm(neurons, generator=torch.Generator().manual_seed(seed + b)) for b in range(4)])
    agree(soft_wta(u.double(), 1e3), hard_wta(u.double()))


@LAW
@given(SEEDS, NEURONS)
def test_zero_inverse_temperature_is_uniform(seed: int, neurons: int):
    agree(soft_wta(draw(seed, 3, neurons), 1e-14), torch.full((3, neurons), 1 / neurons, dtype=torch.float64))


@LAW
@given(SEEDS, NEURONS)
def test_permuting_neurons_permutes_the_activity(seed: int, neurons: int):
    u, bias = draw(seed, 3, neurons), draw(seed + 1, neurons)
    order = torch.randperm(neurons, generator=torch.Generator().manual_seed(seed))
    for compete in (lambda u, b: soft_wta(u, 1.3, bias=b, anti_hebbian=True), lambda u, b: hard_wta(u + b),
                    lambda u, b: ranked_wta(u + b), lambda u, b: signed_wta(u, bias=b)):  # fmt: skip
        agree(compete(u[:, order], bias[order]), compete(u, bias)[:, order])


@LAW
@given(SEEDS, st.floats(-50, 50))
def test_only_differences_compete(seed: int, shift: float):
    u = draw(seed, 3, 6)
    agree(soft_wta(u + shift, 2.0), soft_wta(u, 2.0))
