"""The linear readout by Adam on cached features: the paper's, as fused steps without autograd."""

import torch
from torch import Tensor
from torch.nn import functional as F

from torchhebb.nn import LinearReadout
from torchhebb.progress import SILENT, Progress
from torchhebb.train.checkpoint import Checkpoint, pack, unpack
from torchhebb.train.dropout import PackedDropout
from torchhebb.train.memory import in_pieces, memory_for
from torchhebb.train.readouts.wide import WideRidge
from torchhebb.train.recipe import Readout


@memory_for("the readout", "readout.batch_size")
def fit_linear(
    features: Tensor,
    labels: Tensor,
    classes: int,
    plan: Readout | WideRidge,
    *,
    seed: int = 0,
    checkpoint: Checkpoint | None = None,
    task: str = "readout",
    progress: Progress = SILENT,
) -> LinearReadout:
    """Cross-entropy by Adam on dropped-out features, the rate halved along the epochs.

    The gradient of the loss is (softmax(W x + b) - onehot) x^T / B, so a step is two matrix products and one Adam.

    A plan in closed form is solved instead; what it chose is logged.

    Args: features (N, F), any float dtype, computed in float32; labels (N,).
    Returns the readout in eval mode; with `plan.standardize` the scaling is folded into it.
    Source: SoftHebb-2023, appendix on the linear classifier.
    """
    device = features.device
    labels = labels.to(device)
    checkpoint = checkpoint or Checkpoint()
    if isinstance(plan, WideRidge):
        fitted = plan.fit(features, labels, classes, seed=seed, label=task, progress=progress)
        checkpoint.log.write(kind="closed_form", task=task, **fitted.notes)
        assert isinstance(fitted.readout, LinearReadout)
        return fitted.readout
    generator = torch.Generator(device).manual_seed(seed)
    order_generator = torch.Generator().manual_seed(seed)
    readout = LinearReadout(features.shape[1], classes).to(device)
    readout.weight.copy_(torch.rand(readout.weight.shape, generator=order_generator) * plan.init_scale)
    optimizer = torch.optim.Adam([readout.weight, readout.bias], lr=plan.lr, fused=True)
    for parameter in (readout.weight, readout.bias):
        parameter.grad = torch.zeros_like(parameter)
    mean, scale = _statistics(features) if plan.standardize else (None, None)
    dropout = PackedDropout(plan.dropout, generator)
    rows = Rows(features, plan.batch_size)

    first_epoch = 0
    if restored := checkpoint.restore(task):
        position, tensors = restored
        first_epoch = position["epoch"]
        unpack(tensors, readout=readout, optimizer=optimizer)

    progress.start(task, plan.epochs, "epochs")
    progress.advance(first_epoch)
    for epoch in range(first_epoch, plan.epochs):
        for group in optimizer.param_groups:
            group["lr"] = plan.lr * 0.5 ** sum(epoch >= share * plan.epochs for share in plan.halve_at)
        generator.manual_seed(_epoch_seed(seed, epoch))
        order_generator.manual_seed(_epoch_seed(seed, epoch))
        order = torch.randperm(len(features), generator=order_generator).to(device)
        loss = torch.zeros((), device=device)
        for chosen in order.split(plan.batch_size):
            x = rows(chosen)
            if mean is not None and scale is not None:
                x = x.sub_(mean).mul_(scale)
            loss += _step(readout, optimizer, dropout(x), labels[chosen])
        checkpoint.log.write(kind="readout", task=task, epoch=epoch + 1, loss=loss.item() / len(features))
        progress.advance(1)
        if checkpoint.due:
            checkpoint.save(task, {"epoch": epoch + 1}, pack(readout=readout, optimizer=optimizer))
    progress.finish()
    if mean is not None and scale is not None:
        readout.weight.mul_(scale)
        readout.bias.sub_(readout.weight @ mean)
    readout.weight.grad = readout.bias.grad = None
    return readout.eval()


@torch.no_grad()
def predict_logits(readout: torch.nn.Module, features: Tensor, *, batch_size: int = 1000) -> Tensor:
    """Logits (N, classes) in float32, batch by batch; smaller batches where memory is short."""
    parts: list[Tensor] = []
    in_pieces(
        lambda begin, end: parts.append(readout(features[begin:end].float())), len(features), batch_size, what="logits"
    )
    return torch.cat(parts)


class Rows:
    """Some rows of features (N, F) in float32, in memory that the next call uses again: `fit_linear` writes on it."""

    def __init__(self, features: Tensor, most: int) -> None:
        self._features = features
        self._kept = features.new_empty(min(most, len(features)), features.shape[1])

    def __call__(self, chosen: Tensor) -> Tensor:
        return torch.index_select(self._features, 0, chosen, out=self._kept[: len(chosen)]).float()


def _step(readout: LinearReadout, optimizer: torch.optim.Adam, x: Tensor, labels: Tensor) -> Tensor:
    """One Adam step in place; returns the summed loss of the batch, still on the device."""
    log_probability = F.log_softmax(readout(x), 1)
    error = log_probability.exp()
    error[torch.arange(len(x), device=x.device), labels] -= 1
    error /= len(x)
    torch.mm(error.T, x, out=readout.weight.grad)
    torch.sum(error, 0, out=readout.bias.grad)
    optimizer.step()
    return F.nll_loss(log_probability, labels, reduction="sum")


def _statistics(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and inverse standard deviation of every feature; a constant one is left unscaled."""
    mean = torch.zeros(features.shape[1], device=features.device)
    square = torch.zeros_like(mean)
    for part in features.split(1000):
        mean += part.float().sum(0)
    mean /= len(features)
    for part in features.split(1000):
        square += (part.float() - mean).square().sum(0)
    std = (square / len(features)).sqrt()
    return mean, torch.where(std > 1e-6, 1 / std.clamp_min(1e-6), torch.ones_like(std))


def _epoch_seed(seed: int, epoch: int) -> int:
    return (seed + 1) * 1_000_003 + epoch
