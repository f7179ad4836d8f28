"""The activations and competitions of `torchhebb.functional` as modules."""

from torch import Tensor, nn

from torchhebb.functional import soft_wta, triangle
from torchhebb.nn.shapes import check_samples


class Triangle(nn.Module):
    """relu(u - mean - threshold * deviation over the neurons) ** power; see `torchhebb.functional.triangle`.

    With `split`, that of -u follows, so that there are twice as many channels.  With `detach_mean` no gradient passes
    through the mean.

    >>> import torch
    >>> Triangle()(torch.tensor([[1.0, 2.0, 6.0]]))
    tensor([[0., 0., 3.]])
    """

    def __init__(
        self, power: float = 1.0, *, threshold: float = 0.0, split: bool = False, detach_mean: bool = False
    ) -> None:
        super().__init__()
        if power <= 0:
            raise ValueError(f"power must be positive, got {power}")
        self.power, self.threshold, self.split, self.detach_mean = power, threshold, split, detach_mean

    def forward(self, u: Tensor) -> Tensor:
        check_samples(u)
        return triangle(u, self.power, threshold=self.threshold, split=self.split, detach_mean=self.detach_mean)

    def extra_repr(self) -> str:
        threshold = f", threshold={self.threshold}" if self.threshold else ""
        switches = "".join(f", {name}=True" for name in ("split", "detach_mean") if getattr(self, name))
        return f"power={self.power}{threshold}{switches}"


class Power(nn.Module):
    """x ** power, for x that is not negative: the last step of a triangle whose maps are pooled by maxima before it.

    A power grows with its base, so it commutes with the largest of a window, and there are fewer numbers afterwards.

    >>> import torch
    >>> Power(0.5)(torch.tensor([[4.0, 9.0]]))
    tensor([[2., 3.]])
    """

    def __init__(self, power: float) -> None:
        super().__init__()
        if power <= 0:
            raise ValueError(f"power must be positive, got {power}")
        self.power = power

    def forward(self, x: Tensor) -> Tensor:
        return x.pow(self.power)

    def extra_repr(self) -> str:
        return f"power={self.power}"


class SoftWTA(nn.Module):
    """The posterior over the neurons; see `torchhebb.functional.soft_wta`.

    Args: inverse_temperature; layer, a layer below whose `bias` (K,), if it has one, is the log prior.  The layer owns
    it: it is read from there at every call, so a bias that is replaced (`load_state_dict(assign=True)`,
    `torch.func.functional_call`) takes part.

    >>> import torch
    >>> SoftWTA(inverse_temperature=2.0)(torch.tensor([[1.0, 0.0]])).round(decimals=2)
    tensor([[0.8800, 0.1200]])
    """

    def __init__(self, inverse_temperature: float = 1.0, *, layer: nn.Module | None = None) -> None:
        super().__init__()
        if inverse_temperature <= 0:
            raise ValueError(f"inverse_temperature must be positive, got {inverse_temperature}")
        self.inverse_temperature = inverse_temperature
        self._layer = (layer,)  # in a tuple, so that it is not registered as a part of this module

    @property
    def bias(self) -> Tensor | None:
        """The log prior."""
        return getattr(self._layer[0], "bias", None)

    def forward(self, u: Tensor) -> Tensor:
        check_samples(u)
        return soft_wta(u, self.inverse_temperature, bias=self.bias)

    def extra_repr(self) -> str:
        return f"inverse_temperature={self.inverse_temperature}"
