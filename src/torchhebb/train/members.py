"""Many seeds at the price of one: networks of one shape learn side by side, each as it would alone."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from torchhebb.data import Batches, Images, Store
from torchhebb.errors import UserError
from torchhebb.nn import HebbConv2d, HebbLinear, Network, learn
from torchhebb.nn.ensemble import EnsembleLayer, Unstacked, stack_ensemble, unstack
from torchhebb.optim import NormAdaptiveSGD
from torchhebb.progress import SILENT, Progress
from torchhebb.train.checkpoint import Checkpoint, pack, unpack
from torchhebb.train.device import Precision, autocast
from torchhebb.train.features import frozen_inputs
from torchhebb.train.graphed import graphed_steps
from torchhebb.train.learn import (
    DIAGNOSTIC_IMAGES,
    DIAGNOSTICS_PER_STAGE,
    Clock,
    enter_stage,
    init_from_images,
    log_diagnostics,
    stages_of,
)
from torchhebb.train.memory import memory_for
from torchhebb.train.recipe import Learning, NormAdaptive

_TOGETHER_BYTES = {"cpu": 1 << 20, "cuda": 1 << 29}
"""Up to this much for the inputs of its neurons, a layer's members share one matrix product: larger ones fill the
processor by themselves."""


@memory_for("learning", "members or learning.batch_size")
def learn_members(
    networks: Sequence[Network],
    images: Images,
    plan: Learning,
    *,
    seeds: Sequence[int] | None = None,
    precision: Precision = "float32",
    store: Store | None = None,
    key: str = "",
    checkpoint: Checkpoint | None = None,
    task: str = "learn",
    tasks: Sequence[str] | None = None,
    progress: Progress = SILENT,
) -> list[Network]:
    """Train networks of one shape side by side; each ends where `learn_images` with its seed would take it alone.

    Member i sees the images in the order of seeds[i].  Pipeline order is learned as the joint
    order that it equals.  Members may differ in weights, in inverse temperatures and in
    rates; sums run in another order than alone, so results agree up to rounding.  A checkpoint continues exactly.

    Args: seeds, by default 0, 1, ...; store and key as in `learn_images`; task, the name of the whole for the
    checkpoint and the progress; tasks, a name for each member in the log.
    Returns the networks, in eval mode.
    Raises UserError for blocks that learn by a local loss, or seeds or tasks that do not match the networks;
    ValueError for networks of different shapes or powers of the rate.

    >>> from torchhebb.data import load_data
    >>> from torchhebb.nn import Architecture, LinearBlock
    >>> few = load_data("digits").train.select(torch.arange(50))
    >>> architecture = Architecture((1, 8, 8), (LinearBlock(5),))
    >>> networks = learn_members([architecture.build(seed) for seed in (0, 1)], few, Learning())
    >>> [tuple(network.block1.layer.weight.shape) for network in networks]
    [(5, 64), (5, 64)]
    """
    seeds, tasks = _named(networks, plan, seeds, tasks)
    device = next(networks[0].parameters()).device
    checkpoint = checkpoint or Checkpoint()
    stages = stages_of(networks[0], plan)
    kept = {f"member{number}": network for number, network in enumerate(networks)}
    sample = images.images[:DIAGNOSTIC_IMAGES].to(device) / 255.0
    apart = large_layers(networks[0], images.images.shape[1:], plan.batch_size)

    first_stage, first_step = 0, 0
    if restored := checkpoint.restore(task):
        position, tensors = restored
        first_stage, first_step = position["stage"], position["step"]
        unpack(tensors, **kept)

    for stage in range(first_stage, len(stages)):
        entered = [enter_stage(network, stages[stage]) for network in networks]
        label = task if len(stages) == 1 else f"{task} block {stage + 1}"
        inputs = [images.images.to(device)] * len(networks)
        if stage > 0:
            with autocast(precision, device):
                inputs = [
                    frozen_inputs(below, images, f"{label}: inputs", store, key, progress) for below, _ in entered
                ]
        if stage > first_stage or first_step == 0:
            for (_, part), own, seed in zip(entered, inputs, seeds, strict=True):
                with autocast(precision, device):
                    init_from_images(part, Images(own, images.labels), plan.samples, seed, device)
        stacked = stack_ensemble([part for _, part in entered], unstacked=apart)
        optimizer = NormAdaptiveSGD(member_groups(stacked, networks))
        rates = [group["lr"] for group in optimizer.param_groups]
        graphed = graphed_steps(stacked, optimizer, device, precision, rates)
        batches = [
            Batches(own, plan.batch_size, seed=seed, device=device) for own, seed in zip(inputs, seeds, strict=True)
        ]
        per_epoch = len(batches[0])
        every = max(1, plan.epochs * per_epoch // DIAGNOSTICS_PER_STAGE)
        progress.start(label, len(images) * plan.epochs, "images")
        step = first_step if stage == first_stage else 0
        clocks = [Clock(step * plan.batch_size) for _ in networks]
        progress.advance(min(step * plan.batch_size, len(images) * plan.epochs))

        def log(samples: int, stage: int = stage, clocks: Sequence[Clock] = clocks) -> None:
            for network, clock, name in zip(networks, clocks, tasks, strict=True):
                log_diagnostics(checkpoint, network, sample, clock, name, stage, samples)

        for epoch in range(step // per_epoch, plan.epochs):
            for x in _side_by_side(batches, epoch, step - epoch * per_epoch):
                if step % every == 0:
                    if graphed is not None:
                        graphed.meet()
                    log(step * plan.batch_size)
                factor = plan.rate_at(step / (plan.epochs * per_epoch))
                if graphed is not None:
                    graphed(x, factor)
                else:
                    for group, rate in zip(optimizer.param_groups, rates, strict=True):
                        group["lr"] = rate * factor
                    with autocast(precision, device):
                        learn(stacked, x)
                    optimizer.step()
                    optimizer.zero_grad()
                step += 1
                progress.advance(len(x) // len(networks))
                if checkpoint.due:
                    if graphed is not None:
                        graphed.meet()
                    checkpoint.save(task, {"stage": stage, "step": step}, pack(**kept))
        if graphed is not None:
            graphed.meet()
        progress.finish()
        log(plan.epochs * len(images))
        unstack(networks)
    return [network.eval() for network in networks]


@torch.no_grad()
def large_layers(network: Network, input_shape: Sequence[int], batch_size: int) -> list[str]:
    """The plastic layers whose members had better run one after another: their inputs (S, D) fill a processor alone."""
    weight = next(network.parameters())
    found: list[str] = []

    def measure(name: str, layer: nn.Module, u: Tensor) -> None:
        positions = u[0, 0].numel()
        inputs = batch_size * positions * layer.get_parameter("weight")[0].numel()
        if inputs * u.element_size() > _TOGETHER_BYTES.get(u.device.type, 0):
            found.append(name)

    handles = [
        layer.register_forward_hook(lambda _m, _x, u, name=name, layer=layer: measure(name, layer, u))
        for name, layer in network.named_modules()
        if isinstance(layer, HebbConv2d | HebbLinear)
    ]
    network.eval()(weight.new_zeros(1, *input_shape))
    for handle in handles:
        handle.remove()
    return found


def _named(
    networks: Sequence[Network], plan: Learning, seeds: Sequence[int] | None, tasks: Sequence[str] | None
) -> tuple[Sequence[int], Sequence[str]]:
    """Seeds and names of all members, checked."""
    if not networks:
        raise UserError("networks must hold at least one network, got none")
    if not isinstance(plan.optimizer, NormAdaptive):
        raise UserError(f"members learn side by side by the optimizer NormAdaptive, got {plan.optimizer}")
    if plan.images != "train" or plan.share < 1 or plan.augment.active:
        raise UserError(
            "members learn side by side from all training images as they are: leave out images, share, augment"
        )
    blocks = [[name for name, _ in network.named_children()] for network in networks]
    if any(names != blocks[0] for names in blocks):
        raise ValueError(f"members must have the same blocks, got {', '.join(map(str, blocks))}")
    seeds = range(len(networks)) if seeds is None else seeds
    tasks = [f"member {number}" for number in range(len(networks))] if tasks is None else tasks
    for name, given in (("seeds", seeds), ("tasks", tasks)):
        if len(given) != len(networks):
            raise UserError(f"{name} must be {len(networks)}, one for each network, got {len(given)}")
    return seeds, tasks


def _side_by_side(batches: Sequence[Batches], epoch: int, start: int) -> Iterator[Tensor]:
    """Batch after batch (K B, C, H, W): of every member its own, in its own order."""
    for parts in zip(*(own.epoch(epoch, start) for own in batches), strict=True):
        yield torch.cat(parts)


def member_groups(stacked: nn.Sequential, networks: Sequence[Network]) -> list[dict[str, Any]]:
    """Parameter groups of the stacked network, with the rates of every member's own."""
    settings = {
        id(parameter): {name: value for name, value in group.items() if name != "params"}
        for network in networks
        for group in network.learning_groups()
        for parameter in group["params"]
    }
    groups: list[dict[str, Any]] = []
    for module in stacked.modules():
        if isinstance(module, EnsembleLayer):
            for parameter, own in module.shared():
                groups.append({"params": [parameter], **_joined([settings[id(p)] for p in own], parameter)})
        elif isinstance(module, Unstacked):
            own = [parameter for member in module.members for parameter in member.parameters()]
            groups += [{"params": [parameter], **settings[id(parameter)]} for parameter in own]
    return groups


def _joined(settings: Sequence[dict[str, Any]], parameter: Tensor) -> dict[str, Any]:
    """The settings of a stacked parameter: a rate for every neuron where the members' differ."""
    powers, rates = {group["power"] for group in settings}, [group["lr"] for group in settings]
    if len(powers) > 1:
        raise ValueError(f"members must have one lr_power, got {', '.join(map(str, sorted(powers)))}")
    lr: float | Tensor = rates[0]
    if len(set(rates)) > 1:
        lr = parameter.new_tensor(rates).repeat_interleave(len(parameter) // len(settings))
    return {"lr": lr, "power": powers.pop(), "groups": len(settings)}
