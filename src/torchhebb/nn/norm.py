"""Normalisation of inputs: unit norm, standardisation, batch norm."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchhebb.distributed import world_size
from torchhebb.errors import UserError
from torchhebb.nn.batch_norm import accurate_batch_norm, is_summed_accurately
from torchhebb.nn.plastic import positive
from torchhebb.nn.shapes import check_maps, check_samples, check_shape


class BatchNorm(nn.Module):
    """Batch normalisation without affine: (x - mean) / sqrt(var + eps) per channel.

    Train mode uses the batch's statistics and moves the running ones by `momentum`; eval mode uses the latter.
    A batch with a single value a channel has no variance: it is normalised by the running statistics and leaves them.
    In a process group the batch is that of all ranks together.  Sums over a batch are accurate in every memory layout.

    Args: x (B, C) or (B, C, H, W).  Returns: a tensor shaped as x.
    Source: Ioffe and Szegedy 2015.

    >>> x = torch.tensor([[1.0], [3.0]])
    >>> BatchNorm(1)(x).round(decimals=2)
    tensor([[-1.],
            [ 1.]])
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        num_features: int,
        *,
        momentum: float = 0.1,
        eps: float = 1e-5,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        positive(num_features=num_features)
        self.num_features, self.momentum, self.eps = num_features, momentum, eps
        self.register_buffer("running_mean", torch.zeros(num_features, device=device, dtype=dtype))
        self.register_buffer("running_var", torch.ones(num_features, device=device, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() < 2 or x.shape[1] != self.num_features:
            raise ValueError(f"x must have {self.num_features} channels in its second dim, got {tuple(x.shape)}")
        if self.training and not is_summed_accurately(x):
            return accurate_batch_norm(x, self.running_mean, self.running_var, self.momentum, self.eps)
        training = self.training and has_variance(x)
        return F.batch_norm(x, self.running_mean, self.running_var, None, None, training, self.momentum, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_features}, momentum={self.momentum}"


class BatchNorm2d(nn.BatchNorm2d):
    """Torch's batch norm of images, with affine, whose batch is that of all ranks together in a process group.

    A batch with a single value a channel is normalised by the running statistics, and sums are accurate in every memory
    layout, as by `BatchNorm`.

    >>> BatchNorm2d(3)(torch.rand(2, 3, 4, 4)).shape
    torch.Size([2, 3, 4, 4])
    """

    def __init__(self, num_features: int, *arguments: Any, **options: Any) -> None:
        positive(num_features=num_features)
        super().__init__(num_features, *arguments, **options)

    def forward(self, input: Tensor) -> Tensor:
        check_maps(input, self.num_features)
        if not self.training:
            return super().forward(input)
        if self.running_mean is None or self.running_var is None:
            if world_size() > 1:
                raise ValueError("track_running_stats must be True in a process group, got False")
            return super().forward(input)
        accurate = is_summed_accurately(input)
        if accurate and has_variance(input):
            return super().forward(input)
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        if accurate:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        momentum = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        moved = self.running_mean, self.running_var, momentum
        return accurate_batch_norm(input, *moved, self.eps, self.weight, self.bias)


def has_variance(x: Tensor) -> bool:
    """Whether x (B, C, ...) holds more than one value a channel.

    >>> has_variance(torch.rand(1, 3)), has_variance(torch.rand(1, 3, 2, 2))
    (False, True)
    """
    return x.numel() > x.shape[1]


def check_synchronised(network: nn.Module) -> None:
    """Raise UserError, in a process group, for a batch norm that would see its own rank's slices alone."""
    if world_size() == 1:
        return
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not isinstance(module, BatchNorm2d):
            raise UserError(
                f"{name} is a {type(module).__name__} of one rank: use torchhebb.nn.BatchNorm2d or BatchNorm"
            )


class Standardize(nn.Module):
    """(x - mean) / std per channel, with numbers given once, such as a data set's.

    Args: x (B, C, H, W).  Returns: a tensor shaped as x.

    >>> Standardize(mean=(0.5,), std=(0.25,))(torch.tensor([[[[1.0]]]]))
    tensor([[[[2.]]]])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std):
            raise ValueError(f"mean and std must be of one length, got {len(mean)} and {len(std)}")
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        channels = len(self.mean)
        check_shape(x, x.dim() >= 3 and channels in (1, x.shape[-3]), f"(B, {channels}, H, W)")
        return (x - self.mean) / self.std


class UnitNorm(nn.Module):
    """x / max(||x||, 1e-12) per sample, over everything but the batch: the unit inputs of SoftHebb-2022's theory.

    The norm is computed in float32 at least: in float16 the square of 300 overflows, and 1e-12 is zero.

    >>> UnitNorm()(torch.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """

    def forward(self, x: Tensor) -> Tensor:
        check_samples(x)
        wide = x.flatten(1).to(torch.promote_types(x.dtype, torch.float32))
        return F.normalize(wide, dim=1).to(x.dtype).view_as(x)
