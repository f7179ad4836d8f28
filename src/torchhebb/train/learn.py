"""The unsupervised phase: images stream through the blocks, and every block learns from its own input."""

import time
from collections import OrderedDict
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from torchhebb.data import Images, Store, Stream, batches_of, first_images
from torchhebb.distributed import average_gradients, broadcast, rank, world_size
from torchhebb.errors import UserError
from torchhebb.nn import BatchNorm, Network, as_local_loss, init_from_data, learn
from torchhebb.nn.learning import needs_data
from torchhebb.nn.norm import check_synchronised
from torchhebb.optim import NormAdaptiveSGD
from torchhebb.progress import SILENT, Progress
from torchhebb.train.checkpoint import Checkpoint, pack, unpack
from torchhebb.train.device import Precision, autocast
from torchhebb.train.diagnostics import diagnose
from torchhebb.train.features import frozen_inputs
from torchhebb.train.graphed import graphed_steps
from torchhebb.train.memory import memory_for
from torchhebb.train.online import OnlineReadout
from torchhebb.train.own_batches import OwnBatches
from torchhebb.train.pipeline import Parcel, Pipeline
from torchhebb.train.recipe import AdamW, Learning

DIAGNOSTICS_PER_STAGE = 20
DIAGNOSTIC_IMAGES = 64
CALIBRATION_IMAGES = 10_000
CALIBRATION_BATCH = 100


