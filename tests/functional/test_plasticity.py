"""Statistics, updates and steps agree with loops over samples and positions."""

import pytest
import torch

from tests.reference import TOLERANCE, agree, draw, numbers
from tests.reference import plasticity as reference
from tests.reference.activation import Pair, positions
from torchhebb.functional import conv2d_statistic, linear_statistic, norm_adaptive_step, plasticity


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize(("batch", "inputs", "outputs"), [(1, 1, 1), (1, 4, 3), (5, 3, 7), (8, 6, 2)])
def test_linear_statistic(batch: int, inputs: int, outputs: int, dtype: torch.dtype):
    x, y = draw(0, batch, inputs, dtype=dtype), draw(1, batch, outputs, dtype=dtype)
    agree(linear_statistic(x, y), reference.linear_statistic(numbers(x), numbers(y)), dtype)


def check_conv2d(
    kernel: Pair, stride: Pair, dilation: Pair, groups: int, size: Pair, batch: int, dtype: torch.dtype = torch.float64
) -> None:
    x = draw(2, batch, 2 * groups, *size, dtype=dtype)
    places = [positions(size[i], kernel[i], stride[i], dilation[i]) for i in (0, 1)]
    y = draw(3, batch, 3 * groups, *places, dtype=dtype)
    actual = conv2d_statistic(x, y, kernel, stride=stride, dilation=dilation, groups=groups)
    expected = reference.conv2d_statistic(numbers(x), numbers(y), kernel, stride, dilation, groups)
    assert actual.shape == (3 * groups, 2, *kernel)
    agree(actual, expected, dtype)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 2), (2, 1)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 2)])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 3), (3, 1)])
def test_conv2d_statistic(kernel: Pair, stride: Pair, dilation: Pair, groups: int):
    check_conv2d(kernel, stride, dilation, groups, (6, 9), 2)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("size", [(3, 3), (3, 8), (5, 4), (7, 6)])  # one position, rows, strides that leave a rest
@pytest.mark.parametrize("groups", [1, 3])
def test_conv2d_statistic_sizes(size: Pair, groups: int, dtype: torch.dtype):
    check_conv2d((3, 3), (2, 2), (1, 1), groups, size, 1, dtype)


def test_conv2d_statistic_takes_one_number_for_both_axes():
    x, y = draw(4, 2, 2, 8, 7), draw(5, 2, 4, 2, 2)
    agree(
        conv2d_statistic(x, y, 3, stride=2, dilation=2),
        conv2d_statistic(x, y, (3, 3), stride=(2, 2), dilation=(2, 2)),
    )
    agree(
        conv2d_statistic(x[..., :6], draw(6, 2, 4, 6, 4), 3),
        reference.conv2d_statistic(numbers(x[..., :6]), numbers(draw(6, 2, 4, 6, 4)), (3, 3)),
    )


def test_conv2d_statistic_of_channels_last():
    x, y = draw(7, 2, 3, 6, 5), draw(8, 2, 4, 4, 3)
    last = torch.channels_last
    agree(
        conv2d_statistic(x.contiguous(memory_format=last), y.contiguous(memory_format=last), 3),
        reference.conv2d_statistic(numbers(x), numbers(y), (3, 3)),
    )


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (4, 6), (3, 2, 3, 1)])
def test_plasticity(shape: tuple[int, ...], explicit: bool, dtype: torch.dtype):
    statistic, weight = draw(9, *shape, dtype=dtype), draw(10, *shape, dtype=dtype)
    decay = draw(11, shape[0], dtype=dtype) if explicit else None
    expected = reference.plasticity(numbers(statistic), numbers(weight), None if decay is None else numbers(decay))
    agree(plasticity(statistic, weight, decay=decay), expected, dtype)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("power", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("shape", [(4, 6), (8, 2, 3, 1)])
def test_norm_adaptive_step(shape: tuple[int, ...], groups: int, power: float, dtype: torch.dtype):
    weight = 3 * draw(12, *shape, dtype=dtype)
    update = draw(13, *shape, dtype=dtype) * torch.arange(1, shape[0] + 1).view(-1, *[1] * (len(shape) - 1)).to(dtype)
    expected = reference.norm_adaptive_step(numbers(weight), numbers(update), 0.3, power, groups)
    agree(norm_adaptive_step(weight, update, 0.3, power, groups=groups), expected, dtype)


@pytest.mark.parametrize("power", [0.2, 0.5, 1.0])
def test_a_neuron_of_unit_norm_still_creeps(power: float):
    """What is added to the distance from 1 is 1e-10, inside the power."""
    weight, update = torch.eye(2, dtype=torch.float64), torch.tensor([[1.0, 2.0], [-4.0, 0.5]], dtype=torch.float64)
    moved = norm_adaptive_step(weight, update, 1e3, power) - weight
    torch.testing.assert_close(moved, 1e3 * 1e-10**power * update / 4, rtol=1e-6, atol=1e-14)


def test_norm_adaptive_step_defaults():
    weight, update = draw(14, 3, 4), draw(15, 3, 4)
    expected = reference.norm_adaptive_step(numbers(weight), numbers(update), 0.1)
    agree(norm_adaptive_step(weight, update, 0.1), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("scale", [1e-25, 1e-12, 1e12])
def test_the_size_of_an_update_does_not_matter(scale: float, dtype: torch.dtype):
    weight, update = draw(16, 3, 4, dtype=dtype), draw(17, 3, 4, dtype=dtype)
    agree(norm_adaptive_step(weight, scale * update, 0.1), norm_adaptive_step(weight, update, 0.1), dtype)


@pytest.mark.parametrize("groups", [1, 2])
def test_no_update_no_step(groups: int):
    weight, update = draw(18, 4, 3), draw(19, 4, 3)
    update[:2] = 0
    stepped = norm_adaptive_step(weight, update, 0.1, groups=groups)
    assert torch.equal(stepped[:2], weight[:2])
    assert torch.equal(norm_adaptive_step(weight, torch.zeros_like(weight), 0.1, groups=groups), weight)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_no_update_no_step_at_any_radius(dtype: torch.dtype):
    weight = 100 * draw(22, 4, 3, dtype=dtype)
    assert torch.equal(norm_adaptive_step(weight, torch.zeros_like(weight), 1.0, 2.0), weight)


def test_arguments_are_left_alone():
    weight, update = draw(20, 4, 3), draw(21, 4, 3)
    before = weight.clone(), update.clone()
    norm_adaptive_step(weight, update, 0.1)
    plasticity(update, weight)
    assert torch.equal(weight, before[0])
    assert torch.equal(update, before[1])
