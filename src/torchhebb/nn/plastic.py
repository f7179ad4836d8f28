"""The base class of plastic layers: parameters without gradients, accumulated updates, initial weights."""

import math
from abc import abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from torchhebb.distributed import all_reduce, world_size
from torchhebb.errors import UserError
from torchhebb.functional import triangle
from torchhebb.functional.form import widened
from torchhebb.ops.kernels import kernel
from torchhebb.rules import Rule, StatefulRule

Init = Literal["normal", "uniform", "patches"]

_LARGEST_SIZE, _MOST_NUMBERS = 2**31, 2**59


class DataInitialised(nn.Module):
    """A module that may need samples of its input before it learns, in `init_from_data`.

    Loading a state also initialises it.
    """

    init: Init = "patches"
    initialised: bool = False

    @abstractmethod
    def init_from_data(self, x: Tensor, generator: torch.Generator) -> None:
        """Take what is needed from samples x of the module's input."""

    def _load_from_state_dict(self, *arguments: Any, **settings: Any) -> None:
        super()._load_from_state_dict(*arguments, **settings)
        self.initialised = True


def plastic_parameter(*shape: int, device: torch.device | str | None, dtype: torch.dtype | None) -> nn.Parameter:
    """A weight that learns by a local rule: attacks and readouts leave nothing in its .grad."""
    return nn.Parameter(torch.empty(allocatable(*shape), device=device, dtype=dtype), requires_grad=False)


def accumulate_update(parameter: nn.Parameter, update: Tensor, n: int = 1) -> None:
    """Add -update / n to .grad, so that any optimizer steps along the update; `update` is used up.

    Without samples, as a rank may be, there is nothing to divide: the update of none is 0.
    """
    accumulate_gradient(parameter, update.mul_(-1 / max(n, 1)))


def accumulate_gradient(parameter: nn.Parameter, gradient: Tensor) -> None:
    """Add to .grad; where there is none, `gradient` becomes it, in the parameter's order in memory.

    That order does not depend on the batch then, and the last bits of what an optimizer sums over it do not either:
    workers that learn from parts of a batch hold the same weights.
    """
    if parameter.grad is None:
        layout = torch.contiguous_format if parameter.is_contiguous() else torch.channels_last
        parameter.grad = gradient.contiguous(memory_format=layout) if parameter.dim() == 4 else gradient
    else:
        parameter.grad.add_(gradient)


def initial_rule_state(rule: Rule, weight: Tensor, groups: int = 1) -> Tensor | None:
    """What a layer registers as its buffer `rule_state`.  Raises UserError for a rule that cannot have groups."""
    if not isinstance(rule, StatefulRule):
        return None
    if groups > 1:
        raise UserError(f"groups must be 1 for {type(rule).__name__}, whose state is of all neurons, got {groups}")
    return rule.initial_state(len(weight)).to(weight.device)


def reset_rule_state(rule: Rule, state: Tensor | None) -> None:
    """Reset the state to that before the first batch, in place."""
    if state is not None and isinstance(rule, StatefulRule):
        state.copy_(rule.initial_state(len(state)))


def carry_rule_state(rule: Rule, state: Tensor | None, u: Tensor) -> None:
    """Update the state by a batch u, in place; ranks are weighted by their numbers of samples."""
    if state is None or not isinstance(rule, StatefulRule):
        return
    after = rule.next_state(state, u)
    if world_size() > 1:
        total = all_reduce(after.new_tensor(len(u)))
        after = all_reduce(after * (len(u) / total))
    state.copy_(after)


@kernel
def compete(rule: Rule, u: Tensor, bias: Tensor | None = None, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The activity y and the decay, (K,) or (K, K), of the neurons of u (B, K, ...).

    Where a rule leaves the decay at <S_k, w_k>, it is the sum of y_k u_k over samples and positions: equal for u = w x.
    """
    y, decay = rule(u, bias, state) if isinstance(rule, StatefulRule) else rule(u, bias)
    if decay is None:
        decay = (y * u).sum([dim for dim in range(u.dim()) if dim != 1], dtype=widened(u.dtype))
    return y, decay


def compete_in_groups(rule: Rule, u: Tensor, groups: int, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """`compete` where each group of neurons has a competition of its own."""
    if groups == 1:
        return compete(rule, u, None, state)
    activities, decays = zip(*(compete(rule, part) for part in u.chunk(groups, 1)), strict=True)
    return torch.cat(activities, 1), torch.cat(decays) if decays[0].dim() == 1 else torch.block_diag(*decays)


def rectify(u: Tensor, groups: int = 1) -> Tensor:
    """relu(u - mean over the neurons of the group): the output of a layer whose rule rectifies."""
    return triangle(u.unflatten(1, (groups, -1)), dim=2).flatten(1, 2)


def draw_weights(weight: nn.Parameter, init: Init, radius: float, generator: torch.Generator | None) -> None:
    """Weights at which the radius of a neuron starts near `radius`.

    normal: N(0, radius^2 / fan_in); uniform, which is positive: U[0, sqrt(3) radius / sqrt(fan_in)).  patches stand for
    inputs of the layer itself, drawn by `init_from_data`: until then they are normal.
    Source: SoftHebb-2023, with batch norm and without; the uniform one is SoftHebb-2022's.
    """
    fan_in = weight[0].numel()
    if init in ("normal", "patches"):
        nn.init.normal_(weight, std=radius / math.sqrt(fan_in), generator=generator)
    else:
        nn.init.uniform_(weight, 0, math.sqrt(3) * radius / math.sqrt(fan_in), generator=generator)


def sampled_weights(inputs: Tensor, count: int, radius: float, generator: torch.Generator) -> Tensor:
    """`count` rows of inputs (n, fan_in), drawn without putting back, all brought to `radius`.

    Raises UserError for fewer inputs than rows wanted.
    Source: the first means of k-means; Coates, Ng and Lee 2011, random patches.
    """
    if len(inputs) < count:
        raise UserError(f"init 'patches' needs at least {count} inputs, one a neuron, got {len(inputs)}")
    chosen = torch.randperm(len(inputs), generator=generator)[:count]
    rows = inputs[chosen.to(inputs.device)]
    wide = rows.to(torch.promote_types(rows.dtype, torch.float32))  # 1e-12, which `normalize` adds, is zero in float16
    return (radius * nn.functional.normalize(wide, dim=1)).to(rows.dtype)


def positive(**sizes: float | tuple[float, ...]) -> None:
    """Raise ValueError naming the first size, or pair of sizes, that is not positive or above 2^31."""
    for name, size in sizes.items():
        for one in size if isinstance(size, tuple) else (size,):
            if one <= 0:
                raise ValueError(f"{name} must be positive, got {one}")
            if one > _LARGEST_SIZE:
                raise ValueError(f"{name} must be at most {_LARGEST_SIZE:,}, got {one:,}")


def allocatable(*shape: int) -> tuple[int, ...]:
    """The shape of a tensor; raises ValueError for more numbers than any memory holds."""
    if math.prod(shape) > _MOST_NUMBERS:
        raise ValueError(f"weights of the shape {shape} are {math.prod(shape):.1e} numbers, more than any memory holds")
    return shape
