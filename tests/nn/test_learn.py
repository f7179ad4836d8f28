"""learn(model, x): one pass in which every block learns from its own input, and nothing comes back from above."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.reference import agree, draw
from torchhebb import learn
from torchhebb.nn import BatchNorm, HebbConv2d, HebbLinear, Triangle
from torchhebb.rules import HardHebb, SoftHebb


def block(inputs: int, outputs: int, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    conv = HebbConv2d(inputs, outputs, 3, padding=1, init_radius=2.0, dtype=torch.float64)
    return nn.Sequential(BatchNorm(inputs).double(), conv, Triangle(0.7), nn.MaxPool2d(2))


def network() -> nn.Sequential:
    first, second = block(2, 4, 0), block(4, 3, 1)
    return nn.Sequential(first, second, nn.Flatten(), HebbLinear(12, 5, dtype=torch.float64))


def images(seed: int = 0) -> Tensor:
    return draw(seed, 3, 2, 8, 8)


def grads(model: nn.Module) -> dict[str, Tensor | None]:
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def test_each_layer_learns_from_its_own_input():
    model, parts, x = network(), network(), images()
    output = learn(model, x)
    for part in parts[:2]:  # type: ignore[attr-defined]
        norm, conv, triangle, pool = part
        x = pool(triangle(conv.learn(norm(x))))
    agree(output, parts[3].learn(x.flatten(1)))
    assert all(grad is not None and grad.abs().sum() > 0 for grad in grads(model).values())
    for mine, theirs in zip(model.parameters(), parts.parameters(), strict=True):
        assert mine.grad is not None and theirs.grad is not None
        assert torch.equal(mine.grad, theirs.grad)
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), parts.buffers(), strict=True))


def test_learn_of_a_single_layer():
    one, other = HebbLinear(5, 3), HebbLinear(5, 3)
    other.weight.copy_(one.weight)
    x = draw(1, 4, 5, dtype=torch.float32)
    assert torch.equal(learn(one, x), other.learn(x))
    assert one.weight.grad is not None and other.weight.grad is not None
    assert torch.equal(one.weight.grad, other.weight.grad)


def test_no_graph_is_built():
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(5, 4), HebbLinear(4, 3), nn.Linear(3, 2))
    x = draw(2, 6, 5, dtype=torch.float32).requires_grad_()
    output = learn(model, x)
    assert not output.requires_grad
    assert [name for name, grad in grads(model).items() if grad is not None] == ["1.weight"]
    assert x.grad is None
    assert torch.is_grad_enabled()


def test_plain_modules_are_called():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    x = draw(3, 2, 4, dtype=torch.float32)
    assert torch.equal(learn(model, x), model(x))
    assert torch.equal(learn(nn.ReLU(), x), torch.relu(x))


class Wrapper(nn.Module):
    """Holds a learning module and does not say how it learns."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(HebbLinear(5, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Residual(Wrapper):
    """Says how it learns."""

    def learn(self, x: Tensor) -> Tensor:
        return learn(self.body, x) + 1


@pytest.mark.parametrize("around", [lambda m: m, nn.Sequential, lambda m: nn.Sequential(nn.ReLU(), nn.Sequential(m))])
@pytest.mark.parametrize("training", [False, True])
def test_a_module_that_cannot_learn_is_named(around: Callable[[nn.Module], nn.Module], training: bool):
    model = around(Wrapper()).train(training)
    with pytest.raises(TypeError, match=r"Wrapper"):
        learn(model, draw(4, 2, 5, dtype=torch.float32))


def test_a_module_of_ones_own_learns():
    model = nn.Sequential(nn.ReLU(), Residual())
    x = draw(5, 2, 5, dtype=torch.float32)
    agree(learn(model, x), model(x) + 1, torch.float32)
    assert model[1].body[0].weight.grad is not None


def test_eval_learns_nothing():
    model, x = network(), images()
    learn(model, x)
    model.zero_grad()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.eval()
    assert torch.equal(learn(model, x), model(x))
    assert all(grad is None for grad in grads(model).values())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_block_in_eval_is_frozen_with_its_statistics():
    model, x = network(), images()
    model[0].eval()
    before = {name: value.clone() for name, value in model[0].state_dict().items()}
    learn(model, x)
    assert all(torch.equal(value, before[name]) for name, value in model[0].state_dict().items())
    assert all(grad is None for grad in grads(model[0]).values())
    assert all(grad is not None for grad in grads(model[1]).values())
    alone = block(4, 3, 1)
    learn(alone, model[0](x))
    assert model[1][1].weight.grad is not None and alone[1].weight.grad is not None
    assert torch.equal(model[1][1].weight.grad, alone[1].weight.grad)


def uppers() -> dict[str, nn.Module]:
    torch.manual_seed(3)
    hard = HebbConv2d(4, 7, 3, rule=HardHebb(), dtype=torch.float64)
    explode = HebbConv2d(4, 2, 1, rule=SoftHebb(50.0), init_radius=1e6, dtype=torch.float64)
    return {"nothing": nn.Identity(), "other rule": hard, "huge": explode, "gradient": nn.Conv2d(4, 2, 1).double()}


@pytest.mark.parametrize("name", list(uppers()))
def test_a_block_does_not_depend_on_what_is_above(name: str):
    model, x = network(), images()
    other = nn.Sequential(block(2, 4, 0), uppers()[name])
    for seed in range(2):
        learn(model, images(seed))
        learn(other, images(seed))
    assert model[0][1].weight.grad is not None and other[0][1].weight.grad is not None
    assert torch.equal(model[0][1].weight.grad, other[0][1].weight.grad)
    assert all(torch.equal(a, b) for a, b in zip(model[0].buffers(), other[0].buffers(), strict=True))
    assert torch.equal(model[0].eval()(x), other[0].eval()(x))


def test_two_batches_add_up():
    model, x = network().eval(), images(1)
    for layer in (model[0][1], model[1][1], model[3]):
        layer.train()  # weights learn, the statistics of normalisation stand still
    learn(model, x)
    first = {name: grad.clone() for name, grad in grads(model).items() if grad is not None}
    learn(model, x)
    for name, grad in grads(model).items():
        assert grad is not None
        agree(grad, 2 * first[name])
