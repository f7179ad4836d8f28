"""Training of several seeds in one process as an ensemble."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from torchhebb.data import Batches, Images, Store
from torchhebb.errors import UserError
from torchhebb.memory import out_of_memory_as_user_error
from torchhebb.nn import HebbConv2d, HebbLinear, Network
from torchhebb.nn.ensemble import EnsembleLayer, Unstacked, stack_ensemble, unstack
from torchhebb.optim import NormAdaptiveSGD
from torchhebb.progress import SILENT, Progress
from torchhebb.train.calibrate import init_from_images
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.cuda_graph import cuda_graph_stepper
from torchhebb.train.device import Precision, autocast
from torchhebb.train.eager import EagerStepper
from torchhebb.train.features import frozen_inputs
from torchhebb.train.learning_log import DIAGNOSTIC_IMAGES, Clock, log_diagnostics
from torchhebb.train.loop import EpochBatches, Stepper
from torchhebb.train.recipe import Learning, NormAdaptive
from torchhebb.train.stages import enter_stage, learn_stages, stages_of

_TOGETHER_BYTES = {"cpu": 1 << 20, "cuda": 1 << 29}
"""Up to this much for the inputs of its neurons, a layer's members share one matrix product: larger ones fill the
processor by themselves."""


@out_of_memory_as_user_error("learning", "ensemble or learning.batch_size")
def learn_ensemble(
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
    """Train networks of one shape as an ensemble; each learns as by `learn_images` with its seed, up to rounding.

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
    >>> networks = learn_ensemble([architecture.build(seed) for seed in (0, 1)], few, Learning())
    >>> [tuple(network.block1.layer.weight.shape) for network in networks]
    [(5, 64), (5, 64)]
    """
    seeds, tasks = _named(networks, plan, seeds, tasks)
    checkpoint = checkpoint or Checkpoint()
    learner = _Ensemble(networks, images, plan, seeds, tasks, precision, store, key, checkpoint, progress)
    learn_stages(learner, plan, checkpoint=checkpoint, task=task, progress=progress)
    return [network.eval() for network in networks]


class _Ensemble:
    """The networks of an ensemble during their stages."""

    def __init__(
        self,
        networks: Sequence[Network],
        images: Images,
        plan: Learning,
        seeds: Sequence[int],
        tasks: Sequence[str],
        precision: Precision,
        store: Store | None,
        key: str,
        checkpoint: Checkpoint,
        progress: Progress,
    ) -> None:
        self.networks, self.inputs, self.plan, self.seeds, self.tasks = networks, images, plan, seeds, tasks
        self.precision, self.store, self.key = precision, store, key
        self.checkpoint, self.progress = checkpoint, progress
        self.device = next(networks[0].parameters()).device
        self.stages = stages_of(networks[0], plan)
        self.count, self.images = len(self.stages), len(images)
        self.sample = images.images[:DIAGNOSTIC_IMAGES].to(self.device) / 255.0
        self.unstacked = large_layers(networks[0], images.images.shape[1:], plan.batch_size)
        self.clocks = [Clock(0) for _ in networks]

    def modules(self) -> dict[str, nn.Module]:
        return {f"member{number}": network for number, network in enumerate(self.networks)}

    def enter(self, stage: int, label: str, start: int) -> tuple[Stepper, EpochBatches]:
        plan, images, device = self.plan, self.inputs, self.device
        entered = [enter_stage(network, self.stages[stage]) for network in self.networks]
        inputs = [images.images.to(device)] * len(self.networks)
        if stage > 0:
            with autocast(self.precision, device):
                inputs = [
                    frozen_inputs(below, images, f"{label}: inputs", self.store, self.key, self.progress)
                    for below, _ in entered
                ]
        if start == 0:
            for (_, part), own, seed in zip(entered, inputs, self.seeds, strict=True):
                with autocast(self.precision, device):
                    init_from_images(part, Images(own, images.labels), plan.samples, seed, device)
        self.clocks = [Clock(start * plan.batch_size) for _ in self.networks]
        stacked = stack_ensemble([part for _, part in entered], unstacked=self.unstacked)
        batches = SideBySide(
            [Batches(own, plan.batch_size, seed=s, device=device) for own, s in zip(inputs, self.seeds, strict=True)]
        )
        return self._stepper(stacked, max(1, plan.epochs * len(batches))), batches

    def _stepper(self, stacked: nn.Sequential, total: int) -> Stepper:
        optimizer = NormAdaptiveSGD(member_groups(stacked, self.networks))
        rates = [group["lr"] for group in optimizer.param_groups]

        def factor(step: int) -> float:
            return self.plan.lr_factor(step / total)

        graph = cuda_graph_stepper(stacked, optimizer, self.device, self.precision, rates, factor)
        eager = EagerStepper(stacked, optimizer, rates, factor, device=self.device, precision=self.precision)
        return graph or eager

    def log(self, stage: int, samples: int) -> None:
        for network, clock, name in zip(self.networks, self.clocks, self.tasks, strict=True):
            log_diagnostics(self.checkpoint, network, self.sample, clock, name, stage, samples)

    def leave(self) -> None:
        unstack(self.networks)


class SideBySide:
    """Batches (K B, C, H, W): of every member its own, in its own order."""

    def __init__(self, batches: Sequence[Batches]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches[0])

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, None]]:
        for parts in zip(*(own.epoch(number, start) for own in self.batches), strict=True):
            yield torch.cat(parts), None


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
        raise UserError(f"an ensemble needs the optimizer NormAdaptive, got {plan.optimizer}")
    if plan.images != "train" or plan.fraction < 1 or plan.augment.active:
        raise UserError(
            "an ensemble learns from all training images without augmentation: leave out images, fraction, augment"
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
