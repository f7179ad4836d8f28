"""The functional activations and competitions as modules."""

from torch import Tensor, nn

from torchhebb.functional import soft_wta, triangle


class Triangle(nn.Module):
    """relu(u - mean - threshold * deviation over the neurons) ** power; see `torchhebb.functional.triangle`.

    With `split`, that of -u follows, so that there are twice as many channels.
    """

    def __init__(self, power: float = 1.0, *, threshold: float = 0.0, split: bool = False) -> None:
        super().__init__()
        if power <= 0:
            raise ValueError(f"power must be positive, got {power}")
        self.power, self.threshold, self.split = power, threshold, split

    def forward(self, u: Tensor) -> Tensor:
        return triangle(u, self.power, threshold=self.threshold, split=self.split)

    def extra_repr(self) -> str:
        threshold = f", threshold={self.threshold}" if self.threshold else ""
        return f"power={self.power}{threshold}" + (", split=True" if self.split else "")


class Power(nn.Module):
    """x ** power, for x that is not negative: the last step of a triangle whose maps are pooled by maxima before it.

    A power grows with its base, so it commutes with the largest of a window, and there are fewer numbers afterwards.
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

    Args: inverse_temperature; bias, the log prior (K,) that a layer below owns and learns.
    """

    def __init__(self, inverse_temperature: float = 1.0, *, bias: nn.Parameter | None = None) -> None:
        super().__init__()
        if inverse_temperature <= 0:
            raise ValueError(f"inverse_temperature must be positive, got {inverse_temperature}")
        self.inverse_temperature = inverse_temperature
        # In a tuple, so that it is not registered a second time: it is the layer's to save and to step.
        self._shared = (bias,)

    @property
    def has_bias(self) -> bool:
        """Whether a log prior takes part."""
        return self._shared[0] is not None

    def forward(self, u: Tensor) -> Tensor:
        return soft_wta(u, self.inverse_temperature, bias=self._shared[0])

    def extra_repr(self) -> str:
        return f"inverse_temperature={self.inverse_temperature}"
