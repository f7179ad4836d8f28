"""The optimizer takes the reference's steps."""

import copy
import warnings

import pytest
import torch
from torch import Tensor

from tests.reference import TOLERANCE, agree, draw, numbers
from tests.reference import optim as reference
from torchhebb.errors import UserError
from torchhebb.functional import norm_adaptive_step
from torchhebb.nn import HebbLinear
from torchhebb.optim import NormAdaptiveSGD


def plastic(tensor: Tensor) -> torch.nn.Parameter:
    return torch.nn.Parameter(tensor, requires_grad=False)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_groups_step_at_their_own_rate(dtype: torch.dtype):
    linear, conv = plastic(3 * draw(0, 4, 6, dtype=dtype)), plastic(draw(1, 5, 2, 3, 3, dtype=dtype))
    bias = plastic(draw(2, 4, dtype=dtype))
    settings = [(linear, 0.1, 0.5), (conv, 0.3, 0.2), (bias, 0.05, 0.7)]
    optimizer = NormAdaptiveSGD(
        [
            {"params": [linear]},
            {"params": [conv], "lr": 0.3, "power": 0.2},
            {"params": [bias], "lr": 0.05, "power": 0.7},
        ],
        lr=0.1,
    )
    for number in range(4):
        expected = []
        for place, (parameter, lr, power) in enumerate(settings):
            scale = 0.1 if number % 2 else 10.0  # below and above the one of max(1, largest)
            parameter.grad = scale * draw(10 * number + place, *parameter.shape, dtype=dtype)
            expected.append(reference.step(numbers(parameter), numbers(parameter.grad), lr, power))
        optimizer.step()
        for (parameter, _, _), value in zip(settings, expected, strict=True):
            agree(parameter, value, dtype)


def test_power_of_the_optimizer():
    parameters = [plastic(draw(3, 4, 5)) for _ in range(2)]
    for parameter, power in zip(parameters, (0.5, 1.5), strict=True):
        parameter.grad = draw(4, 4, 5)
        before = numbers(parameter).copy()
        optimizer = NormAdaptiveSGD([parameter], 0.2, **({} if power == 0.5 else {"power": power}))
        optimizer.step()
        agree(parameter, reference.step(before, numbers(parameter.grad), 0.2, power))


def test_groups_of_neurons_have_their_own_largest_entry():
    weight = draw(16, 6, 4)
    gradient = draw(17, 6, 4) * torch.tensor([1.0, 1, 10, 10, 100, 100])[:, None]
    grouped, whole = plastic(weight.clone()), plastic(weight.clone())
    grouped.grad = whole.grad = gradient
    NormAdaptiveSGD([{"params": [grouped], "groups": 3}, {"params": [whole]}], lr=0.1).step()
    agree(grouped, reference.step(numbers(weight), numbers(gradient), 0.1, groups=3))
    agree(whole, reference.step(numbers(weight), numbers(gradient), 0.1))


@pytest.mark.parametrize("largest", [0.01, 1.0, 50.0])
def test_a_bias_steps_by_its_update_when_that_is_small(largest: float):
    bias = plastic(draw(5, 6))
    gradient = draw(6, 6)
    bias.grad = largest * gradient / gradient.abs().max()
    expected = bias - 0.1 * bias.grad / max(1.0, largest)
    NormAdaptiveSGD([bias], 0.1).step()
    agree(bias, expected)


def test_groups_of_biases_have_their_own_largest_entry():
    bias, gradient = draw(18, 6), draw(19, 6) * torch.tensor([0.1, 0.1, 10, 10, 100, 100])
    grouped, parts = plastic(bias.clone()), [plastic(part.clone()) for part in bias.chunk(3)]
    grouped.grad = gradient
    for part, share in zip(parts, gradient.chunk(3), strict=True):
        part.grad = share
    NormAdaptiveSGD([{"params": [grouped], "groups": 3}, {"params": parts}], lr=0.1).step()
    torch.testing.assert_close(grouped, torch.cat(parts))


@pytest.mark.parametrize("shape", [(6, 4), (6, 2, 3, 3), (6,)])
def test_a_rate_may_be_a_tensor(shape: tuple[int, ...]):
    rates = torch.tensor([0.1, 0.1, 0.2, 0.2, 0.4, 0.4]).double()
    start, gradient = draw(20, *shape), draw(21, *shape)
    apart, one, by_number = (plastic(start.clone()) for _ in range(3))
    for parameter in (apart, one, by_number):
        parameter.grad = gradient
    NormAdaptiveSGD([{"params": [apart], "lr": rates}]).step()
    NormAdaptiveSGD([{"params": [one], "lr": torch.tensor(0.1).double()}]).step()
    NormAdaptiveSGD([by_number], lr=0.1).step()
    torch.testing.assert_close(one, by_number)
    factor = (rates / 0.1).view(-1, *[1] * (len(shape) - 1))
    torch.testing.assert_close(apart, start + factor * (by_number - start))


