"""The optimizer with the norm-adaptive learning rates of SoftHebb-2023."""

import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from torchhebb.errors import UserError
from torchhebb.functional.form import widened
from torchhebb.functional.plasticity import norm_adaptive_rate
from torchhebb.ops.kernels import kernel

__all__ = ["NormAdaptiveSGD"]


class NormAdaptiveSGD(Optimizer):
    """Steps along -grad, the update of a plastic layer, by `norm_adaptive_step`.

    A 1-D parameter (bias) steps by lr * update / max(1, largest entry).
    Per-layer rates are parameter groups, as `Network.learning_groups` gives them; a group's `groups` is the number of
    groups of neurons in its weights and biases, each with its own largest entry.  A group's "lr" may also be a tensor
    on the weights' device, of no dimension or with a rate for every neuron.

    Weights in float16 or bfloat16 step in float32: what rounding leaves off a weight is kept, as "rest" in the
    optimizer's state, and takes part in the next step.  Otherwise steps below half a unit in the last place would be
    lost, and radii would stall far from 1.

    `learn` leaves the updates in .grad, so a loop must not zero gradients between `learn` and `step`.  Lightning's
    automatic optimisation does, and a closure that calls `zero_grad()` after `learn`: use manual optimisation there.
    The first step that finds no gradient at all, or zeros alone, warns of that.

    Args: params; lr, the rate of what has none of its own, to be left out where every group has one; power, the
    exponent of the radius' distance to 1; groups.
    Raises UserError for an lr or power that is negative or not finite, a group without a rate, or an lr that no group
    would use.
    Source: SoftHebb-2023, section 3.

    >>> w = torch.nn.Parameter(torch.tensor([[2.0, 0.0]]), requires_grad=False)
    >>> w.grad = torch.tensor([[0.0, -3.0]])
    >>> NormAdaptiveSGD([w], lr=0.1).step()
    >>> w
    Parameter containing:
    tensor([[2.0000, 0.1000]])
    """

    _looked_for_updates = False  # of the class: a copied optimizer has no attributes of its own

    def __init__(self, params: Iterable[Any], lr: float | None = None, *, power: float = 0.5, groups: int = 1) -> None:
        params = list(params)
        if lr is not None and params and all(isinstance(group, dict) and "lr" in group for group in params):
            raise UserError(f"lr must be left out where every group has its own, as those of a network do, got {lr}")
        super().__init__(params, {"lr": lr, "power": power, "groups": groups})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        for name in ("lr", "power"):
            value = param_group.get(name, self.defaults[name])
            if value is None:
                raise UserError("lr must be given: a group of parameters has none of its own")
            if isinstance(value, float | int) and not 0 <= value < math.inf:
                raise UserError(f"{name} must be a finite number and not negative, got {value}")
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._warn_unless_learned()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                if widened(weight.dtype) == weight.dtype:
                    _step(weight, weight.grad, group)
                else:
                    self._step_in_float32(weight, weight.grad, group)
        return loss

    def _step_in_float32(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        """As `_step`, on weight + rest: both parts are of the weight's dtype, so a saved state holds them exactly."""
        rest = self.state[weight].setdefault("rest", torch.zeros_like(weight))
        whole = weight.float() + rest.float()
        _step(whole, gradient.float(), group)
        weight.copy_(whole)
        rest.copy_(whole - weight.float())

    def _warn_unless_learned(self) -> None:
        """At the first step alone, so that no other one waits for a GPU."""
        if self._looked_for_updates:
            return
        self._looked_for_updates = True
        gradients = [
            weight.grad for group in self.param_groups for weight in group["params"] if weight.grad is not None
        ]
        if not any(gradient.any() for gradient in gradients):
            warnings.warn(
                "step() found no update in any .grad: call learn(model, x) before it, and zero_grad() after it, not "
                "between them (as Lightning's automatic optimisation does)",
                stacklevel=4,
            )


def _step(weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
    if weight.dim() == 1:
        step_bias(weight, gradient, group)
    else:
        lr = torch.as_tensor(group["lr"], dtype=weight.dtype)  # a tensor, so that another rate does not compile again
        _descend(weight, gradient, lr, group["power"], group["groups"])


def step_bias(bias: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
    """The step of a 1-D parameter of a group of the optimizer, in place."""
    largest = gradient.abs().view(group["groups"], -1).amax(1).clamp_min(1.0)
    bias.sub_(group["lr"] * gradient / largest.repeat_interleave(len(bias) // group["groups"]))


@kernel
def _descend(weight: Tensor, gradient: Tensor, lr: Tensor, power: float, groups: int) -> None:
    """`norm_adaptive_step` along -gradient, in place: one pass for the rates, one for the step."""
    weight.addcmul_(norm_adaptive_rate(weight, gradient, lr, power, groups=groups), gradient, value=-1)
