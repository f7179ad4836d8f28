"""Linear readout trained with Adam on cached features, in fused steps without autograd."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from torchhebb.bounds import RATE, SIZE, at_least, each
from torchhebb.data import Augment
from torchhebb.errors import UserError
from torchhebb.memory import out_of_memory_as_user_error
from torchhebb.nn import LinearReadout
from torchhebb.nn.packing import pack, unpack
from torchhebb.progress import SILENT, Progress
from torchhebb.readouts.base import FRESH, FitContext, Fitted, ReadoutPlan, Resume
from torchhebb.readouts.dropout import PackedDropout
from torchhebb.readouts.sources import FeatureSource, KeptFeatures, epoch_seed
from torchhebb.readouts.standardized import Scaling


@dataclass(frozen=True)
class Readout(ReadoutPlan):
    """Linear readout of SoftHebb-2023: cross-entropy by Adam with dropout on features and a rate halved in steps.

    The gradient of the loss is (softmax(W x + b) - onehot) x^T / B, so a step is two matrix products and one Adam.
    With `standardize` the scaling is folded into the readout.  Products are float32 whatever the precision of the run:
    the logits of many positive features share a large offset, next to which bfloat16 has coarse steps.

    Raises UserError for a plan with augmented views, which need `fit_source` on features of each epoch.
    Source: SoftHebb-2023, appendix on the linear classifier.

    Example:
        >>> x, labels = torch.rand(20, 4), torch.arange(20) % 2
        >>> Readout(epochs=2, batch_size=5).fit(x, labels, classes=2).readout(x).shape
        torch.Size([20, 2])
    """

    epochs: int = field(default=50, metadata=at_least(0))
    """Passes over the features."""
    batch_size: int = field(default=64, metadata=SIZE)
    """Samples of one step."""
    lr: float = field(default=1e-3, metadata=RATE)
    """Initial learning rate of Adam."""
    dropout: float = field(default=0.5, metadata=at_least(0, below=1))
    """Probability of dropping a feature."""
    halve_at: tuple[float, ...] = field(
        default=(0.2, 0.35, 0.5, 0.6, 0.7, 0.8, 0.9), metadata=each(at_least(0, up_to=1), empty=True)
    )
    """Shares of the epochs after which the learning rate is halved."""
    init_scale: float = field(default=0.1105, metadata=RATE)
    """Weights start at init_scale * U[0, 1)."""
    standardize: bool = False
    """Whether to scale every feature to zero mean and unit variance over the training images."""
    online: bool = False
    """Whether to train another readout with AdamW while the blocks learn."""
    augment: Augment = field(default_factory=Augment)
    """Augmentation of the training images in every epoch; their features are then computed in every epoch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.standardize and self.augment.active:
            raise UserError("readout.standardize needs the same features in every epoch: leave out readout.augment")

    def check(self, samples: int, width: int, device: torch.device) -> None:
        """Any number of features is allowed, since they are used batch by batch."""

    @out_of_memory_as_user_error("the readout", "readout.batch_size")
    def _fit(self, features: Tensor, labels: Tensor, classes: int, context: FitContext) -> Fitted:
        if self.augment.active:
            raise UserError("readout.augment must be left out where a question keeps the features of its images")
        source = KeptFeatures(features, labels, self.batch_size, context.seed)
        scaling = Scaling.of(features, dtype=torch.float32) if self.standardize else None
        readout = fit_source(
            source,
            classes,
            self,
            scaling,
            seed=context.seed,
            resume=context.resume,
            task=context.name,
            progress=context.progress,
        )
        return Fitted(readout)


@out_of_memory_as_user_error("the readout", "readout.batch_size")
def fit_source(
    source: FeatureSource,
    classes: int,
    plan: Readout,
    scaling: Scaling | None = None,
    *,
    seed: int = 0,
    resume: Resume = FRESH,
    task: str = "readout",
    progress: Progress = SILENT,
) -> LinearReadout:
    """`Readout.fit` on any source of batches; `resume` continues exactly, even within an epoch.

    Args: scaling, which standardises the features.
    """
    device = source.device
    generator = torch.Generator(device).manual_seed(seed)
    order_generator = torch.Generator().manual_seed(seed)
    readout = LinearReadout(source.width, classes).to(device)
    readout.weight.copy_(torch.rand(readout.weight.shape, generator=order_generator) * plan.init_scale)
    optimizer = torch.optim.Adam([readout.weight, readout.bias], lr=plan.lr, fused=True)
    for parameter in (readout.weight, readout.bias):
        parameter.grad = torch.zeros_like(parameter)
    dropout = PackedDropout(plan.dropout, generator)

    first_epoch, batch, loss = 0, 0, torch.zeros((), device=device)
    if restored := resume.restore(task):
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
            x = x if scaling is None else scaling(x)
            loss += _step(readout, optimizer, dropout(x), labels)
            batch += 1
            if resume.due and batch * plan.batch_size < source.samples:
                state = pack(readout=readout, optimizer=optimizer)
                state |= {"loss": loss, "dropout": generator.get_state()}
                resume.save(task, {"epoch": epoch, "batch": batch}, state)
        resume.write(kind="readout", task=task, epoch=epoch + 1, loss=loss.item() / source.samples)
        batch, loss = 0, torch.zeros((), device=device)
        progress.advance(1)
        if resume.due:
            resume.save(task, {"epoch": epoch + 1}, pack(readout=readout, optimizer=optimizer))
    progress.finish()
    readout.weight.grad = readout.bias.grad = None
    return readout.eval() if scaling is None else scaling.fold(readout.weight, readout.bias)


def _step(readout: LinearReadout, optimizer: torch.optim.Adam, x: Tensor, labels: Tensor) -> Tensor:
    """One Adam step in place; returns the summed loss of the batch on the device."""
    log_probability = F.log_softmax(readout(x), 1)
    error = log_probability.exp()
    error[torch.arange(len(x), device=x.device), labels] -= 1
    error /= len(x)
    torch.mm(error.T, x, out=readout.weight.grad)
    torch.sum(error, 0, out=readout.bias.grad)
    optimizer.step()
    return F.nll_loss(log_probability, labels, reduction="sum")
