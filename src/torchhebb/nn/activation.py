"""The functional activations and competitions as modules."""

from torch import Tensor, nn

from torchhebb.functional import soft_wta, triangle


class Triangle(nn.Module):
    """relu(u - mean over the neurons) ** power; see `torchhebb.functional.triangle`."""

    def __init__(self, power: float = 1.0) -> None:
        super().__init__()
        if power <= 0:
            raise ValueError(f"power must be positive, got {power}")
        self.power = power

    def forward(self, u: Tensor) -> Tensor:
        return triangle(u, self.power)

    def extra_repr(self) -> str:
        return f"power={self.power}"


class SoftWTA(nn.Module):
    """The posterior over the neurons; see `torchhebb.functional.soft_wta`."""

    def __init__(self, inverse_temperature: float = 1.0) -> None:
        super().__init__()
        self.inverse_temperature = inverse_temperature

    def forward(self, u: Tensor) -> Tensor:
        return soft_wta(u, self.inverse_temperature)

    def extra_repr(self) -> str:
        return f"inverse_temperature={self.inverse_temperature}"