def test_a_step_is_the_functional_step():
    weight, update = draw(7, 4, 3), draw(8, 4, 3)
    parameter = plastic(weight.clone())
    parameter.grad = -update / 17  # .grad holds minus the mean update; its scale does not matter
    NormAdaptiveSGD([parameter], lr=0.1).step()
    agree(parameter, norm_adaptive_step(weight, update, 0.1))


def test_parameters_without_gradient_stay():
    still, zero, moving = (plastic(draw(9 + i, 3, 2)) for i in range(3))
    before = [parameter.clone() for parameter in (still, zero)]
    zero.grad, moving.grad = torch.zeros(3, 2).double(), draw(12, 3, 2)
    bias = plastic(draw(13, 3))
    bias.grad = torch.zeros(3).double()
    bias_before = bias.clone()
    NormAdaptiveSGD([still, zero, moving, bias], lr=0.1).step()
    assert torch.equal(still, before[0])
    assert torch.equal(zero, before[1])
    assert torch.equal(bias, bias_before)
    assert moving.isfinite().all()


def test_it_is_a_torch_optimizer():
    parameter = plastic(draw(14, 3, 2))
    optimizer = NormAdaptiveSGD([parameter], lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)

    def learn() -> float:
        parameter.grad = draw(15, 3, 2)
        return 1.5

    assert optimizer.step(learn) == 1.5
    schedule.step()
    before = numbers(parameter).copy()
    optimizer.step()
    agree(parameter, reference.step(before, numbers(parameter.grad), 0.05))
    restored = NormAdaptiveSGD([parameter], lr=0.1)
    restored.load_state_dict(optimizer.state_dict())
    assert restored.param_groups[0]["lr"] == 0.05
    optimizer.zero_grad()
    assert parameter.grad is None


def test_a_closure_runs_with_gradients():
    weight, other = plastic(draw(0, 3, 2)), torch.nn.Parameter(draw(1, 3, 2))

    def closure() -> float:
        loss = other.square().sum()
        loss.backward()
        weight.grad = draw(2, 3, 2)
        return loss.item()

    NormAdaptiveSGD([weight], lr=0.1).step(closure)
    assert other.grad is not None


@pytest.mark.parametrize("left", [None, torch.zeros(3, 2).double()], ids=["none", "zeros"])
def test_gradients_that_were_zeroed_before_the_step_are_warned_of_once(left: Tensor | None):
    layer = plastic(draw(0, 3, 2))
    layer.grad = left
    optimizer = NormAdaptiveSGD([layer], lr=0.1)
    with pytest.warns(UserWarning, match="no update in any .grad: call learn"):
        optimizer.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()


def test_nothing_is_warned_of_where_something_learned():
    still, moving = plastic(draw(0, 3, 2)), plastic(draw(1, 3, 2))
    moving.grad = draw(2, 3, 2)
    optimizer = copy.deepcopy(NormAdaptiveSGD([still, moving], lr=0.1))
    optimizer.param_groups[0]["params"][1].grad = moving.grad
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["lr", "power"])
def test_rates_are_finite(name: str, value: float):
    with pytest.raises(UserError, match=f"{name} must be a finite number and not negative, got"):
        NormAdaptiveSGD([plastic(draw(0, 3, 2))], **{"lr": 0.1} | {name: value})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_weights_reach_the_radius_that_float32_reaches(dtype: torch.dtype):
    radii = []
    for kept in (torch.float32, dtype):
        layer = HebbLinear(16, 4, init_radius=20.0, dtype=kept)
        layer.reset_parameters(torch.Generator().manual_seed(0))
        optimizer = NormAdaptiveSGD([layer.weight], lr=0.05)
        inputs = draw(1, 2000, 16, dtype=kept)
        for x in inputs.split(2):
            layer.weight.grad = None
            layer.learn(x)
            optimizer.step()
        assert layer.weight.dtype == kept
        radii.append(layer.weight.double().norm(dim=1))
    assert (radii[0] - 1).abs().max() < 0.1
    torch.testing.assert_close(radii[1], radii[0], rtol=0, atol=0.1)


def test_what_rounding_left_off_is_saved_and_loaded():
    start = draw(0, 3, 5, dtype=torch.bfloat16)
    one, other = plastic(start.clone()), plastic(start.clone())
    first, second = NormAdaptiveSGD([one], lr=1e-3), NormAdaptiveSGD([other], lr=1e-3)
    for number in range(20):
        one.grad = other.grad = draw(number, 3, 5, dtype=torch.bfloat16)
        first.step()
        second.step()
        resumed = NormAdaptiveSGD([other], lr=1e-3)
        resumed.load_state_dict(copy.deepcopy(second.state_dict()))
        second = resumed
    assert torch.equal(one, other)
    whole = one.double() + first.state[one]["rest"].double()
    exact = start.double()
    for number in range(20):
        exact = norm_adaptive_step(exact, -draw(number, 3, 5, dtype=torch.bfloat16).double(), 1e-3)
    torch.testing.assert_close(whole, exact, rtol=0, atol=2e-4)
    assert (one.double() - start.double()).abs().max() > 0
