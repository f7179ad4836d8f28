"""A fused step is `learn` and the optimizer's step, number for number, wherever it is taken."""

import copy

import pytest
import torch
from torch import Tensor, nn

from torchhebb.nn import (
    Architecture,
    BatchNorm,
    HebbConv2d,
    HebbLinear,
    LinearBlock,
    SoftWTA,
    Triangle,
    UnitNorm,
    learn,
)
from torchhebb.nn.packing import pack
from torchhebb.optim import NormAdaptiveSGD
from torchhebb.recipes import create_model
from torchhebb.rules import (
    BCM,
    Foldiak,
    GainShape,
    HardHebb,
    Instar,
    Oja,
    OjaSubspace,
    RankedHebb,
    Rule,
    Sanger,
    SoftHebb,
)
from torchhebb.train.eager import EagerStepper
from torchhebb.train.fused import FusedSteps, learning_step

RULES: list[Rule] = [
    SoftHebb(3.0),
    SoftHebb(3.0, anti_hebbian=False),
    SoftHebb(0.7, rectify=True),
    *(HardHebb(), RankedHebb(), GainShape(), Instar(), Oja(), OjaSubspace(), Sanger(), Foldiak(), BCM()),
]
CPU = torch.device("cpu")

pytestmark = pytest.mark.filterwarnings("ignore:step.. found no update")  # one sample may leave none


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def linear(rule: Rule, *, bias: bool = False) -> HebbLinear:
    return HebbLinear(6, 5, rule=rule, bias=bias, init_radius=2.0, dtype=torch.float64)


def pointwise(rule: Rule) -> HebbConv2d:
    return HebbConv2d(6, 5, 1, rule=rule, init_radius=2.0, dtype=torch.float64)


