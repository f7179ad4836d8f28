"""Ensembles of networks of one shape: every layer computes all K members at once.

| shape | meaning |
|---|---|
| K | members, networks that differ in weights, inverse temperatures and rates |
| B | samples of one member's batch; those of the members lie one after another, x (K B, ...) |
| S | samples and positions of one member: B, or B H' W' |
| D, N | inputs of a neuron, neurons of a layer |

Operations on single samples (triangle, pooling, padding, the competition) are one call over all K B samples; a layer
is one batched matrix product; statistics, decays and norms are computed for each member.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from torchhebb.errors import UserError
from torchhebb.functional import log_prior_update, plasticity, triangle
from torchhebb.nn.activation import Power, SoftWTA, Triangle
from torchhebb.nn.conv import HebbConv2d
from torchhebb.nn.learning import learn, learns
from torchhebb.nn.linear import HebbLinear
from torchhebb.nn.norm import Standardize, UnitNorm
from torchhebb.nn.plastic import accumulate_update, compete
from torchhebb.ops.kernels import kernel
from torchhebb.rules import Rule, SoftHebb

_SAMPLE_BY_SAMPLE = (
    *(nn.Flatten, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.ReLU),
    *(Standardize, UnitNorm, Triangle, Power, SoftWTA),
)


def stack_ensemble(networks: Sequence[nn.Sequential], *, unstacked: Collection[str] = ()) -> nn.Sequential:
    """One network for `learn` whose member i learns from samples i B to (i + 1) B what networks[i] would alone.

    The networks stay usable: their weights become views of the stacked ones, and their norms are the ones in
    use, so each can be evaluated or saved at any time.

    Args: networks of one shape, all in the mode (train or eval) of the first; unstacked, the names of plastic layers
    that run one member after another, as large ones may.
    Returns: a sequential of `EnsembleLayer`s, of `Unstacked`s, and of modules that treat every sample alone.
    Raises ValueError for networks of different shapes, UserError for a block that learns by a local loss.

    >>> members = [nn.Sequential(HebbLinear(4, 3), Triangle()) for _ in range(2)]
    >>> stacked = stack_ensemble(members)
    >>> learn(stacked, torch.randn(2 * 5, 4)).shape, stacked[0].weight.grad.shape
    (torch.Size([10, 3]), torch.Size([6, 4]))
    """
    if not networks:
        raise ValueError("networks must hold at least one network, got none")
    return _sequential(networks, "", unstacked)


def _sequential(modules: Sequence[nn.Module], name: str, unstacked: Collection[str]) -> nn.Sequential:
    names = [[child for child, _ in module.named_children()] for module in modules]
    if any(other != names[0] for other in names):
        raise ValueError(f"members must have the same blocks, got {', '.join(map(str, names))}")
    stacked = nn.Sequential()
    for child in names[0]:
        inner = f"{name}{child}"
        stacked.add_module(child, _stack([module.get_submodule(child) for module in modules], inner, unstacked))
    return stacked


def _stack(modules: Sequence[nn.Module], name: str, unstacked: Collection[str]) -> nn.Module:
    first = modules[0]
    if any(type(module) is not type(first) for module in modules):
        raise ValueError(
            f"{name} must be of one type in all members, got {', '.join(type(m).__name__ for m in modules)}"
        )
    if isinstance(first, HebbConv2d | HebbLinear):
        alone = name in unstacked or getattr(first, "groups", 1) > 1
        alone = alone or any(module.rule.couples_neurons for module in modules)  # type: ignore[union-attr]
        return Unstacked(modules) if alone else EnsembleLayer(modules)  # type: ignore[arg-type]
    if learns(first):
        raise UserError(f"{name} learns by a local loss: an ensemble needs blocks that learn by a rule")
    if isinstance(first, nn.Sequential):
        return _sequential(modules, f"{name}.", unstacked)
    alike = isinstance(first, _SAMPLE_BY_SAMPLE) and all(_same(first, module) for module in modules[1:])
    return first if alike else Unstacked(modules)


def _same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules compute the same: settings and buffers agree, and there is no bias from a layer below."""
    mine, its = one.state_dict(), other.state_dict()
    buffers = all(torch.equal(tensor, its[name]) for name, tensor in mine.items())
    return repr(one) == repr(other) and buffers and not (isinstance(one, SoftWTA) and one.bias is not None)


