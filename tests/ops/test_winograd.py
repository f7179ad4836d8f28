"""Winograd's filtering against plain sums: the same outputs and statistics, and how much float32 loses."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.reference import LAW, agree, draw, numbers
from tests.reference import plasticity as reference
from tests.reference.activation import patch
from torchhebb.functional import conv2d_statistic
from torchhebb.ops.winograd import (
    winograd_conv2d,
    winograd_matrices,
    winograd_statistic,
    winograd_tiles,
)

SIZES = [(tile, kernel) for tile, kernel in itertools.product(range(1, 5), range(1, 5)) if tile + kernel <= 7]


@pytest.mark.parametrize(("tile", "kernel"), SIZES)
def test_one_dimension_from_the_definition(tile, kernel):
    output, weights, image = (numbers(matrix) for matrix in winograd_matrices(tile, kernel))
    g, d = numbers(draw(0, kernel)), numbers(draw(1, tile + kernel - 1))
    expected = [sum(g[k] * d[i + k] for k in range(kernel)) for i in range(tile)]
    agree(torch.tensor(output @ ((weights @ g) * (image @ d))), torch.tensor(expected))


@pytest.mark.parametrize("tile", [1, 2, 3, 4])
def test_against_one_position_at_a_time(tile):
    x, weight, y = draw(0, 2, 3, 7, 6), draw(1, 4, 3, 3, 3), draw(2, 2, 4, 5, 4)
    tiles = winograd_tiles(x, 3, tile)
    u = torch.zeros(2, 4, 5, 4, dtype=torch.float64)
    for b, i, j in itertools.product(range(2), range(5), range(4)):
        seen = torch.tensor(patch(numbers(x)[b], i, j, (3, 3), (1, 1), (1, 1)))
        u[b, :, i, j] = (weight * seen).sum((1, 2, 3))
    agree(winograd_conv2d(tiles, weight), u)
    agree(winograd_statistic(tiles, y), torch.tensor(reference.conv2d_statistic(numbers(x), numbers(y), (3, 3))))


@LAW
@given(
    size=st.sampled_from(SIZES),
    batch=st.integers(1, 3),
    channels=st.integers(1, 4),
    neurons=st.sampled_from([1, 3, 64, 65]),
    sides=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    channels_last=st.booleans(),
)
def test_equals_the_convolution_and_its_weight_gradient(size, batch, channels, neurons, sides, channels_last):
    tile, kernel = size
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = draw(0, batch, channels, *(side + kernel for side in sides)).contiguous(memory_format=layout)
    weight = draw(1, neurons, channels, kernel, kernel).contiguous(memory_format=layout)
    tiles = winograd_tiles(x, kernel, tile)
    u = F.conv2d(x, weight)
    agree(winograd_conv2d(tiles, weight), u)
    y = draw(2, *u.shape).contiguous(memory_format=layout)
    agree(winograd_statistic(tiles, y), conv2d_statistic(x, y, kernel))


@pytest.mark.parametrize(("tile", "bound"), [(2, 3e-6), (4, 2e-5)])
def test_what_float32_loses(tile, bound):
    x, weight, y = draw(0, 4, 256, 10, 10), draw(1, 64, 256, 3, 3), draw(2, 4, 64, 8, 8)
    u, statistic = F.conv2d(x, weight), conv2d_statistic(x, y, 3)
    tiles = winograd_tiles(x.float(), 3, tile)
    for actual, expected in (
        (winograd_conv2d(tiles, weight.float()), u),
        (winograd_statistic(tiles, y.float()), statistic),
    ):
        error = actual.double() - expected
        assert 0 < error.norm() < bound * expected.norm()
        assert error.abs().max() < bound * expected.abs().max()


def test_weights_are_transformed_a_part_at_a_time(monkeypatch):
    x, weight, y = draw(0, 2, 3, 8, 8), draw(1, 130, 3, 3, 3), draw(2, 2, 130, 6, 6)
    tiles = winograd_tiles(x, 3, 2)
    u, statistic = winograd_conv2d(tiles, weight), winograd_statistic(tiles, y)
    asked = []
    monkeypatch.setattr("torchhebb.ops.winograd.SLICE_BYTES", 1)
    monkeypatch.setattr("torchhebb.ops.winograd.batched", lambda a, b: asked.append(1) or torch.bmm(a, b))
    agree(winograd_conv2d(tiles, weight), u)
    agree(winograd_statistic(tiles, y), statistic)
    assert len(asked) == 2 * 3, "130 neurons, 64 at a time"


@pytest.mark.parametrize(("tile", "kernel"), [(0, 3), (2, 0), (5, 3), (4, 4)])
def test_sizes_out_of_range(tile, kernel):
    with pytest.raises(ValueError, match=f"together, got {tile} and {kernel}"):
        winograd_matrices(tile, kernel)


def test_kernel_that_does_not_fit():
    with pytest.raises(ValueError, match="kernel_size must fit x of 2 x 5, got 3"):
        winograd_tiles(draw(0, 1, 1, 2, 5), 3, 2)