def rows(count: int, seed: int) -> Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def maps(count: int, seed: int) -> Tensor:
    return torch.randn(count, 6, 2, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_equal(model: nn.Module, batches: list[Tensor], lr: float = 0.1, power: float = 0.5) -> None:
    """Both forms from the same weights: outputs, weights, biases and states after every batch."""
    other = copy.deepcopy(model)
    optimizer, stepped = (NormAdaptiveSGD(m.parameters(), lr, power=power) for m in (model, other))
    fused = FusedSteps.of(other, stepped)
    assert fused is not None
    for x in batches:
        expected = learn(model, x)
        optimizer.step()
        optimizer.zero_grad()
        torch.testing.assert_close(fused(x), expected, rtol=1e-12, atol=1e-12)
        for name, tensor in model.state_dict().items():
            torch.testing.assert_close(other.state_dict()[name], tensor, rtol=1e-12, atol=1e-12, msg=name)
        assert all(parameter.grad is None for parameter in other.parameters())


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_every_rule(rule: Rule):
    batches = [rows(count, count) for count in (1, 3, 32, 7)]
    assert_equal(nn.Sequential(linear(rule)), batches)
    assert_equal(nn.Sequential(pointwise(rule)), [maps(count, count) for count in (1, 3, 7)])


@pytest.mark.parametrize("rule", RULES[:6], ids=repr)
def test_biases(rule: Rule):
    assert_equal(nn.Sequential(linear(rule, bias=True)), [rows(4, seed) for seed in range(5)], power=0.2)


def test_a_stack_with_what_stands_between():
    stack = nn.Sequential(
        UnitNorm(),
        nn.Sequential(nn.Flatten(), linear(SoftHebb(3.0)), Triangle()),
        nn.Sequential(BatchNorm(5, dtype=torch.float64), HebbLinear(5, 4, dtype=torch.float64), Triangle(0.7)),
    )
    assert_equal(stack, [rows(8, seed).view(8, 2, 3) for seed in range(6)])


def test_a_frozen_layer_stays():
    stack = nn.Sequential(linear(SoftHebb()), HebbLinear(5, 4, dtype=torch.float64))
    stack[0].eval()
    before = stack[0].weight.clone()
    assert_equal(stack, [rows(8, seed) for seed in range(3)])
    assert torch.equal(stack[0].weight, before)


@pytest.mark.parametrize("x", [torch.zeros(4, 6), torch.full((4, 6), torch.nan)], ids=["zeros", "nan"])
def test_inputs_without_an_update(x: Tensor):
    model = nn.Sequential(linear(Oja()))
    other = copy.deepcopy(model)
    optimizer, stepped = (NormAdaptiveSGD(m.parameters(), 0.1) for m in (model, other))
    learn(model, x.double())
    with pytest.warns(UserWarning, match="no update") if not x.isnan().any() else pytest.MonkeyPatch.context():
        optimizer.step()
    learning_step(other, stepped, device=CPU)(x.double())
    torch.testing.assert_close(other[0].weight, model[0].weight, equal_nan=True, rtol=0, atol=0)


def test_where_it_cannot():
    def fused(model: nn.Module, groups: int = 1) -> bool:
        return FusedSteps.of(model, NormAdaptiveSGD(model.parameters(), 0.1, groups=groups)) is not None

    class Own(nn.Sequential):
        def learn(self, x: Tensor) -> Tensor:
            return x

    layer = HebbLinear(5, 5)
    assert fused(nn.Sequential(layer))
    assert not fused(nn.Sequential(layer), groups=5)
    assert not fused(nn.Sequential(layer, layer))
    assert not fused(nn.Sequential(Own(layer)))
    assert not fused(nn.Sequential(layer, HebbConv2d(5, 5, 3)))
    assert not fused(nn.Sequential(HebbLinear(5, 5, dtype=torch.bfloat16)))
    assert not fused(nn.Sequential(HebbLinear(5, 5, init="patches")))
    assert not fused(nn.Sequential(layer).eval())
    assert not fused(nn.Sequential(type("Mine", (HebbLinear,), {})(5, 5)))
    both = nn.Sequential(layer, HebbLinear(5, 5))
    assert FusedSteps.of(both, NormAdaptiveSGD(layer.parameters(), 0.1)) is None
    assert FusedSteps.of(both, torch.optim.SGD(both.parameters(), 0.1)) is None


def test_a_stepper_follows_the_rates_of_a_state_that_was_loaded():
    """Loading a state gives an optimizer new groups."""
    network = Architecture((1, 2, 3), (LinearBlock(5, normalize=False, bias=True),)).build(0).train()
    optimizer = NormAdaptiveSGD(network.learning_groups())
    rates = [group["lr"] for group in optimizer.param_groups]
    stepper = EagerStepper(network, optimizer, rates, lambda number: 1.0 - number, device=CPU)
    stepper.unpack(pack(optimizer=optimizer))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    stepper.step(1, torch.rand(4, 1, 2, 3), None)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    stepper.step(0, torch.rand(4, 1, 2, 3), None)
    assert not any(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_steps_of_the_loop_are_fused(monkeypatch: pytest.MonkeyPatch):
    model = nn.Sequential(HebbLinear(6, 5))
    optimizer = NormAdaptiveSGD(model.parameters(), 0.1)
    assert isinstance(learning_step(model, optimizer, device=CPU), FusedSteps)
    assert not isinstance(learning_step(model, optimizer, device=CPU, precision="bfloat16"), FusedSteps)
    monkeypatch.setattr(optimizer, "step", lambda: pytest.fail("the optimizer stepped"))
    EagerStepper(model, optimizer, [0.1], lambda number: 1.0, device=CPU).step(0, torch.rand(3, 6), None)


@pytest.mark.parametrize("name", ["softhebb2022-digits", "softhebb2023-digits"])
def test_what_only_computes_the_output_is_left_out_where_nobody_reads_it(name: str):
    """The weights are those of steps that compute it."""
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    states = []
    for output in (True, False):
        network = create_model(name).train()
        calls: list[nn.Module] = []
        optimizer = NormAdaptiveSGD(network.learning_groups())
        step = learning_step(network, optimizer, device=CPU, output=output)
        activations = [module for module in network.modules() if isinstance(module, Triangle | SoftWTA)]
        for activation in activations:  # hooks that were there before would keep the module
            activation.register_forward_hook(lambda module, *_, calls=calls: calls.append(module))
        for _ in range(3):
            step(images)
        assert len(calls) == 3 * (len(activations) - (not output))
        states.append(network.state_dict())
    assert all(torch.equal(states[1][key], tensor) for key, tensor in states[0].items())


def test_a_module_with_a_hook_is_not_left_out():
    model = nn.Sequential(HebbLinear(6, 5), Triangle())
    calls: list[int] = []
    model[1].register_forward_hook(lambda *_: calls.append(1))
    learning_step(model, NormAdaptiveSGD(model[0].parameters(), 0.1), device=CPU, output=False)(torch.rand(3, 6))
    assert calls == [1]
