import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference import whitening as reference
from torchhebb.functional import decorrelation_step, whitening_matrix


def covariance(size: int, seed: int, *, samples: int = 200) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(samples, size, generator=generator, dtype=torch.float64)
    mixed = mixed @ torch.randn(size, size, generator=generator, dtype=torch.float64)
    return mixed.T @ mixed / samples


@pytest.mark.parametrize("shrinkage", [0.0, 0.1, 3.0])
@pytest.mark.parametrize("size", [1, 2, 7, 20])
def test_zca_is_the_inverse_root(size: int, shrinkage: float):
    c = covariance(size, size)
    torch.testing.assert_close(
        whitening_matrix(c, shrinkage=shrinkage), reference.zca(c, shrinkage), rtol=1e-8, atol=1e-9
    )


@given(size=st.integers(2, 12), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_outputs_are_white_and_components_are_the_largest(size: int, seed: int):
    c = covariance(size, seed)
    z = whitening_matrix(c, shrinkage=0.0)
    torch.testing.assert_close(z @ c @ z.T, torch.eye(size, dtype=c.dtype), rtol=0, atol=1e-6)
    torch.testing.assert_close(z, z.T, rtol=1e-6, atol=1e-8)
    kept = size // 2
    p = whitening_matrix(c, shrinkage=0.0, components=kept)
    torch.testing.assert_close(p @ c @ p.T, torch.eye(kept, dtype=c.dtype), rtol=0, atol=1e-6)
    variances = torch.linalg.eigvalsh(c).flip(0)[:kept]
    torch.testing.assert_close(1 / p.square().sum(1), variances, rtol=1e-6, atol=1e-12)


def test_components_are_the_same_whichever_sign_eigenvectors_come_with():
    c = covariance(6, 3)
    flipped = torch.diag(torch.tensor([1.0, -1, 1, -1, 1, 1], dtype=c.dtype))
    once = whitening_matrix(c, components=4)
    again = whitening_matrix(flipped @ c @ flipped, components=4) @ flipped
    torch.testing.assert_close(once.abs(), again.abs(), rtol=1e-7, atol=1e-9)
    assert (once.gather(1, once.abs().argmax(1, keepdim=True)) > 0).all()


def test_components_that_vary_by_rounding_alone_are_zero():
    c = torch.diag(torch.tensor([4.0, 1e-7, 1.0, -1e-7], dtype=torch.float64))
    expected = torch.zeros(4, 4, dtype=torch.float64)
    expected[0, 0], expected[1, 2] = 0.5, 1.0
    assert torch.equal(whitening_matrix(c, shrinkage=0.0, components=4, rounding=1e-6), expected)
    assert whitening_matrix(c, shrinkage=0.0, components=3, rounding=1e-8)[2].any()
    assert whitening_matrix(c, shrinkage=0.1, components=4, rounding=1e-6).any(1).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"covariance": torch.zeros(2, 3)}, "covariance must be square, got (2, 3)"),
        ({"shrinkage": -0.1}, "shrinkage must not be negative, got -0.1"),
        ({"components": 4}, "components must lie from 1 to 3, got 4"),
        ({"covariance": torch.zeros(3, 3), "shrinkage": 0.0}, "full rank"),
        ({"covariance": torch.diag(torch.tensor([1.0, 1.0, 0.0])), "shrinkage": 0.0}, "full rank"),
        ({"covariance": torch.zeros(3, 3), "shrinkage": 0.0, "components": 2, "rounding": 1e-6}, "full rank"),
        ({"rounding": 1e-6}, "rounding must be None without components"),
    ],
)
def test_mistakes(changes: dict, message: str):
    settings_ = {"covariance": torch.eye(3), "shrinkage": 0.1, **changes}
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")):
        whitening_matrix(settings_.pop("covariance"), **settings_)


def test_a_direction_without_variance_may_be_left_out():
    z = whitening_matrix(torch.diag(torch.tensor([4.0, 1.0, 0.0])), shrinkage=0.0, components=2)
    torch.testing.assert_close(z, torch.tensor([[0.5, 0, 0], [0, 1, 0]]))


def test_the_lateral_rule_rests_at_whitening_and_goes_there_with_noise_for_shrinkage():
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    x = torch.randn(20_000, 5, generator=generator, dtype=torch.float64) @ mix.T
    x -= x.mean(0)
    c = x.T @ x / len(x)
    z = whitening_matrix(c, shrinkage=0.0)
    torch.testing.assert_close(decorrelation_step(z, x, 0.1), z, rtol=0, atol=1e-8)

    e = 0.3 * c.diagonal().mean()
    learned = torch.eye(5, dtype=torch.float64) / c.diagonal().mean().sqrt()
    for step in range(3000):
        noisy = x[torch.randint(len(x), (500,), generator=generator)]
        noisy = noisy + e.sqrt() * torch.randn(noisy.shape, generator=generator, dtype=torch.float64)
        learned = decorrelation_step(learned, noisy, 0.05 * (1 - step / 3000))
    torch.testing.assert_close(learned, whitening_matrix(c, shrinkage=0.3), rtol=0.05, atol=0.02)


def test_a_covariance_that_is_not_finite():
    with pytest.raises(ValueError, match="covariance must be finite"):
        whitening_matrix(torch.tensor([[1.0, 0.0], [0.0, torch.nan]]))
