"""A fully connected plastic layer."""

import math

import torch
from torch import Tensor, nn

from torchhebb.functional import log_prior_update, plasticity
from torchhebb.nn.plastic import (
    DataInitialised,
    Init,
    accumulate_gradient,
    accumulate_update,
    carry_rule_state,
    compete,
    draw_weights,
    initial_rule_state,
    plastic_parameter,
    positive,
    rectify,
    reset_rule_state,
    sampled_weights,
)
from torchhebb.ops.products import linear, statistic
from torchhebb.rules import Rule, SoftHebb


class HebbLinear(DataInitialised):
    """u = x w^T, learning by a local rule.

    `forward(x)` returns u (without the bias, as in the papers); `learn(x)` also adds -dw / n to .grad of the weight,
    with dw = S - decay w over the n samples of x.  With `bias`, the log prior of each neuron is added in the
    competition and learns by `log_prior_update` from the posterior |y|; it starts at the uniform prior.

    Args: x (B, in_features).  Returns: u (B, out_features).
    Raises ValueError for sizes that are not positive or an input of another shape.
    Source: SoftHebb-2022.

    >>> layer = HebbLinear(3, 2)
    >>> layer.learn(torch.randn(5, 3)).shape, layer.weight.grad.shape
    (torch.Size([5, 2]), torch.Size([2, 3]))
    """

    rule_state: Tensor | None
    """The state of a `StatefulRule`; saved with the weights."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        rule: Rule = SoftHebb(),  # noqa: B008  frozen
        bias: bool = False,
        init: Init = "normal",
        init_radius: float = 25.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        positive(in_features=in_features, out_features=out_features, init_radius=init_radius)
        self.in_features, self.out_features = in_features, out_features
        self.rule, self.init, self.init_radius = rule, init, init_radius
        self.weight = plastic_parameter(out_features, in_features, device=device, dtype=dtype)
        self.bias = plastic_parameter(out_features, device=device, dtype=dtype) if bias else None
        self.register_buffer("rule_state", initial_rule_state(rule, self.weight))
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Weights as `init` says, at a radius near init_radius; the bias to the uniform prior 1 / out_features."""
        self.initialised = False
        draw_weights(self.weight, self.init, self.init_radius, generator)
        reset_rule_state(self.rule, self.rule_state)
        if self.bias is not None:
            nn.init.constant_(self.bias, -math.log(self.out_features) / self.inverse_temperature)

    @torch.no_grad()
    def init_from_data(self, x: Tensor, generator: torch.Generator) -> None:
        """With init "patches", draw every neuron's weights from the samples x (B, in_features)."""
        if self.init == "patches":
            self.weight.copy_(sampled_weights(x, self.out_features, self.init_radius, generator))
            self.initialised = True

    @property
    def inverse_temperature(self) -> float:
        """The rule's, which scales the log prior; 1 for a rule without one."""
        return getattr(self.rule, "inverse_temperature", 1.0)

    def forward(self, x: Tensor) -> Tensor:
        u = self._project(x)
        return rectify(u) if self.rule.rectify else u

    @torch.no_grad()
    def learn(self, x: Tensor) -> Tensor:
        if not self.training:
            return self(x).detach()
        u = self._project(x)
        carry_rule_state(self.rule, self.rule_state, u)
        y, decay = compete(self.rule, u, self.bias, self.rule_state)
        share = -1 / max(len(x), 1)
        update = statistic(x.to(u.dtype), y.to(u.dtype), scale=share).to(self.weight.dtype)
        gradient = plasticity(update, self.weight, decay=share * decay, out=update)
        accumulate_gradient(self.weight, gradient)
        if self.bias is not None:
            accumulate_update(self.bias, log_prior_update(y.abs().mean(0), self.bias, self.inverse_temperature))
        return rectify(u) if self.rule.rectify else u

    def _project(self, x: Tensor) -> Tensor:
        if x.dim() != 2 or x.shape[1] != self.in_features:
            raise ValueError(f"x must have shape (B, {self.in_features}), got {tuple(x.shape)}")
        return linear(x, self.weight)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, rule={self.rule}, bias={self.bias is not None}"
