"""The supervised loop, one for every baseline that learns from labels by gradients."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchhebb.data import Images, as_pixels, batches_of
from torchhebb.nn import Architecture
from torchhebb.progress import SILENT, Progress
from torchhebb.train.checkpoint import Checkpoint, pack, unpack
from torchhebb.train.device import Precision, autocast
from torchhebb.train.memory import in_pieces, memory_for
from torchhebb.train.recipe import Supervised

Perturb = Callable[[nn.Module, Tensor, Tensor], Tensor]
Penalty = Callable[[nn.Module], Tensor]


@memory_for("supervised learning", "supervised.batch_size")
def fit_supervised(
    model: nn.Module,
    images: Images,
    plan: Supervised,
    *,
    seed: int = 0,
    precision: Precision = "float32",
    perturb: Perturb | None = None,
    penalty: Penalty | None = None,
    checkpoint: Checkpoint | None = None,
    task: str = "supervised",
    progress: Progress = SILENT,
) -> nn.Module:
    """Minimise the mean cross-entropy of model(x) by AdamW over all parameters that require a gradient.

    A step is: x = perturb(model, x, labels); loss = cross_entropy(model(x), labels) + penalty(model); backward; step.
    Adversarial training gives `perturb`, elastic weight consolidation `penalty`, replay a larger `images`.
    The rate falls by a half cosine to zero where `plan.cosine`.  The order and the views follow from (seed, epoch,
    batch), so a checkpoint continues exactly, provided that the model draws no random numbers of its own.

    Args: model, pixels -> logits, on the device to compute on.  Returns the model, in eval mode.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    device = parameters[0].device
    checkpoint = checkpoint or Checkpoint()
    optimizer = torch.optim.AdamW(parameters, lr=plan.lr, weight_decay=plan.weight_decay)
    batches = batches_of(images, plan.batch_size, seed=seed, augment=plan.augment, device=device)
    total = plan.epochs * len(batches)
    step, loss_sum = 0, torch.zeros((), device=device)
    if restored := checkpoint.restore(task):
        position, tensors = restored
        step, loss_sum = position["step"], tensors["loss_sum"].to(device)
        unpack(tensors, model=model, optimizer=optimizer)

    progress.start(task, total, "steps")
    progress.advance(step)
    for epoch in range(step // len(batches), plan.epochs):
        model.train()
        for x, labels in batches.epoch(epoch, start=step - epoch * len(batches)):
            if plan.cosine:
                optimizer.param_groups[0]["lr"] = plan.lr * 0.5 * (1 + math.cos(math.pi * step / total))
            x = x if perturb is None else perturb(model, x, labels)
            with autocast(precision, device):
                logits = model(x)
            loss = F.cross_entropy(logits.float(), labels)
            optimizer.zero_grad()
            (loss if penalty is None else loss + penalty(model)).backward()
            optimizer.step()
            loss_sum += loss.detach()
            step += 1
            progress.advance(1)
            if step % len(batches) == 0:
                mean = loss_sum.item() / len(batches)
                checkpoint.log.write(kind="supervised", task=task, epoch=epoch + 1, loss=mean)
                loss_sum.zero_()
            if checkpoint.due:
                tensors = pack(model=model, optimizer=optimizer) | {"loss_sum": loss_sum}
                checkpoint.save(task, {"step": step}, tensors)
    progress.finish()
    optimizer.zero_grad()
    return model.eval()


@torch.no_grad()
def supervised_accuracy(model: nn.Module, images: Images, *, batch_size: int = 250) -> float:
    """Correct answers of pixels -> logits in percent, in eval mode."""
    device = next(model.parameters()).device
    right = torch.zeros((), dtype=torch.long, device=device)

    def some(begin: int, end: int) -> None:
        predicted = model(as_pixels(images.images[begin:end].to(device))).argmax(1)
        right.add_((predicted == images.labels[begin:end].to(device)).sum())

    model.eval()
    in_pieces(some, len(images), batch_size, what="the test")
    return 100.0 * int(right) / len(images)


def backpropagation_model(architecture: Architecture, classes: int, seed: int = 0) -> nn.Sequential:
    """The same blocks, made for gradients, and a linear layer on top.

    Hebbian blocks get relu and He's weights, and lose a rule that rectifies: relu(u), not relu(relu(u - mean u)).
    Blocks of a local loss stay as they are.  Parameters that the features do not depend on, as those of an auxiliary,
    get no gradient.  Raises UserError for a block that has no form for gradients.
    Source: the BP baselines of SoftHebb-2023 and SPHeRe-2025; He et al. 2015 for the weights.
    """
    network = architecture.with_blocks(lambda block: block.for_gradients()).build(seed)
    features = network.eval().requires_grad_(True)(torch.zeros(1, *architecture.input_shape))
    parameters = tuple(network.parameters())
    used = torch.autograd.grad(features.sum(), parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, used, strict=True):
        parameter.requires_grad_(gradient is not None)
    width = features.numel()
    head = nn.Linear(width, classes)
    generator = torch.Generator().manual_seed(seed)
    for parameter in head.parameters():
        nn.init.uniform_(parameter, -(width**-0.5), width**-0.5, generator=generator)
    return nn.Sequential(network, nn.Flatten(), head).train()
