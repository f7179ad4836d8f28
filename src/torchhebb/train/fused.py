"""`learn` and the optimizer as one step, for networks of fully connected layers that learn online."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from torchhebb.distributed import average_gradients, world_size
from torchhebb.functional import log_prior_update
from torchhebb.functional.form import widened
from torchhebb.nn import HebbConv2d, HebbLinear, SoftWTA, Triangle, learn
from torchhebb.nn.activation import Power
from torchhebb.nn.flatten import Flatten
from torchhebb.nn.learning import in_order, learns, needs_data
from torchhebb.nn.plastic import carry_rule_state, compete, rectify
from torchhebb.ops.linear_step import LinearStep
from torchhebb.ops.products import linear
from torchhebb.optim import NormAdaptiveSGD, step_bias
from torchhebb.train.device import Precision, autocast

Layer = HebbLinear | HebbConv2d

# Modules whose call changes nothing but its output, not even a generator of random numbers; no classes that derive.
_PURE = (Triangle, SoftWTA, Power, nn.MaxPool2d, nn.AvgPool2d, nn.Flatten, Flatten, nn.Identity)


def learning_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    device: torch.device,
    precision: Precision = "float32",
    output: bool = True,
) -> Callable[[Tensor], Tensor]:
    """A function that takes one step on a batch and returns the output from before the step.

    It is `learn`, the mean over the ranks, and the optimizer's step, with no gradients left; or `FusedSteps`, where
    these can take it.

    Args: model, in the modes (train or eval) in which its modules will be; output, whether it is needed: without it,
    activation and pooling of the last layer are left out, and what is returned is their input.
    """
    model = model if output else _as_far_as_it_learns(model)
    own = device.type == "cpu" and precision == "float32"  # on a GPU steps are graphs, and autocast rounds
    if own and (fused := FusedSteps.of(model, optimizer)) is not None:
        return fused
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def step(x: Tensor) -> Tensor:
        with autocast(precision, device):
            output = learn(model, x)
        average_gradients(parameters, len(x))
        optimizer.step()
        optimizer.zero_grad()
        return output

    return step


def _as_far_as_it_learns(model: nn.Module) -> nn.Module:
    """The modules of a sequential without the last ones that only compute its output."""
    modules = list(in_order(model))
    if _learns_otherwise(model):
        return model
    while modules and type(modules[-1]) in _PURE and not _hooked(modules[-1]):
        modules.pop()
    return nn.Sequential(*modules) if modules else model


def _learns_otherwise(model: nn.Module) -> bool:
    """Whether a sequential inside has a `learn` of its own, and is not just its modules one after another."""
    return any(isinstance(module, nn.Sequential) and learns(module) for module in model.modules())


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


class FusedSteps:
    """`learn(model, x)` and the optimizer's step as one call, which returns the output of the weights before it.

    Every plastic layer is fully connected: a `HebbLinear`, or a convolution of 1 x 1 kernels, for which every position
    is a sample.  Nothing is looked up in the modules at a step, no .grad is written, and the update of a layer lies in
    memory that is kept from step to step.  The same numbers as by `learn` and the optimizer.

    >>> model = nn.Sequential(nn.Flatten(), HebbLinear(4, 3))
    >>> steps = FusedSteps.of(model, NormAdaptiveSGD(model.parameters(), lr=0.1))
    >>> steps(torch.randn(5, 2, 2)).shape, model[1].weight.grad
    (torch.Size([5, 3]), None)
    """

    def __init__(self, calls: list[Callable[[Tensor], Tensor]]) -> None:
        self.calls = calls

    @classmethod
    def of(cls, model: nn.Module, optimizer: torch.optim.Optimizer) -> "FusedSteps | None":
        """The steps of a model in the modes that its modules are in; None where it must learn by `learn`.

        It must for a layer of larger kernels, a local loss, another optimizer, weights in half precision, weights that
        the optimizer does not step or of which it takes several groups of neurons, a module that occurs twice, and in a
        process group.
        """
        if type(optimizer) is not NormAdaptiveSGD or world_size() > 1:
            return None
        modules = list(in_order(model))
        if _learns_otherwise(model) or len({id(module) for module in modules}) < len(modules):
            return None
        groups = {id(p): number for number, group in enumerate(optimizer.param_groups) for p in group["params"]}
        calls: list[Callable[[Tensor], Tensor]] = []
        for module in modules:
            if not any(learns(inner) and inner.training for inner in module.modules()):
                calls.append(module)
            elif _fusable(module, optimizer, groups):
                calls.append(_FusedLayer(module, optimizer, groups))  # type: ignore[arg-type]
            else:
                return None
        return cls(calls) if any(isinstance(call, _FusedLayer) for call in calls) else None

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        for call in self.calls:
            x = call(x)
        return x


class _FusedLayer:
    """A layer, its step, and which groups of the optimizer its parameters are in: loading a state replaces these."""

    def __init__(self, layer: Layer, optimizer: NormAdaptiveSGD, groups: dict[int, int]) -> None:
        self.layer, self.rule, self.optimizer = layer, layer.rule, optimizer
        self.step = LinearStep(layer.weight.detach().flatten(1))
        self.group = groups[id(layer.weight)]
        self.bias = layer.bias if isinstance(layer, HebbLinear) else None
        self.bias_group = groups.get(id(self.bias), -1)

    def __call__(self, x: Tensor) -> Tensor:
        layer, flat = self.layer, x
        if isinstance(layer, HebbConv2d):
            flat = x.movedim(1, -1).flatten(0, -2)
        u = linear(flat, self.step.weight)
        carry_rule_state(self.rule, layer.rule_state, u)
        y, decay = compete(self.rule, u, self.bias, layer.rule_state)
        group = self.optimizer.param_groups[self.group]
        self.step(flat, y, decay, lr=group["lr"], power=group["power"])
        if self.bias is not None and isinstance(layer, HebbLinear):
            update = log_prior_update(y.abs().mean(0), self.bias, layer.inverse_temperature)
            step_bias(self.bias, update.neg_(), self.optimizer.param_groups[self.bias_group])
        u = rectify(u) if self.rule.rectify else u
        return u.unflatten(0, (len(x), *x.shape[2:])).movedim(-1, 1) if isinstance(layer, HebbConv2d) else u


def _fusable(module: nn.Module, optimizer: NormAdaptiveSGD, groups: dict[int, int]) -> bool:
    """Whether a layer is fully connected, and the optimizer steps all of it as one group, in its own precision."""
    if type(module) is HebbConv2d:
        connected = module.kernel_size == module.stride == (1, 1) and module.padding == (0, 0) and module.groups == 1
    else:
        connected = type(module) is HebbLinear
    if not connected or (needs_data(module) and not module.initialised):
        return False
    return all(
        id(parameter) in groups
        and optimizer.param_groups[groups[id(parameter)]]["groups"] == 1
        and parameter.dtype == widened(parameter.dtype)
        for parameter in module.parameters()
    )
