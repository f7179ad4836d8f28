"""Flat features, and the memory format in which gradients come back through them."""

import pytest
import torch
from torch import nn

from torchhebb.nn import LinearReadout
from torchhebb.nn.flatten import Flatten, flatten_maps
from torchhebb.recipes import get_recipe
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


def test_rows_and_maps_of_one_position_are_flattened_as_they_are() -> None:
    for shape in ((3, 5), (3, 5, 1, 1), (3, 1, 4, 4), (3, 2, 4)):
        x = torch.rand(shape, requires_grad=True)
        assert torch.equal(flatten_maps(x), x.flatten(1))
        flatten_maps(x).sum().backward()
        assert torch.equal(x.grad, torch.ones(shape))  # type: ignore[arg-type]


def test_every_gradient_of_the_backpropagation_baseline_is_in_the_format_of_its_maps() -> None:
    recipe = get_recipe("softhebb2023-cifar10-depth1")
    model = backpropagation_model(recipe.architecture.with_blocks(lambda b: b.with_width(8)), 10)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    formats: dict[str, bool] = {}

    def watch(name: str, maps: torch.Tensor) -> None:
        def keep(gradients: tuple[torch.Tensor, ...]) -> None:
            formats[name] = gradients[0].is_contiguous(memory_format=torch.channels_last)

        assert maps.grad_fn is not None
        maps.grad_fn.register_prehook(keep)

    for name, module in model[0].named_modules():
        if name in ("block1.layer", "block1.activation", "block1.pool"):
            module.register_forward_hook(lambda _, __, maps, name=name: watch(name, maps))
    model(torch.rand(4, 3, 32, 32).to(memory_format=torch.channels_last)).square().sum().backward()
    assert formats == {"block1.layer": True, "block1.activation": True, "block1.pool": True}