@memory_for("learning", "learning.batch_size, or the channels of the blocks")
def learn_images(
    network: Network,
    images: Images,
    plan: Learning,
    *,
    seed: int = 0,
    precision: Precision = "float32",
    store: Store | None = None,
    key: str = "",
    online: OnlineReadout | None = None,
    checkpoint: Checkpoint | None = None,
    task: str = "learn",
    progress: Progress = SILENT,
) -> Network:
    """Train the plastic blocks on images alone; labels are never read, but by a readout that learns beside them.

    Joint order is one stage in which all blocks learn; greedy order is one stage a block, whose inputs, the outputs
    of those below in eval mode, are computed once, and kept in the store where several passes read them; pipeline is
    the joint stage by another schedule, see `Pipeline`.  Every stage passes over the images `plan.epochs` times.  A
    checkpoint continues exactly.

    In a process group every rank calls this with the same images and learns from its part of each batch, so that all
    of them take the steps of one process, or, of a stream, steps of their number; see `OwnBatches`.  Rank 0's
    checkpoint counts, and it alone writes.

    Args: store, where inputs of greedy stages are kept (without one, in memory); key, what tells these images in this
    precision from others there; online, a readout to train on the features of every batch, not in greedy order.
    Returns the network, in eval mode.  Raises UserError for a plan whose images were not chosen, see `chosen_images`,
    and for batches of a stream that the ranks do not divide.
    """
    if plan.images != "train" or plan.share < 1:
        raise UserError("learning.images and learning.share must be train and 1 where this question gives the images")
    check_synchronised(network)
    if plan.order == "pipeline" and world_size() > 1:
        raise UserError("learning.order must be joint or greedy where several processes share each batch, got pipeline")
    device = next(network.parameters()).device
    checkpoint = checkpoint or Checkpoint()
    optimizer = make_optimizer(network, plan)
    rates = [group["lr"] for group in optimizer.param_groups]
    stages = stages_of(network, plan)
    kept = {"network": network, "optimizer": optimizer}
    if online is not None:
        kept |= {"online": online.readout, "online_optimizer": online.optimizer}
    sample = first_images(images, DIAGNOSTIC_IMAGES).to(device) / 255.0

    first_stage, first_step = 0, 0
    if restored := broadcast(checkpoint.restore(task)):
        position, tensors = restored
        first_stage, first_step = position["stage"], position["step"]
        if isinstance(images, Stream) and (ranks := position.get("ranks", world_size())) != world_size():
            raise UserError(f"this stream was begun by {ranks} process(es): go on with as many, got {world_size()}")
        unpack(tensors, **kept)

    for stage in range(first_stage, len(stages)):
        below, part = enter_stage(network, stages[stage])
        inputs = images
        if stage > 0 and plan.epochs == 1:  # every output of the blocks below is read once: nothing to keep
            part = nn.Sequential(*below, *part)
        elif stage > 0:
            with autocast(precision, device):
                outputs = frozen_inputs(below, images, f"{task} block {stage + 1}: inputs", store, key, progress)
            inputs = Images(outputs, images.labels)
        batches = OwnBatches(inputs, plan.batch_size, seed=seed, augment=plan.augment, device=device)
        if stage > first_stage or first_step == 0:
            with autocast(precision, device):
                init_from_images(part, inputs, plan.samples, seed, device)
        every = max(1, plan.epochs * len(batches) // DIAGNOSTICS_PER_STAGE)
        steps = plan.epochs * len(batches)
        line = None
        if plan.order == "pipeline":
            line = _make_line(network, optimizer, plan, steps, precision, online)
            kept = {name: value for name, value in kept.items() if name != "optimizer"}
            if restored:
                line.unpack(position["places"], tensors)
        graphed = None
        if line is None and online is None and world_size() == 1:  # a graph holds no all-reduce
            graphed = graphed_steps(part, optimizer, device, precision, rates)
        label = task if len(stages) == 1 else f"{task} block {stage + 1}"
        progress.start(label, len(images) * plan.epochs, "images")
        step = first_step if stage == first_stage else 0
        clock = Clock(step * plan.batch_size)
        progress.advance(min(step * plan.batch_size, len(images) * plan.epochs))
        for epoch in range(step // len(batches), plan.epochs):
            for x, labels in batches.epoch(epoch, start=step - epoch * len(batches)):
                if step % every == 0:
                    if line is not None:
                        line.meet()
                    if graphed is not None:
                        graphed.meet()
                    log_diagnostics(checkpoint, network, sample, clock, task, stage, step * plan.batch_size)
                if line is not None:
                    line.tick(Parcel(step, x, labels if online else None))
                elif graphed is not None:
                    graphed(x, plan.rate_at(step / steps))
                else:
                    factor = plan.rate_at(step / steps)
                    for group, rate in zip(optimizer.param_groups, rates, strict=True):
                        group["lr"] = rate * factor
                    with autocast(precision, device):
                        output = learn(part, x)
                    average_gradients(network.parameters(), len(x))
                    optimizer.step()
                    optimizer.zero_grad()
                    if online is not None:
                        online.step(output, labels, factor)
                before = step % len(batches) * plan.batch_size
                progress.advance(min(plan.batch_size, len(inputs) - before))  # of all ranks
                step += 1
                if checkpoint.due:
                    if graphed is not None:
                        graphed.meet()
                    _save(checkpoint, task, stage, step, kept, line)
        if graphed is not None:
            graphed.meet()
        while line is not None and line.busy:
            line.tick()
            if checkpoint.due:
                _save(checkpoint, task, stage, step, kept, line)
        progress.finish()
        log_diagnostics(checkpoint, network, sample, clock, task, stage, plan.epochs * len(images))
    return network.eval()


def _make_line(
    network: Network,
    optimizer: torch.optim.Optimizer,
    plan: Learning,
    steps: int,
    precision: Precision,
    online: OnlineReadout | None,
) -> Pipeline:
    def factor(step: int) -> float:
        return plan.rate_at(step / steps)

    def read_out(parcel: Parcel) -> None:
        if online is not None and parcel.labels is not None:
            online.step(parcel.x, parcel.labels, factor(parcel.step))

    return Pipeline(network, optimizer, factor, precision=precision, finished=read_out)


def _save(
    checkpoint: Checkpoint, task: str, stage: int, step: int, kept: dict[str, Any], line: Pipeline | None
) -> None:
    """Where the pass stands; of a pipeline also the batches that are on their way."""
    position: dict[str, Any] = {"stage": stage, "step": step, "ranks": world_size()}
    tensors: dict[str, torch.Tensor] = {}
    if line is not None:
        position["places"], tensors = line.pack()
    checkpoint.save(task, position, pack(**kept) | tensors)


def make_optimizer(network: Network, plan: Learning) -> torch.optim.Optimizer:
    """What steps along the updates that the blocks leave, at their full rates."""
    if isinstance(plan.optimizer, AdamW):
        return torch.optim.AdamW(
            network.parameters(), lr=plan.optimizer.lr, weight_decay=plan.optimizer.weight_decay, fused=True
        )
    return NormAdaptiveSGD(network.learning_groups())


def init_from_images(part: nn.Sequential, inputs: Images, samples: int, seed: int, device: torch.device) -> None:
    """Prepare whitening and weights that are samples, where there are such, from the first images of the pass."""
    if not any(needs_data(module) for module in part.modules()):
        return
    first = next(iter(batches_of(inputs, min(samples, len(inputs)), seed=seed, labelled=False, device=device).epoch(0)))
    init_from_data(part, first, torch.Generator().manual_seed(seed))


@torch.no_grad()
def calibrate(
    network: Network, images: Images, *, seed: int = 0, samples: int = 1000, learned: bool = False
) -> Network:
    """Set the running statistics of every batch norm to its average over some training images, weights untouched.

    Whitening is prepared from `samples` images, and so are weights of init "patches", which then are random patches.
    It is what a network of random weights needs before it is a fair baseline.  A `learned` one keeps its whitening and
    its weights.  Returns the network, in eval mode.
    """
    device = next(network.parameters()).device
    if not learned:
        init_from_images(network.train(), images, samples, seed, device)
    norms = [module for module in network.modules() if isinstance(module, BatchNorm | nn.BatchNorm2d)]
    if not norms:
        return network.eval()
    momenta = [norm.momentum for norm in norms]
    network.eval()
    size = min(CALIBRATION_BATCH, len(images))
    batches = batches_of(images, size, seed=seed, labelled=False, device=device)
    for count, x in enumerate(batches.epoch(0), 1):
        if len(x) < size:
            break
        for norm in norms:
            norm.train().momentum = 1 / count
        network(x)
        if count * CALIBRATION_BATCH >= CALIBRATION_IMAGES:
            break
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return network.eval()


def stages_of(network: Network, plan: Learning) -> list[list[str]]:
    """The names of the children that learn in each stage."""
    blocks = [name for name, _ in network.named_children() if name.startswith("block")]
    return [[name] for name in blocks] if plan.order == "greedy" else [blocks]


def enter_stage(network: Network, learning: list[str]) -> tuple[nn.Sequential, nn.Sequential]:
    """Put the blocks that learn in train mode and all others in eval mode.

    Returns what lies below them, and the part that learns; in the first stage, what lies below belongs to that part,
    and in the last what lies above.
    """
    network.eval()
    children = dict(network.named_children())
    names = list(children)
    first, last = names.index(learning[0]), names.index(learning[-1])
    first = 0 if not any(name.startswith("block") for name in names[:first]) else first
    last = last if any(name.startswith("block") for name in names[last + 1 :]) else len(names) - 1
    for name in learning:
        children[name].train()
    part = OrderedDict(list(children.items())[first : last + 1])
    return nn.Sequential(*list(children.values())[:first]), nn.Sequential(part)


def log_diagnostics(
    checkpoint: Checkpoint,
    network: Network,
    sample: torch.Tensor,
    clock: "Clock",
    task: str,
    stage: int,
    samples: int,
) -> None:
    """Write what the layers of a network look like after so many samples, on the images `sample`."""
    if rank() > 0:  # all ranks have the same weights: one tells of them
        return
    speed = clock.samples_per_second(samples)
    for layer in diagnose(network, sample):
        numbers = {**asdict(layer), "samples_per_second": speed}
        checkpoint.log.write(kind="learning", task=task, stage=stage, samples=samples, **numbers)
    for name, block in network.named_modules():
        local = as_local_loss(block)
        if local is not None and local.last_loss is not None:
            loss = {"name": name, "loss": local.last_loss.item(), "samples_per_second": speed}
            checkpoint.log.write(kind="local", task=task, stage=stage, samples=samples, **loss)


class Clock:
    """Speed since it was last asked; the one part of a log that differs from run to run."""

    def __init__(self, samples: int) -> None:
        self.samples, self.time = samples, time.monotonic()

    def samples_per_second(self, samples: int) -> float | None:
        """None before any sample was seen."""
        seen, elapsed = samples - self.samples, time.monotonic() - self.time
        self.samples, self.time = samples, time.monotonic()
        return round(seen / elapsed, 1) if seen else None
