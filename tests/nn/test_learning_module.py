"""Modules of any structure that learn by their own forward pass, and models that torch wraps."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from torchhebb import learn
from torchhebb.errors import UserError
from torchhebb.nn import (
    Architecture,
    ConvBlock,
    HebbConv2d,
    HebbLinear,
    LearningModule,
    SPHeReBlock,
    Triangle,
    WhitenedBlock,
    init_from_data,
    load,
    save,
)
from torchhebb.optim import NormAdaptiveSGD


class Residual(LearningModule):
    """x + two layers, concatenated with a third."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(HebbConv2d(2, 3, 3, padding=1), Triangle(), HebbConv2d(3, 2, 3, padding=1))
        self.branch = HebbConv2d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x + self.body(x), self.branch(x).relu()], 1)


def gradients(module: nn.Module) -> dict[str, Tensor | None]:
    return {name: parameter.grad for name, parameter in module.named_parameters()}


def test_learning_follows_forward() -> None:
    torch.manual_seed(0)
    module, x = Residual().double(), torch.rand(4, 2, 6, 6, dtype=torch.float64)
    output = learn(module, x)
    torch.testing.assert_close(output, module(x))  # the two may multiply in another order
    assert not output.requires_grad
    by_hand = Residual().double()
    by_hand.load_state_dict(module.state_dict())
    learn(by_hand.body, x)
    by_hand.branch.learn(x)
    expected = gradients(by_hand)
    assert expected and all(torch.equal(grad, expected[name]) for name, grad in gradients(module).items())  # type: ignore[arg-type]


def test_a_frozen_part_leaves_nothing_and_forward_is_its_own_again() -> None:
    module, x = Residual(), torch.rand(4, 2, 6, 6)
    module.branch.eval()
    learn(module, x)
    assert module.branch.weight.grad is None and module.body[0].weight.grad is not None
    module.zero_grad()
    module(x)
    assert not any(grad is not None for grad in gradients(module).values())
    assert all("forward" not in part.__dict__ for part in module.modules())
    module.eval()
    assert torch.equal(learn(module, x), module(x)) and module.body[0].weight.grad is None


def test_nested_and_called_twice() -> None:
    class Outer(LearningModule):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.local, self.shared = Residual(), SPHeReBlock(4, 4, projection=3), HebbConv2d(4, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.shared(self.local(self.inner(x)))
            return self.shared(x)

    torch.manual_seed(0)
    module, x = Outer(), torch.rand(4, 2, 8, 8)
    learn(nn.Sequential(nn.Identity(), module), x)
    found = gradients(module)
    assert all(grad is not None for grad in found.values())
    alone = HebbConv2d(4, 4, 1)
    alone.load_state_dict(module.shared.state_dict())
    first = module.local.body(module.inner(x))  # batch norm in train mode, as it was
    alone.learn(alone.learn(first.detach()))
    assert torch.allclose(alone.weight.grad, found["shared.weight"], rtol=1e-4, atol=1e-6)  # type: ignore[arg-type]


def test_an_error_leaves_no_trace() -> None:
    class Failing(LearningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = HebbLinear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            self.layer(x)
            raise RuntimeError("stop")

    module = Failing()
    with pytest.raises(RuntimeError, match="stop"):
        learn(module, torch.rand(2, 3))
    assert "forward" not in module.layer.__dict__


def test_a_module_of_another_kind_is_told_of_it() -> None:
    class Foreign(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = HebbLinear(3, 2)

    with pytest.raises(TypeError, match="as a torchhebb.nn.LearningModule does"):
        learn(Foreign(), torch.rand(2, 3))


class TestWrapped:
    def test_a_compiled_network_learns_as_the_one_inside(self) -> None:
        network, x = Architecture((1, 8, 8), (ConvBlock(4, 3),)).build(), torch.rand(4, 1, 8, 8)
        output = learn(torch.compile(network), x)
        grad = network.block1.layer.weight.grad.clone()
        network.zero_grad()
        assert torch.equal(learn(network, x), output) and torch.equal(network.block1.layer.weight.grad, grad)
        network.zero_grad()
        network.block1.layer = torch.compile(network.block1.layer)
        learn(network, x)
        assert torch.equal(network.block1.layer.weight.grad, grad)

    def test_data_parallel_is_one_line(self) -> None:
        with pytest.raises(TypeError, match="learn does not pass through DataParallel: give it model.module"):
            learn(nn.DataParallel(nn.Sequential(HebbLinear(3, 2))), torch.rand(2, 3))


class TestDataInitialised:
    ARCHITECTURE = Architecture((3, 12, 12), (WhitenedBlock(6, 3),))

    def test_it_learns_after_initialisation_alone(self, tmp_path: Any) -> None:
        network, x = self.ARCHITECTURE.build(), torch.rand(20, 3, 12, 12)
        with pytest.raises(UserError, match="PatchWhitening is to be initialised from its inputs before it learns"):
            learn(network, x)
        assert network.eval()(x).shape == learn(network, x).shape  # in eval mode nothing learns
        init_from_data(network.train(), x, torch.Generator().manual_seed(0))
        learn(network, x)
        save(network, tmp_path / "model")
        back = load(tmp_path / "model").train()
        learn(back, x)
        assert torch.equal(back.block1.layer.weight.grad, network.block1.layer.weight.grad)  # type: ignore[operator]

    def test_a_layer_whose_weights_are_patches(self) -> None:
        layer, x = HebbLinear(4, 3, init="patches", init_radius=1.0), torch.rand(9, 4)
        with pytest.raises(UserError, match="HebbLinear is to be initialised"):
            learn(nn.Sequential(layer), x)
        layer.init_from_data(x, torch.Generator())
        learn(nn.Sequential(layer), x)
        layer.reset_parameters()
        with pytest.raises(UserError, match="HebbLinear is to be initialised"):
            learn(layer, x)


class TestRates:
    def test_a_rate_that_nothing_would_use_is_refused(self) -> None:
        network = Architecture((1, 8, 8), (ConvBlock(4, 3, lr=0.5),)).build()
        with pytest.raises(UserError, match="lr must be left out where every group has its own"):
            NormAdaptiveSGD(network.learning_groups(), lr=0.01)
        assert NormAdaptiveSGD(network.learning_groups()).param_groups[0]["lr"] == 0.5

    def test_a_group_without_a_rate_is_refused(self) -> None:
        weight = HebbLinear(3, 2).weight
        with pytest.raises(UserError, match="lr must be given"):
            NormAdaptiveSGD([weight])
        with pytest.raises(UserError, match="lr must be a finite number and not negative, got nan"):
            NormAdaptiveSGD([{"params": [weight], "lr": float("nan")}])
