"""Flat features, and the memory format in which gradients come back through them."""

import pytest
import torch
from torch import nn

from torchhebb.nn import Architecture, ConvBlock, LinearBlock, LinearReadout, Pool, Tap
from torchhebb.nn.flatten import Flatten, flatten_maps
from torchhebb.train.supervised import backpropagation_model


def below(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The gradient that what lies below the module gets."""
    found: list[torch.Tensor] = []
    maps = x.clone(memory_format=torch.preserve_format).requires_grad_().mul(1.0)
    assert maps.grad_fn is not None
    maps.grad_fn.register_prehook(lambda gradients: found.append(gradients[0]))
    module(maps).square().sum().backward()
    return found[0]


@pytest.mark.parametrize("module", [Flatten(), LinearReadout(48, 5)], ids=["Flatten", "LinearReadout"])
def test_gradients_have_the_memory_format_of_the_maps_and_the_values_of_torchs_flatten(module: nn.Module) -> None:
    for parameter in module.parameters():
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    x = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    plain = nn.Sequential(nn.Flatten(), module if isinstance(module, LinearReadout) else nn.Identity())
    expected = below(plain, x)
    last = below(module, x.to(memory_format=torch.channels_last))
    assert last.is_contiguous(memory_format=torch.channels_last) and torch.equal(last, expected)
    first = below(module, x)
    assert first.is_contiguous() and torch.equal(first, expected)


def test_a_gradient_for_each_of_many_outputs_passes_at_once() -> None:
    x = torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last).requires_grad_()
    weight = torch.rand(5, 48)
    jacobians = [
        torch.autograd.functional.jacobian(lambda z, f=f: f(z * 2.0) @ weight.T, x, vectorize=True)  # type: ignore[misc]
        for f in (flatten_maps, lambda z: z.flatten(1))
    ]
    assert torch.equal(*jacobians)


def test_pixels_themselves_get_no_hook() -> None:
    x = torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last).requires_grad_()
    for _ in range(3):
        flatten_maps(x)
    assert not x._backward_hooks


def formats(model: nn.Module, watched: nn.Module, x: torch.Tensor) -> list[bool]:
    """Whether the gradients that come back to the output of a module are channels-last."""
    found: list[bool] = []

    def watch(_: nn.Module, __: object, maps: torch.Tensor) -> None:
        assert maps.grad_fn is not None
        maps.grad_fn.register_prehook(
            lambda gradients: found.append(gradients[0].is_contiguous(memory_format=torch.channels_last))
        )

    watched.register_forward_hook(watch)
    model(x).square().sum().backward()
    return found


CONV = ConvBlock(8, 3, pool=Pool("avg", 4, 2, 1))


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture((3, 16, 16), (CONV,)),
        Architecture((3, 16, 16), (CONV, LinearBlock(5))),
        Architecture((3, 16, 16), (CONV,), taps=(Tap(1, 8),)),
    ],
    ids=["readout", "linear block", "tap"],
)
def test_maps_of_a_network_by_gradients_get_theirs_in_their_own_format(architecture: Architecture) -> None:
    model = backpropagation_model(architecture, 10)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.rand(4, 3, 16, 16).to(memory_format=torch.channels_last)
    assert formats(model, model[0].get_submodule("block1.pool"), x) == [True]