class Unstacked(nn.Module):
    """The module of each member on the member's samples, one after the other.

    Args: x (K B, ...).  Returns: what the modules give, (K B, ...).
    """

    members: tuple[nn.Module, ...]  # not registered: they belong to their networks

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = tuple(members)

    def forward(self, x: Tensor) -> Tensor:
        parts = x.chunk(len(self.members))
        return torch.cat([member(part) for member, part in zip(self.members, parts, strict=True)])

    def learn(self, x: Tensor) -> Tensor:
        parts = x.chunk(len(self.members))
        return torch.cat([learn(member, part) for member, part in zip(self.members, parts, strict=True)])

    def extra_repr(self) -> str:
        return f"{len(self.members)} x {self.members[0]}"


class EnsembleLayer(nn.Module):
    """K plastic layers of one shape: u of member k = w_k x_k, each learning by its own rule from its own samples.

    The weights lie in one parameter (K N, ...), of which each layer's own becomes a view.

    Args: x (K B, inputs) or (K B, channels, H, W).  Returns: u (K B, N) or (K B, N, H', W').
    Raises ValueError for layers of different shapes, or rules of which only some rectify.
    """

    layers: tuple[HebbConv2d | HebbLinear, ...]  # not registered: they belong to their networks
    rules: tuple[Rule, ...]

    def __init__(self, layers: Sequence[HebbConv2d] | Sequence[HebbLinear]) -> None:
        super().__init__()
        first = layers[0]
        shapes = {_shape(layer) for layer in layers}
        if len(shapes) > 1:
            raise ValueError(f"layers of all members must have one shape, got {', '.join(map(str, shapes))}")
        if len({layer.rule.rectify for layer in layers}) > 1:
            raise ValueError("rules of all members must rectify, or none")
        self.layers = tuple(layers)
        self.rules = tuple(layer.rule for layer in layers)
        self.weight = _stacked([layer.weight for layer in layers])
        biases = [layer.bias for layer in layers if isinstance(layer, HebbLinear) and layer.bias is not None]
        self.bias = _stacked(biases) if biases else None
        self._together = self._find_common_rule()
        self.train(first.training)

    def shared(self) -> Iterator[tuple[nn.Parameter, list[nn.Parameter]]]:
        """Each stacked parameter with the members' own, which are views of it."""
        for name, parameter in self.named_parameters():
            yield parameter, [layer.get_parameter(name) for layer in self.layers]

    def forward(self, x: Tensor) -> Tensor:
        parts = x.chunk(len(self.layers))
        return torch.cat([layer(part) for layer, part in zip(self.layers, parts, strict=True)])

    @torch.no_grad()
    def learn(self, x: Tensor) -> Tensor:
        if not self.training:
            return self(x).detach()
        patches, maps = self._patches(x)
        weight = _rows(self.weight).view(len(self.layers), -1, patches.shape[2])
        u = torch.bmm(patches, weight.mT)
        y, decay = self._compete(u)
        statistic = _like(torch.bmm(y.to(u.dtype).mT, patches), self.weight)
        accumulate_update(self.weight, plasticity(statistic, self.weight, decay=decay.flatten()), u.shape[1])
        if self.bias is not None:
            accumulate_update(self.bias, self._log_priors(y, self.bias))
        if self.rules[0].rectify:
            u = triangle(u, dim=2)
        return u.flatten(0, 1) if maps is None else u.view(-1, *maps, u.shape[2]).permute(0, 3, 1, 2)

    def _patches(self, x: Tensor) -> tuple[Tensor, tuple[int, int] | None]:
        """What the neurons of each member look at (K, S, D), and the size of the maps (H', W')."""
        device = x.device.type
        if torch.is_autocast_enabled(device) and x.dtype == torch.float32:
            x = x.to(torch.get_autocast_dtype(device))  # here once, not in both matrix products
        layer = self.layers[0]
        if isinstance(layer, HebbLinear):
            if x.dim() != 2 or x.shape[1] != layer.in_features:
                raise ValueError(f"x must have shape (K B, {layer.in_features}), got {tuple(x.shape)}")
            return x.view(len(self.layers), -1, x.shape[1]), None
        x = layer._pad(x).contiguous(memory_format=torch.channels_last)
        (kh, kw), (dh, dw), (sh, sw) = layer.kernel_size, layer.dilation, layer.stride
        height, width = (x.shape[2] - dh * (kh - 1) - 1) // sh + 1, (x.shape[3] - dw * (kw - 1) - 1) // sw + 1
        b, c, h, w = x.stride()
        windows = x.as_strided((len(x), height, width, kh, kw, x.shape[1]), (b, h * sh, w * sw, h * dh, w * dw, c))
        return windows.reshape(len(self.layers), -1, kh * kw * x.shape[1]), (height, width)

    def _compete(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """y (K, S, N) and the decay (K, N)."""
        if self._together is not None:
            return _compete_together(*self._together, u)
        biases = [None] * len(self.rules) if self.bias is None else self.bias.view(len(self.rules), -1)
        found = [compete(rule, part, bias) for rule, part, bias in zip(self.rules, u, biases, strict=True)]
        return torch.stack([y for y, _ in found]), torch.stack([decay for _, decay in found])

    def _find_common_rule(self) -> tuple[Rule, Tensor | None] | None:
        """One rule for all samples, with what scales the pre-activations of each member; None where there is none.

        SoftHebb depends on t u alone, so rules that differ in t are one rule on scaled pre-activations.
        """
        layer, first = self.layers[0], self.rules[0]
        neurons = len(layer.weight)
        if self.bias is not None or first.rectify or first(torch.zeros(1, neurons))[1] is not None:
            return None  # a bias and a decay are a member's own
        if all(rule == first for rule in self.rules):
            return first, None
        temperatures = [rule.inverse_temperature for rule in self.rules if isinstance(rule, SoftHebb)]
        if len(temperatures) < len(self.rules):
            return None
        alike = {replace(rule, inverse_temperature=1.0) for rule in self.rules}  # type: ignore[type-var]
        if len(alike) > 1:
            return None
        scale = torch.tensor(temperatures, dtype=layer.weight.dtype, device=layer.weight.device)
        return alike.pop(), scale.view(-1, 1, 1)

    def _log_priors(self, y: Tensor, bias: Tensor) -> Tensor:
        t = bias.new_tensor([layer.inverse_temperature for layer in self.layers if isinstance(layer, HebbLinear)])
        return log_prior_update(y.abs().mean(1).flatten(), bias, t.repeat_interleave(y.shape[2]))  # type: ignore[arg-type]

    def extra_repr(self) -> str:
        return f"{len(self.layers)} x {self.layers[0]}"


@kernel
def _compete_together(rule: Rule, scale: Tensor | None, u: Tensor) -> tuple[Tensor, Tensor]:
    """`compete` of all members by one rule, whose decay is <S, w>, on scaled u (K, S, N)."""
    y = rule((u if scale is None else u * scale).flatten(0, 1))[0].view_as(u)
    return y, (y * u).sum(1)


def unstack(networks: Sequence[nn.Module]) -> None:
    """Give every weight a memory of its own again, where `stack_ensemble` made it a view of the stacked ones."""
    for network in networks:
        for parameter in network.parameters():
            parameter.data = parameter.data.clone(memory_format=torch.preserve_format)
            parameter.grad = None


def _shape(layer: HebbConv2d | HebbLinear) -> tuple[object, ...]:
    own = () if isinstance(layer, HebbLinear) else (layer.stride, layer.padding, layer.dilation, layer.padding_mode)
    bias = getattr(layer, "bias", None) is not None
    return *layer.weight.shape, layer.weight.dtype, layer.weight.device, bias, *own


def _stacked(parameters: Sequence[nn.Parameter]) -> nn.Parameter:
    """All along their first dim, channels-last where they have four; each becomes a view of its part."""
    whole = torch.cat([parameter.detach() for parameter in parameters])
    if whole.dim() == 4:
        whole = whole.contiguous(memory_format=torch.channels_last)
    for parameter, part in zip(parameters, whole.chunk(len(parameters)), strict=True):
        parameter.data = part
    return nn.Parameter(whole, requires_grad=False)


def _rows(weight: Tensor) -> Tensor:
    """(K N, D), a convolution's inputs in the order of `_patches`: kernel positions, then channels."""
    return weight.permute(0, 2, 3, 1).flatten(1) if weight.dim() == 4 else weight


def _like(statistic: Tensor, weight: Tensor) -> Tensor:
    """(K, N, D) in the shape, order and dtype of the weight."""
    statistic = statistic.to(weight.dtype)
    if weight.dim() == 2:
        return statistic.view_as(weight)
    out, channels, kh, kw = weight.shape
    return statistic.view(out, kh, kw, channels).permute(0, 3, 1, 2)
