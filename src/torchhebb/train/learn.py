"""The unsupervised phase: images stream through the blocks, and every block learns from its own input."""

from dataclasses import asdict
from typing import Literal

import torch
from torch import nn

from torchhebb.data import Batches, Images
from torchhebb.errors import UserError
from torchhebb.nn import BatchNorm, Network, learn
from torchhebb.optim import NormAdaptiveSGD
from torchhebb.progress import SILENT, Progress
from torchhebb.train.checkpoint import Checkpoint, pack, unpack
from torchhebb.train.device import autocast
from torchhebb.train.diagnostics import diagnose
from torchhebb.train.recipe import Learning

DIAGNOSTICS_PER_STAGE = 20
DIAGNOSTIC_IMAGES = 64
CALIBRATION_IMAGES = 10_000
CALIBRATION_BATCH = 100


def learn_images(
    network: Network,
    images: Images,
    plan: Learning,
    *,
    seed: int = 0,
    precision: Literal["float32", "bfloat16"] = "float32",
    checkpoint: Checkpoint | None = None,
    task: str = "learn",
    progress: Progress = SILENT,
) -> Network:
    """Train the plastic blocks on images alone; labels are never read.

    Joint order is one stage in which all blocks learn; greedy order is one stage a block, those below in eval
    mode.  Every stage passes over the images `plan.epochs` times.  A checkpoint continues exactly.

    Returns the network, in eval mode.
    """
    device = next(network.parameters()).device
    checkpoint = checkpoint or Checkpoint()
    optimizer = NormAdaptiveSGD(learning_groups(network), lr=0.0)
    batches = Batches(images.images, plan.batch_size, seed=seed, device=device)
    stages = _stages(network, plan)
    steps = plan.epochs * len(batches)
    every = max(1, steps // DIAGNOSTICS_PER_STAGE)
    sample = images.images[:DIAGNOSTIC_IMAGES].to(device) / 255.0

    first_stage, first_step = 0, 0
    if restored := checkpoint.restore(task):
        position, tensors = restored
        first_stage, first_step = position["stage"], position["step"]
        unpack(tensors, network=network, optimizer=optimizer)

    for stage in range(first_stage, len(stages)):
        part = _enter(network, stages[stage])
        progress.start(
            "learning" if len(stages) == 1 else f"learning block {stage + 1}", len(images) * plan.epochs, "images"
        )
        step = first_step if stage == first_stage else 0
        progress.advance(min(step * plan.batch_size, len(images) * plan.epochs))
        for epoch in range(step // len(batches), plan.epochs):
            for x in batches.epoch(epoch, start=step - epoch * len(batches)):
                if step % every == 0:
                    _log_diagnostics(checkpoint, network, task, stage, step * plan.batch_size, sample)
                with autocast(precision, device):
                    learn(part, x)
                optimizer.step()
                optimizer.zero_grad()
                step += 1
                progress.advance(len(x))
                if checkpoint.due:
                    checkpoint.save(task, {"stage": stage, "step": step}, pack(network=network, optimizer=optimizer))
        progress.finish()
        _log_diagnostics(checkpoint, network, task, stage, plan.epochs * len(images), sample)
    return network.eval()


@torch.no_grad()
def calibrate(network: Network, images: Images, *, seed: int = 0) -> Network:
    """Set the running statistics of every batch norm to its average over some training images, weights untouched.

    It is what a network of random weights needs before it is a fair baseline.  Returns the network, in eval mode.
    """
    device = next(network.parameters()).device
    norms = [module for module in network.modules() if isinstance(module, BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    batches = Batches(images.images, min(CALIBRATION_BATCH, len(images)), seed=seed, drop_last=True, device=device)
    for count, x in enumerate(batches.epoch(0), 1):
        for norm in norms:
            norm.train().momentum = 1 / count
        network(x)
        if count * CALIBRATION_BATCH >= CALIBRATION_IMAGES:
            break
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return network.eval()


def learning_groups(network: Network) -> list[dict[str, object]]:
    """Parameter groups, one a block, with the rates that its architecture gives.

    Raises UserError for a network that was not built from an Architecture.
    """
    if network.architecture is None:
        raise UserError("the network has no architecture, so no learning rates: build it by Architecture.build()")
    groups: list[dict[str, object]] = []
    for number, config in enumerate(network.architecture.blocks, 1):
        block = network.get_submodule(f"block{number}")
        layout = getattr(config, "groups", 1)
        groups.append({"params": list(block.parameters()), "lr": config.lr, "power": config.lr_power, "groups": layout})
    return groups


def _stages(network: Network, plan: Learning) -> list[list[str]]:
    """The names of the children that learn in each stage."""
    blocks = [name for name, _ in network.named_children() if name.startswith("block")]
    return [blocks] if plan.order == "joint" else [[name] for name in blocks]


def _enter(network: Network, learning: list[str]) -> nn.Sequential:
    """Put the blocks that learn in train mode and all others in eval mode; the part up to the last that learns."""
    network.eval()
    part = nn.Sequential()
    for name, block in network.named_children():
        part.add_module(name, block.train(name in learning))
        if name == learning[-1]:
            break
    return part


def _log_diagnostics(
    checkpoint: Checkpoint, network: Network, task: str, stage: int, samples: int, sample: torch.Tensor
) -> None:
    for layer in diagnose(network, sample):
        numbers = asdict(layer)
        numbers.pop("win_rates")
        checkpoint.log.write(kind="learning", task=task, stage=stage, samples=samples, **numbers)
