"""Activation maximisation, one neuron after another."""

from torch import Tensor, nn


def ascend_one(unit: nn.Module, neuron: int, start: Tensor, *, steps: int, rate: float, norm: float) -> Tensor:
    """x <- norm * unit(x + rate * norm * unit(gradient)), `steps` times from start (C, h, w); SoftHebb-2023."""
    x = start.clone()
    for _ in range(steps):
        x = x.detach().requires_grad_()
        unit(x.unsqueeze(0))[0, neuron].backward()
        assert x.grad is not None
        moved = x.detach() + rate * norm * x.grad / x.grad.norm()
        x = norm * moved / moved.norm()
    return x.detach()
