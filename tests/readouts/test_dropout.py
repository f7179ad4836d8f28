"""Packed dropout: every bit of a random word is fair and independent, and what is kept is scaled up exactly."""

import math

import pytest
import torch

from torchhebb.readouts.dropout import PackedDropout

SIGMAS = 4.5  # two-sided chance of 7e-6 for each comparison; the seeds are fixed


def masks(p: float, rows: int, width: int, seed: int = 0) -> torch.Tensor:
    return PackedDropout(p, torch.Generator().manual_seed(seed))(torch.ones(rows, width))


def bound(p: float, n: int) -> float:
    """How far the mean of n Bernoulli draws may lie from its expectation."""
    return SIGMAS * math.sqrt(p * (1 - p) / n)


@pytest.mark.parametrize("p", [0.5, 0.4, 0.25, 0.9])
def test_the_share_kept_and_the_mean_are_those_asked_for(p: float):
    x = masks(p, 1000, 640)
    rounded = round(p * 256) / 256
    assert abs(rounded - p) <= 1 / 512
    assert x.unique().tolist() == pytest.approx([0.0, 1 / (1 - rounded)])
    kept = (x > 0).double().mean().item()
    assert abs(kept - (1 - rounded)) < bound(rounded, x.numel())
    assert abs(x.double().mean().item() - 1) < bound(rounded, x.numel()) / (1 - rounded)


@pytest.mark.parametrize("p", [0.5, 0.4, 0.25])
def test_each_of_64_bit_positions_is_fair(p: float):
    x = masks(p, 20_000, 64, seed=1) > 0
    kept = 1 - round(p * 256) / 256
    assert ((x.double().mean(0) - kept).abs() < bound(kept, len(x))).all()


@pytest.mark.parametrize("p", [0.5, 0.4])
def test_bit_positions_are_independent(p: float):
    x = (masks(p, 20_000, 64, seed=2) > 0).double()
    for later in (x[:, 1:], x[1:]):
        earlier = x[:, :-1] if later.shape[1] == 63 else x[:-1]
        covariance = ((later - later.mean()) * (earlier - earlier.mean())).mean()
        assert covariance.abs() < SIGMAS * 0.25 / math.sqrt(later.numel())
    correlation = torch.corrcoef(x.T) - torch.eye(64)
    assert correlation.abs().max() < 6 / math.sqrt(len(x))


def test_p_of_zero_changes_nothing():
    x = torch.randn(3, 5)
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert torch.equal(PackedDropout(0.0, generator)(x.clone()), x)
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("p", [0.5, 0.3])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (5, 64), (2, 3, 11)])
def test_any_shape_in_place(p: float, shape: tuple[int, ...]):
    x = torch.randn(shape)
    before = x.clone()
    out = PackedDropout(p, torch.Generator().manual_seed(0))(x)
    assert out.data_ptr() == x.data_ptr() and out.shape == shape
    kept = out != 0
    torch.testing.assert_close(out[kept], before[kept] / (1 - round(p * 256) / 256))


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_a_generator_decides_the_mask(p: float):
    assert torch.equal(masks(p, 4, 65, seed=3), masks(p, 4, 65, seed=3))
    assert not torch.equal(masks(p, 4, 65, seed=3), masks(p, 4, 65, seed=4))
    dropout = PackedDropout(p, torch.Generator().manual_seed(3))
    assert not torch.equal(dropout(torch.ones(4, 65)), dropout(torch.ones(4, 65)))


def test_nearly_everything_dropped_is_still_finite():
    x = masks(0.9999, 1000, 64)
    assert x.isfinite().all() and x.max() == 256


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_p_out_of_range_is_named(p: float):
    with pytest.raises(ValueError, match=r"p must lie in \[0, 1\), got"):
        PackedDropout(p, torch.Generator())
