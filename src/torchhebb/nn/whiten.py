"""Extraction and whitening of patches, the input of a block that competes by angles."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from torchhebb.errors import UserError
from torchhebb.functional.whitening import decorrelation_step, whitening_matrix
from torchhebb.nn.plastic import DataInitialised, allocatable, positive
from torchhebb.nn.shapes import check_maps, check_shape

_LATERAL_STEPS, _LATERAL_BATCH, _LATERAL_RATE = 2000, 1000, 2.0
_ROUNDING = 1e-6  # of a covariance that was summed in float32, in units of its largest variance
_CHUNK = 64  # samples whose patches are in memory at once while statistics are taken


class PatchWhitening(DataInitialised):
    """Whitened patches on the unit sphere: q = Z (p - m), then q / max(||q||, floor).

    p is the patch at a position, less its own mean where `remove_mean`; m and Z come from the mean and the covariance
    of the patches of its own input, by `functional.whitening_matrix`.  So it uses no label and no error, and nothing
    from other layers; but Z is the inverse root of a matrix over all inputs of a patch, which is more than one synapse
    can know.  Until `init_from_data` saw samples, Z is the identity (its first rows) and m is zero.

    Without shrinkage a component along which the samples vary by rounding alone is 0 (a row of zeros in Z): few images,
    or neurons that learned the same, have fewer components than are asked for.

    Args: in_channels, kernel_size; components, how many principal components are kept, by default all as ZCA;
    shrinkage, what is added to the variances, in units of their mean; floor, patches of a smaller whitened norm (flat
    ones) stay shorter than 1; None leaves lengths as they are; padding with zeros around x; lateral, learn Z by the
    anti-Hebbian `decorrelation_step` from noisy samples in place of computing it.
    Shapes: x (B, in_channels, H, W) -> (B, components or in_channels k^2, H + 2 padding - k + 1, ...).
    Raises ValueError for sizes that are not positive, or components that a patch does not have.
    Source: Coates, Ng and Lee 2011, for whitened patches; SoftHebb-2022, for inputs of unit norm.

    >>> whiten = PatchWhitening(3, 4, floor=0.0)
    >>> whiten.init_from_data(torch.rand(20, 3, 16, 16), torch.Generator().manual_seed(0))
    >>> x = whiten(torch.rand(2, 3, 8, 8))
    >>> x.shape, torch.allclose(x.norm(dim=1), torch.ones(2, 5, 5))
    (torch.Size([2, 48, 5, 5]), True)
    """

    matrix: Tensor
    mean: Tensor

    def __init__(
        self,
        in_channels: int,
        kernel_size: int,
        *,
        components: int | None = None,
        shrinkage: float = 0.1,
        floor: float | None = 0.0,
        remove_mean: bool = True,
        padding: int = 0,
        lateral: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        positive(in_channels=in_channels, kernel_size=kernel_size)
        size = in_channels * kernel_size**2
        if components is not None and not 1 <= components <= size:
            raise ValueError(f"components must lie from 1 to {size}, the numbers of a patch, got {components}")
        for name, value in {"shrinkage": shrinkage, "floor": floor or 0.0, "padding": padding}.items():
            if value < 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        self.in_channels, self.kernel_size, self.padding = in_channels, kernel_size, padding
        self.components, self.shrinkage, self.floor, self.remove_mean = components, shrinkage, floor, remove_mean
        if remove_mean and size == 1:
            raise ValueError("remove_mean must be False for patches of one number, of which it leaves nothing")
        if lateral and components is not None:
            raise ValueError(f"the lateral rule keeps all {size} components of a patch, got components {components}")
        self.out_channels, self.lateral = components or size, lateral
        self.register_buffer("matrix", torch.eye(*allocatable(self.out_channels, size), device=device, dtype=dtype))
        self.register_buffer("mean", torch.zeros(size, device=device, dtype=dtype))

    @torch.no_grad()
    def init_from_data(self, x: Tensor, generator: torch.Generator) -> None:
        """Take mean and covariance from the patches of samples x (B, in_channels, H, W); draws nothing."""
        self._check(x)
        if not len(x) or not x.isfinite().all():
            raise ValueError(f"x must be finite images, at least one, got {tuple(x.shape)}")
        count, size = 0, len(self.mean)
        total = torch.zeros(size, dtype=torch.float64, device=x.device)
        square = torch.zeros(size, size, dtype=torch.float64, device=x.device)
        for patches in self._patches(x):
            count += len(patches)
            total += patches.sum(0)
            square += patches.T @ patches
        mean = total / count
        covariance = square / count - torch.outer(mean, mean)
        self.mean.copy_(mean)
        variance = covariance.diagonal().mean().item()
        if self.lateral and variance > 0:
            self.matrix.copy_(self._decorrelate(x, variance, generator))
        else:
            self.matrix.copy_(self._whitening(covariance))
        self.initialised = True

    def _whitening(self, covariance: Tensor) -> Tensor:
        rounding = None if self.components is None else _ROUNDING
        try:
            return whitening_matrix(covariance, shrinkage=self.shrinkage, components=self.components, rounding=rounding)
        except ValueError:
            size = self.components or len(covariance)
            raise UserError(
                f"the inputs of a whitened block vary in fewer than {size} directions: raise its shrinkage, or lower "
                "its components or project"
            ) from None

    def _decorrelate(self, x: Tensor, variance: float, generator: torch.Generator) -> Tensor:
        """The matrix that the lateral rule learns from batch after batch of patches, at a falling rate."""
        size = len(self.mean)
        matrix = torch.eye(size, device=x.device, dtype=self.matrix.dtype) / variance**0.5
        patches = torch.cat(list(self._patches(x))) - self.mean
        noise = (self.shrinkage * variance) ** 0.5
        for step in range(_LATERAL_STEPS):
            chosen = torch.randint(len(patches), (_LATERAL_BATCH,), generator=generator).to(x.device)
            seen = patches[chosen] + noise * torch.randn(_LATERAL_BATCH, size, generator=generator).to(matrix)
            largest = (seen @ matrix.T).square().sum(1).mean()  # no direction of q varies by more than all together
            matrix = decorrelation_step(matrix, seen, (_LATERAL_RATE * (1 - step / _LATERAL_STEPS) / largest).item())
        return matrix

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        kernel = self._kernel()
        q = F.conv2d(x, kernel, -(self.matrix @ self.mean), padding=self.padding)
        if self.floor is None:
            return q
        least = max(self.floor, 1e-12, torch.finfo(q.dtype).tiny)  # 1e-12 is zero in float16
        return q / torch.linalg.vector_norm(q, dim=1, keepdim=True).clamp_min(least)

    def on_input(self, weight: Tensor) -> Tensor:
        """What weights (K, out_channels, h, w) on q weigh of x, lengths apart: (K, in_channels, h + k - 1, w + k - 1).

        Both are linear, and so is one after the other: <W, Z p>, position by position, is <W Z, p>.
        """
        return F.conv_transpose2d(weight, self._kernel())

    def _check(self, x: Tensor) -> None:
        check_maps(x, self.in_channels)
        least = self.kernel_size - 2 * self.padding
        check_shape(x, min(x.shape[2:]) >= least, f"(B, {self.in_channels}, H, W) with at least {least} pixels a side")

    def _kernel(self) -> Tensor:
        """Z and the removal of a patch's mean as one convolution: Z (I - 1 1^T / d)."""
        matrix = self.matrix - self.matrix.mean(1, keepdim=True) if self.remove_mean else self.matrix
        kernel = matrix.unflatten(1, (self.in_channels, self.kernel_size, self.kernel_size))
        return kernel.contiguous(memory_format=torch.channels_last)

    def _patches(self, x: Tensor) -> Iterator[Tensor]:
        """The patches (n, in_channels k^2) of all samples, as whitening sees them, some samples at a time."""
        for chunk in x.split(_CHUNK):
            patches = F.unfold(chunk, self.kernel_size, padding=self.padding).transpose(1, 2).flatten(0, 1)
            yield patches - patches.mean(1, keepdim=True) if self.remove_mean else patches

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, kernel_size={self.kernel_size}, components={self.components}, "
            f"shrinkage={self.shrinkage}, floor={self.floor}, remove_mean={self.remove_mean}, padding={self.padding}"
        )
