"""The linear readout by Adam on cached features: the paper's, as fused steps without autograd."""

import torch
from torch import Tensor
from torch.nn import functional as F

from torchhebb.errors import UserError
from torchhebb.nn import LinearReadout
from torchhebb.progress import SILENT, Progress
from torchhebb.readouts.wide import WideRidge
from torchhebb.train.checkpoint import Checkpoint, pack, unpack
from torchhebb.train.dropout import PackedDropout
from torchhebb.train.memory import in_pieces, memory_for
from torchhebb.train.recipe import Readout
from torchhebb.train.sources import FeatureSource, KeptFeatures, epoch_seed


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
    Raises UserError for a plan with views: they need `fit_source` on fresh features.
    Source: SoftHebb-2023, appendix on the linear classifier.
    """
    if isinstance(plan, WideRidge):
        fitted = plan.fit(features, labels.to(features.device), classes, seed=seed, label=task, progress=progress)
        (checkpoint or Checkpoint()).log.write(kind="closed_form", task=task, **fitted.notes)
        assert isinstance(fitted.readout, LinearReadout)
        return fitted.readout
    if plan.augment.active:
        raise UserError("readout.augment must be left out where a question keeps the features of its images")
    source = KeptFeatures(features, labels, plan.batch_size, seed)
    statistics = _statistics(features) if plan.standardize else None
    return fit_source(source, classes, plan, statistics, seed=seed, checkpoint=checkpoint, task=task, progress=progress)


def fit_source(
    source: FeatureSource,
    classes: int,
    plan: Readout,
    statistics: tuple[Tensor, Tensor] | None = None,
    *,
    seed: int = 0,
    checkpoint: Checkpoint | None = None,
    task: str = "readout",
    progress: Progress = SILENT,
) -> LinearReadout:
    """`fit_linear` on any source of batches; a checkpoint continues exactly, within an epoch too.

    Args: statistics, mean and inverse standard deviation (width,) that the features are standardised with.
    """
    device = source.device
    checkpoint = checkpoint or Checkpoint()
    generator = torch.Generator(device).manual_seed(seed)
    order_generator = torch.Generator().manual_seed(seed)
    readout = LinearReadout(source.width, classes).to(device)
    readout.weight.copy_(torch.rand(readout.weight.shape, generator=order_generator) * plan.init_scale)
    optimizer = torch.optim.Adam([readout.weight, readout.bias], lr=plan.lr, fused=True)
    for parameter in (readout.weight, readout.bias):
        parameter.grad = torch.zeros_like(parameter)
    mean, scale = statistics or (None, None)
    dropout = PackedDropout(plan.dropout, generator)

    first_epoch, batch, loss = 0, 0, torch.zeros((), device=device)
    if restored := checkpoint.restore(task):
        position, tensors = restored
        first_epoch, batch = position["epoch"], position.get("batch", 0)
        unpack(tensors, readout=readout, optimizer=optimizer)
        if batch:
            loss = tensors["loss"].to(device)

    progress.start(task, plan.epochs, "epochs")
    progress.advance(first_epoch)
    for epoch in range(first_epoch, plan.epochs):
        for group in optimizer.param_groups:
            group["lr"] = plan.lr * 0.5 ** sum(epoch >= share * plan.epochs for share in plan.halve_at)
        generator.manual_seed(epoch_seed(seed, epoch))
        if batch:
            generator.set_state(tensors["dropout"])
        for x, labels in source.epoch(epoch, batch):
            if mean is not None and scale is not None:
                x = x.sub_(mean).mul_(scale)
            loss += _step(readout, optimizer, dropout(x), labels)
            batch += 1
            if checkpoint.due and batch * plan.batch_size < source.samples:
                state = pack(readout=readout, optimizer=optimizer)
                state |= {"loss": loss, "dropout": generator.get_state()}
                checkpoint.save(task, {"epoch": epoch, "batch": batch}, state)
        checkpoint.log.write(kind="readout", task=task, epoch=epoch + 1, loss=loss.item() / source.samples)
        batch, loss = 0, torch.zeros((), device=device)
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
