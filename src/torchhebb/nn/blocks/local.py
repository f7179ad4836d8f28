"""A block that learns by gradients of its own local loss."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchhebb.distributed import gather_rows, world_size

LocalLoss = Callable[[Tensor, Tensor], Tensor]


class LocalLossBlock(nn.Module):
    """h = body(x), learning by loss(x, auxiliary(h)).

    `forward(x)` gives h, or h + shortcut(x) with a residual, and never computes the auxiliary. `learn(x)` gives the
    same, detached, and in train mode ADDS the gradient of the local loss to .grad of the block's own parameters: x is
    detached, so no gradient is passed to the block below, and none arrives from above. The loss is computed from h,
    before the residual. In eval mode `learn` is only forward, which freezes the block.

    The loss is computed in float32 at least, under autocast too.  It is a mean over the batch's pairs of samples where
    it compares Gram matrices: two half batches then give another gradient than the whole one.  In a process group every
    rank therefore takes the loss on the x and p of all ranks, and the mean of their .grad, weighted by their numbers of
    samples, is the gradient of the whole batch.

    The parameters have requires_grad=False outside `learn`, so attacks and readouts leave nothing in their .grad;
    `requires_grad_(True)` makes the block an ordinary one, for a baseline that learns by backpropagation.

    Args: body, x -> h; auxiliary, h -> p, needed by learning alone; loss, (x, p) -> scalar, a mean over the batch;
    residual, whether x, averaged over space and filled up with channels of zeros, is added to h.
    Source: SPHeRe-2025, for any body and loss.

    >>> from torchhebb.functional import structure_loss
    >>> block = LocalLossBlock(nn.Linear(4, 3), nn.Linear(3, 2), structure_loss)
    >>> block.learn(torch.randn(5, 4)).requires_grad, block.body.weight.grad.shape
    (False, torch.Size([3, 4]))
    """

    last_loss: Tensor | None
    """The local loss of the last `learn` in train mode, detached."""

    def __init__(self, body: nn.Module, auxiliary: nn.Module, loss: LocalLoss, *, residual: bool = False) -> None:
        super().__init__()
        self.body, self.auxiliary, self.loss, self.residual = body, auxiliary, loss, residual
        self.last_loss = None
        self.requires_grad_(False)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Torch's defaults, from a generator: U(-1/sqrt(fan_in), 1/sqrt(fan_in)) where a layer is linear."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                bound = module.weight[0].numel() ** -0.5
                for parameter in module.parameters(recurse=False):
                    nn.init.uniform_(parameter, -bound, bound, generator=generator)
            elif module is not self and hasattr(module, "reset_parameters"):
                module.reset_parameters()  # type: ignore[operator]  # norms: nothing to draw

    def forward(self, x: Tensor) -> Tensor:
        return self._add_residual(self.body(x), x)

    @torch.no_grad()
    def learn(self, x: Tensor) -> Tensor:
        if not self.training:
            return self(x).detach()
        x, parameters = x.detach(), tuple(self.parameters())
        device = x.device.type
        # Autocast's cache would hand weights from before an optimizer's step to a loop that lies inside autocast.
        uncached = torch.autocast(device, enabled=torch.is_autocast_enabled(device), cache_enabled=False)
        with torch.enable_grad(), _differentiable(parameters), uncached:
            h = self.body(x)
            p = self.auxiliary(h)
            if world_size() == 1:
                loss = self._local_loss(x, p)
                torch.autograd.backward(loss, inputs=parameters)
            else:
                all_p = gather_rows(p)
                loss = self._local_loss(gather_rows(x), all_p)
                _add_gradients(loss, parameters, len(all_p) / max(len(p), 1))
        self.last_loss = loss.detach()
        return self._add_residual(h.detach(), x)

    def _local_loss(self, x: Tensor, p: Tensor) -> Tensor:
        x, p = (tensor.to(torch.promote_types(tensor.dtype, torch.float32)) for tensor in (x, p))
        with torch.autocast(x.device.type, enabled=False):
            return self.loss(x, p)

    def _add_residual(self, h: Tensor, x: Tensor) -> Tensor:
        return h + shortcut(x, h.shape) if self.residual else h


def as_local_loss(module: nn.Module) -> LocalLossBlock | None:
    """The module if it is a block that learns by a local loss, with its body, auxiliary and last loss; else None.

    >>> as_local_loss(nn.Linear(3, 2)) is None
    True
    """
    return module if isinstance(module, LocalLossBlock) else None


def _add_gradients(loss: Tensor, parameters: Sequence[nn.Parameter], factor: float) -> None:
    """Add this rank's part of the gradient, times `factor`, to .grad.

    The factor comes last: inside the backward pass, batch norms add up what the ranks hold, which must be of one scale.
    """
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        gradient = gradient * factor
        parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)


def shortcut(x: Tensor, shape: Sequence[int]) -> Tensor:
    """x (B, C, ...) in another shape without weights: averaged over space, padded with channels of zeros.

    Raises ValueError if `shape` has fewer channels than x.

    >>> shortcut(torch.ones(1, 1, 2, 2), (1, 2, 1, 1)).flatten().tolist()
    [1.0, 0.0]
    """
    missing = shape[1] - x.shape[1]
    if missing < 0:
        raise ValueError(f"a residual needs at least as many channels out as in, got {x.shape[1]} in, {shape[1]} out")
    if tuple(x.shape[2:]) != tuple(shape[2:]):
        x = F.adaptive_avg_pool2d(x, tuple(shape[2:]))  # type: ignore[arg-type]
    return F.pad(x, (0, 0) * (x.dim() - 2) + (0, missing))


@contextmanager
def _differentiable(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """A context in which parameters require gradients."""
    before = [parameter.requires_grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter, required in zip(parameters, before, strict=True):
            parameter.requires_grad_(required)
