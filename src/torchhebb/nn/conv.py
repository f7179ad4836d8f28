"""A convolutional plastic layer."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from torchhebb.functional import plasticity
from torchhebb.functional.plasticity import pair
from torchhebb.nn.plastic import (
    DataInitialised,
    Init,
    accumulate_gradient,
    carry_rule_state,
    compete_in_groups,
    draw_weights,
    initial_rule_state,
    plastic_parameter,
    positive,
    rectify,
    reset_rule_state,
    sampled_weights,
)
from torchhebb.ops.conv_algorithms import (
    AlgorithmName,
    Geometry,
    possible,
    select_algorithm,
    select_forward_algorithm,
    shapes,
)
from torchhebb.rules import Rule, SoftHebb

PaddingMode = Literal["reflect", "zeros", "replicate", "circular"]


class HebbConv2d(DataInitialised):
    """u = w * x, learning by a local rule: every position of the map is a sample.

    `forward(x)` returns u; `learn(x)` also adds -dw / n to .grad of the weight, with dw = S - decay w over the
    n = B H' W' samples and positions.  With groups > 1 neurons compete within their group.

    Args: x (B, in_channels, H, W).  Returns: u (B, out_channels, H', W').
    Raises ValueError for sizes that are not positive, groups that do not divide the channels, a padding mode
    that is not known, or an input of another shape.
    Source: SoftHebb-2023, section 3.

    >>> layer = HebbConv2d(3, 8, 5, padding=2)
    >>> layer.learn(torch.rand(2, 3, 16, 16)).shape, layer.weight.grad.shape
    (torch.Size([2, 8, 16, 16]), torch.Size([8, 3, 5, 5]))
    """

    rule_state: Tensor | None
    """The state of a `StatefulRule`; saved with the weights."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        *,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        padding_mode: PaddingMode = "reflect",
        rule: Rule = SoftHebb(),  # noqa: B008  frozen
        init: Init = "normal",
        init_radius: float = 25.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.dilation = pair(kernel_size), pair(stride), pair(dilation)
        self.padding, self.padding_mode = pair(padding), padding_mode
        positive(in_channels=in_channels, out_channels=out_channels, groups=groups, init_radius=init_radius)
        positive(kernel_size=self.kernel_size, stride=self.stride, dilation=self.dilation)
        if min(self.padding) < 0:
            raise ValueError(f"padding must not be negative, got {padding}")
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"groups must divide {in_channels} and {out_channels} channels, got {groups}")
        if padding_mode not in PaddingMode.__args__:  # type: ignore[attr-defined]
            raise ValueError(f"padding_mode must be one of {PaddingMode.__args__}, got {padding_mode!r}")  # type: ignore[attr-defined]
        if groups > 1 and init == "patches":
            raise ValueError(f"groups must be 1 where init is 'patches', got {groups}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.rule, self.init, self.init_radius = rule, init, init_radius
        self._geometry = Geometry(self.kernel_size, self.stride, self.dilation, groups)
        self.weight = plastic_parameter(
            out_channels, in_channels // groups, *self.kernel_size, device=device, dtype=dtype
        )
        self.register_buffer("rule_state", initial_rule_state(rule, self.weight, groups))
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Weights as `init` says, at a radius near init_radius."""
        self.initialised = False
        draw_weights(self.weight, self.init, self.init_radius, generator)
        reset_rule_state(self.rule, self.rule_state)

    @torch.no_grad()
    def init_from_data(self, x: Tensor, generator: torch.Generator) -> None:
        """With init "patches", draw every neuron's weights from the patches of x."""
        if self.init != "patches":
            return
        x = self._pad(x)
        patches = F.unfold(x, self.kernel_size, dilation=self.dilation, stride=self.stride)
        inputs = patches.transpose(1, 2).flatten(0, 1)
        self.weight.copy_(sampled_weights(inputs, self.out_channels, self.init_radius, generator).view_as(self.weight))
        self.initialised = True

    def forward(self, x: Tensor) -> Tensor:
        u = select_forward_algorithm(self._pad(x), self.weight, self._geometry).convolve(self.weight)
        return rectify(u, self.groups) if self.rule.rectify else u

    @torch.no_grad()
    def learn(self, x: Tensor) -> Tensor:
        if not self.training:
            return self(x).detach()
        algorithm = select_algorithm(self._pad(x), self.weight, self._geometry)
        u = algorithm.convolve(self.weight)
        carry_rule_state(self.rule, self.rule_state, u)
        y, decay = compete_in_groups(self.rule, u, self.groups, self.rule_state)
        # One sample and position of n, with the sign of a gradient; a slice of a batch may be empty.
        share = -self.out_channels / max(u.numel(), 1)
        statistic = algorithm.statistic(y.to(u.dtype), share).to(self.weight.dtype)
        gradient = plasticity(statistic, self.weight, decay=share * decay, out=statistic)
        accumulate_gradient(self.weight, gradient)
        return rectify(u, self.groups) if self.rule.rectify else u

    def algorithms(self, x: Tensor) -> tuple[str, list[AlgorithmName]]:
        """The shapes by which the algorithm of `learn` is chosen, and the algorithms that can take x."""
        x = self._pad(x)
        return shapes(x, self.weight), possible(x, self.weight, self._geometry)

    def _pad(self, x: Tensor) -> Tensor:
        if x.dim() != 4 or x.shape[1] != self.in_channels:
            raise ValueError(f"x must have shape (B, {self.in_channels}, H, W), got {tuple(x.shape)}")
        padding, sides = self.padding, x.shape[2:]
        for pad, side, kernel, dilation in zip(padding, sides, self.kernel_size, self.dilation, strict=True):
            if side + 2 * pad < dilation * (kernel - 1) + 1:
                raise ValueError(f"kernel_size {self.kernel_size} must fit x and its padding, got {tuple(x.shape)}")
            if pad > {"reflect": side - 1, "circular": side}.get(self.padding_mode, pad):
                raise ValueError(f"{self.padding_mode} padding {padding} must fit x, got {tuple(x.shape)}")
        if padding == (0, 0):
            return x
        mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
        return F.pad(x, (padding[1], padding[1], padding[0], padding[0]), mode=mode)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, dilation={self.dilation}, groups={self.groups}, "
            f"padding_mode={self.padding_mode!r}, rule={self.rule}"
        )
