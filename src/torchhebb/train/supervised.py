"""Supervised training by gradients, for all baselines that learn from labels."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchhebb.data import Images, batches_of
from torchhebb.errors import UserError
from torchhebb.memory import out_of_memory_as_user_error
from torchhebb.nn import Architecture, HebbConv2d, HebbLinear, LinearReadout
from torchhebb.nn.flatten import Flatten
from torchhebb.nn.packing import pack, unpack
from torchhebb.progress import SILENT, Progress
from torchhebb.readouts.dropout import PackedDropout
from torchhebb.readouts.sources import epoch_seed
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.device import Precision, autocast
from torchhebb.train.loop import At, OnStep, Save, run_loop
from torchhebb.train.recipe import Supervised

Perturb = Callable[[nn.Module, Tensor, Tensor], Tensor]
Penalty = Callable[[nn.Module], Tensor]


@out_of_memory_as_user_error("supervised learning", "supervised.batch_size")
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
    on_step: Sequence[OnStep] = (),
    progress: Progress = SILENT,
) -> nn.Module:
    """Minimise the mean cross-entropy of model(x) by AdamW over all parameters that require a gradient.

    A step is: x = perturb(model, x, labels); loss = cross_entropy(model(x), labels) + penalty(model); backward; step.
    Adversarial training gives `perturb`, elastic weight consolidation `penalty`, replay a larger `images`.
    The rate is `plan.lr_at(step, steps)`; `plan.dropout` acts on the input of the model's last linear layer, while this
    function trains it.  The order, the views and the masks follow from (seed, epoch, batch), so a checkpoint continues
    exactly, provided that the model draws no random numbers of its own.

    Args: model, pixels -> logits, on the device to compute on; on_step, what is called between steps.
    Returns the model, in eval mode.  Raises UserError for dropout in a model without a linear layer.
    """
    checkpoint = checkpoint or Checkpoint()
    stepper = _SupervisedStepper(model, plan, precision, perturb, penalty, seed)
    batches = batches_of(images, plan.batch_size, seed=seed, augment=plan.augment, device=stepper.device)
    per_epoch = len(batches)
    stepper.total = total = plan.epochs * per_epoch
    step = 0
    if restored := checkpoint.restore(task):
        position, tensors = restored
        step = position["step"]
        stepper.unpack(tensors)

    def log(done: int) -> None:
        checkpoint.log.write(kind="supervised", task=task, epoch=done // per_epoch, loss=stepper.mean_loss(per_epoch))

    epochs = range(per_epoch, total + 1, per_epoch)
    callbacks = [At(epochs, log), *on_step, Save(checkpoint, task, lambda done: {"step": done}, stepper.pack, total)]
    progress.start(task, total, "steps")
    progress.advance(step)
    with stepper.dropout():
        run_loop(stepper, batches, plan.epochs, start=step, on_step=callbacks, progress=progress)
    progress.finish()
    stepper.optimizer.zero_grad()
    return model.eval()


class _SupervisedStepper:
    """A step of AdamW on the cross-entropy of a batch."""

    def __init__(
        self,
        model: nn.Module,
        plan: Supervised,
        precision: Precision,
        perturb: Perturb | None,
        penalty: Penalty | None,
        seed: int,
    ) -> None:
        self.model, self.plan, self.precision, self.perturb, self.penalty = model, plan, precision, perturb, penalty
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.device, self.total = parameters[0].device, 1
        self.optimizer = torch.optim.AdamW(parameters, lr=plan.lr, weight_decay=plan.weight_decay)
        self.loss_sum = torch.zeros((), device=self.device)
        self.seed, self.generator = seed, torch.Generator(self.device)

    @contextmanager
    def dropout(self) -> Iterator[None]:
        """Dropout on what the last linear layer reads while the model is in train mode."""
        if self.plan.dropout == 0:
            yield
            return
        heads = [module for module in self.model.modules() if isinstance(module, nn.Linear | LinearReadout)]
        if not heads:
            raise UserError("supervised.dropout must be 0: the model has no linear layer")
        drop = PackedDropout(self.plan.dropout, self.generator)

        def hook(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            return (drop(inputs[0].clone()),) if layer.training else None

        handle = heads[-1].register_forward_pre_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    def step(self, number: int, x: Tensor, labels: Tensor | None) -> None:
        assert labels is not None
        if not self.model.training:
            self.model.train()
        self.optimizer.param_groups[0]["lr"] = self.plan.lr_at(number, self.total)
        x = x if self.perturb is None else self.perturb(self.model, x, labels)
        self.generator.manual_seed(epoch_seed(self.seed, number))
        with autocast(self.precision, self.device):
            logits = self.model(x)
        loss = F.cross_entropy(logits.float(), labels)
        self.optimizer.zero_grad()
        (loss if self.penalty is None else loss + self.penalty(self.model)).backward()
        self.optimizer.step()
        self.loss_sum += loss.detach()

    def mean_loss(self, steps: int) -> float:
        """The mean loss since the last call."""
        mean = self.loss_sum.item() / steps
        self.loss_sum.zero_()
        return mean

    def flush(self) -> None:
        pass

    def pack(self) -> dict[str, Tensor]:
        return pack(model=self.model, optimizer=self.optimizer) | {"loss_sum": self.loss_sum}

    def unpack(self, tensors: dict[str, Tensor]) -> None:
        self.loss_sum = tensors["loss_sum"].to(self.device)
        unpack(tensors, model=self.model, optimizer=self.optimizer)


def backpropagation_model(
    architecture: Architecture, classes: int, seed: int = 0, init: Literal["he", "pytorch"] = "he"
) -> nn.Sequential:
    """The same blocks in a form for gradients, with a linear layer on top.

    Hebbian blocks get ReLU, and no rectifying rule: relu(u), not relu(relu(u - mean u)).  Their weights start from
    N(0, 2 / fan_in), or for init="pytorch" from U(-1, 1) / sqrt(fan_in), as those of the linear layer do.
    Blocks of a local loss stay as they are.  Parameters that the features do not depend on, as those of an auxiliary,
    get no gradient.  Raises UserError for a block that has no form for gradients.
    Source: the BP baselines of SoftHebb-2023 and SPHeRe-2025; He et al. 2015 for the weights.
    """
    network = architecture.with_blocks(lambda block: block.for_gradients()).build(seed)
    if init == "pytorch":
        _draw_as_pytorch(network, torch.Generator().manual_seed(epoch_seed(seed, 0)))  # the linear layer has `seed`
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
    return nn.Sequential(network, Flatten(), head).train()


def _draw_as_pytorch(network: nn.Module, generator: torch.Generator) -> None:
    """Weights of plastic layers as `torch.nn.Conv2d` and `torch.nn.Linear` draw theirs."""
    for layer in network.modules():
        if isinstance(layer, HebbConv2d | HebbLinear):
            bound = layer.weight[0].numel() ** -0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
