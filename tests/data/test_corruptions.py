"""Each corruption does what its law says, in proportion to its severity, and nothing at severity 0."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.reference import LAW
from torchhebb.data.corruptions import (
    CORRUPTIONS,
    Brightness,
    Contrast,
    Corruption,
    GaussianBlur,
    GaussianNoise,
    ImpulseNoise,
    Pixelate,
    Rotation,
    ShotNoise,
)
from torchhebb.errors import UserError

SEEDS = st.integers(0, 2**31)
SIDES = st.integers(2, 13)
ALL = pytest.mark.parametrize("kind", CORRUPTIONS.values(), ids=list(CORRUPTIONS))
NOISES = pytest.mark.parametrize("kind", [GaussianNoise, ShotNoise, ImpulseNoise])


def pixels(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def corrupt(corruption: Corruption, x: Tensor, seed: int = 0) -> Tensor:
    return corruption(x, torch.Generator().manual_seed(seed))


def distort(corruption: Corruption, x: Tensor, seed: int = 0) -> Tensor:
    """Before it is clamped."""
    return corruption.distort(x, torch.Generator().manual_seed(seed))


@ALL
def test_severity_zero_is_the_identity_and_a_small_severity_is_near_it(kind: type[Corruption]):
    x = pixels(0, 3, 2, 9, 7)
    assert torch.equal(corrupt(kind(0.0), x), x)
    assert (corrupt(kind(1e-3), x) - x).abs().mean() < 4e-3


@ALL
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_dtype_and_range_stay_and_the_input_is_left_alone(kind: type[Corruption], dtype: torch.dtype):
    x = pixels(1, 4, 3, 8, 10).to(dtype)
    before = x.clone()
    y = corrupt(kind(0.9), x)
    assert y.shape == x.shape and y.dtype == dtype and torch.equal(x, before)
    assert y.min() >= 0 and y.max() <= 1
    assert not torch.equal(y, x)


@ALL
def test_a_larger_severity_does_more(kind: type[Corruption]):
    x = pixels(2, 20, 1, 12, 12)
    scale = 40 if kind is Rotation else 1
    change = [(corrupt(kind(scale * severity), x) - x).square().mean() for severity in (0.1, 0.4, 0.8)]
    assert change[0] < change[1] < change[2]


@NOISES
def test_noise_follows_its_generator(kind: type[Corruption]):
    x = pixels(3, 2, 1, 8, 8)
    assert torch.equal(corrupt(kind(0.3), x, 1), corrupt(kind(0.3), x, 1))
    assert not torch.equal(corrupt(kind(0.3), x, 1), corrupt(kind(0.3), x, 2))


@pytest.mark.parametrize("kind", [GaussianBlur, Contrast, Brightness, Pixelate, Rotation])
def test_the_others_draw_nothing(kind: type[Corruption]):
    generator = torch.Generator().manual_seed(4)
    before = generator.get_state()
    kind(0.5)(pixels(4, 2, 1, 8, 8), generator)
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("grey", [0.0, 0.2, 0.7, 1.0])
def test_noise_keeps_the_mean_and_has_its_variance(grey: float):
    x, severity, n = torch.full((1, 1, 400, 500), grey, dtype=torch.float64), 0.3, 200_000
    for noise, variance in ((GaussianNoise(severity), severity**2), (ShotNoise(severity), severity**2 * grey)):
        noisy = distort(noise, x)
        assert abs(noisy.mean() - grey) < 5 * math.sqrt(variance / n) + 1e-12
        assert abs(noisy.var() - variance) < 0.03 * variance + 1e-12


def test_shot_noise_counts_photons():
    photons = distort(ShotNoise(0.25), pixels(5, 2, 1, 9, 9)) / 0.25**2
    assert torch.equal(photons, photons.round()) and photons.max() > 1


def test_impulses_hit_their_share_in_black_and_white():
    x = torch.full((1, 1, 400, 500), 0.5)
    hit = corrupt(ImpulseNoise(0.3), x)
    for value, share in ((0.0, 0.15), (1.0, 0.15), (0.5, 0.7)):
        assert abs((hit == value).double().mean() - share) < 5 * math.sqrt(share * (1 - share) / x.numel())
    assert set(corrupt(ImpulseNoise(1.0), x).unique().tolist()) == {0.0, 1.0}


@LAW
@given(SIDES, SIDES, st.floats(0.05, 6), st.floats(0, 1))
def test_blur_and_pixels_leave_a_constant_image(height: int, width: int, severity: float, grey: float):
    x = torch.full((2, 3, height, width), grey, dtype=torch.float64)
    torch.testing.assert_close(corrupt(GaussianBlur(severity), x), x)
    torch.testing.assert_close(corrupt(Pixelate(min(severity, 1)), x), x)
    torch.testing.assert_close(corrupt(Contrast(min(severity, 1)), x), x)


def test_blur_of_a_point_is_a_gaussian():
    x = torch.zeros(1, 1, 41, 41, dtype=torch.float64)
    x[0, 0, 20, 20] = 1
    blurred = corrupt(GaussianBlur(2.0), x)[0, 0]
    assert blurred.sum() == pytest.approx(1)
    row = blurred[20] / blurred[20, 20]
    expected = torch.exp(-((torch.arange(41.0, dtype=torch.float64) - 20) ** 2) / 8)
    near = slice(14, 27)
    torch.testing.assert_close(row[near], expected[near])
    torch.testing.assert_close(blurred, blurred.T)


@LAW
@given(SEEDS, SIDES, SIDES, st.floats(0.01, 1))
def test_pixelate_is_idempotent_and_keeps_the_mean(seed: int, height: int, width: int, severity: float):
    x = pixels(seed, 2, 2, height, width)
    once = corrupt(Pixelate(severity), x)
    torch.testing.assert_close(corrupt(Pixelate(severity), once), once)
    torch.testing.assert_close(once.mean((2, 3)), x.mean((2, 3)))
    rows = len(once[0, 0].round(decimals=9).unique(dim=0))
    assert rows <= max(1, round((1 - severity) * height))


def test_pixelate_averages_blocks():
    x = pixels(6, 1, 1, 6, 4)
    blocks = torch.nn.functional.avg_pool2d(x, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(corrupt(Pixelate(0.5), x), blocks)


@LAW
@given(SEEDS, st.floats(0.01, 1))
def test_contrast_keeps_the_mean_and_shrinks_what_differs(seed: int, severity: float):
    x = pixels(seed, 2, 3, 5, 6)
    y = corrupt(Contrast(severity), x)
    mean = x.mean((2, 3), keepdim=True)
    torch.testing.assert_close(y.mean((2, 3), keepdim=True), mean)
    torch.testing.assert_close(y - mean, (1 - severity) * (x - mean))


def test_brightness_adds_light_up_to_white():
    x = torch.tensor([0.0, 0.5, 0.9]).view(1, 1, 1, 3)
    torch.testing.assert_close(corrupt(Brightness(0.25), x).flatten(), torch.tensor([0.25, 0.75, 1.0]))


@pytest.mark.parametrize("quarters", [1, 2, 3, 4])
def test_rotation_by_right_angles(quarters: int):
    x = pixels(7, 2, 3, 9, 9)
    torch.testing.assert_close(corrupt(Rotation(90.0 * quarters), x), torch.rot90(x, quarters, (2, 3)))


def test_rotation_of_an_oblong_image():
    x = torch.from_numpy(np.outer(np.hanning(15), np.hanning(11))).view(1, 1, 15, 11)
    torch.testing.assert_close(corrupt(Rotation(180.0), x), x.flip(2, 3))
    quarter = corrupt(Rotation(90.0), x)[0, 0]
    torch.testing.assert_close(quarter[2:13], torch.rot90(x[0, 0, 2:13]))  # the square in the middle


def test_rotations_add_up_where_the_image_is_smooth():
    axis = torch.linspace(-2, 2, 101, dtype=torch.float64)
    x = torch.exp(-4 * (axis[:, None] - 0.5) ** 2 - 8 * axis[None] ** 2).view(1, 1, 101, 101)
    twice = corrupt(Rotation(20.0), corrupt(Rotation(25.0), x))
    assert (twice - corrupt(Rotation(45.0), x)).abs().max() < 0.02
    assert (twice - x).abs().max() > 0.2


@pytest.mark.parametrize(("kind", "largest"), [(kind, kind.largest) for kind in CORRUPTIONS.values()])
def test_a_severity_out_of_range_is_refused(kind: type[Corruption], largest: float):
    for severity in (-0.1, math.nan, math.inf, largest + 0.1):
        with pytest.raises(UserError, match=f"severity.* must be .* got {severity}"):
            kind(severity)
