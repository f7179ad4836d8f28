"""Stages of learning: which blocks learn in which pass over the images."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from torchhebb.distributed import broadcast, world_size
from torchhebb.errors import UserError
from torchhebb.nn import Network
from torchhebb.nn.packing import pack, unpack
from torchhebb.progress import Progress
from torchhebb.train import learning_log
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.loop import At, EpochBatches, OnStep, Save, Stepper, run_loop
from torchhebb.train.recipe import Learning


class Learner(Protocol):
    """What is trained in stages: one network, or an ensemble."""

    count: int
    """How many stages there are."""
    images: int
    """How many images each pass has."""

    def modules(self) -> dict[str, nn.Module]:
        """What a checkpoint keeps besides the stepper's state, by name."""

    def enter(self, stage: int, label: str, start: int) -> tuple[Stepper, EpochBatches]:
        """The stepper and the batches of a stage; one that starts at 0 takes from data what it needs first."""

    def log(self, stage: int, samples: int) -> None:
        """Log the state of the layers after this many samples of a stage."""

    def leave(self) -> None:
        """End a stage."""


def learn_stages(
    learner: Learner,
    plan: Learning,
    *,
    checkpoint: Checkpoint,
    task: str,
    progress: Progress,
    streamed: bool = False,
    on_step: Sequence[OnStep] = (),
) -> None:
    """Take a learner through all its stages, from where a checkpoint left it.

    Args: streamed, whether batches depend on the number of ranks; on_step, called with the steps done over all stages.
    Raises UserError where weights stop being finite: the last checkpoint is then the last good one.
    """
    first_stage, first_step, restored = 0, 0, broadcast(checkpoint.restore(task))
    if restored:
        position, tensors = restored
        first_stage, first_step = position["stage"], position["step"]
        if streamed and (ranks := position.get("ranks", world_size())) != world_size():
            raise UserError(
                f"this stream was started with {ranks} process(es): resume it with as many, got {world_size()}"
            )
        if position.get("places"):
            raise UserError(
                "this pipeline was stopped by an earlier version: resume it with that version, or start again"
            )
        unpack(tensors, **learner.modules())
    for stage in range(first_stage, learner.count):
        label = task if learner.count == 1 else f"{task} block {stage + 1}"
        start = first_step if stage == first_stage else 0
        stepper, batches = learner.enter(stage, label, start)
        if restored and stage == first_stage:
            stepper.unpack(tensors)
        total = plan.epochs * len(batches)
        every = max(1, total // learning_log.DIAGNOSTICS_PER_STAGE)
        callbacks: list[OnStep] = [
            At(range(0, total, every), _logger(learner, stage, plan.batch_size, label)),
            *(_Later(callback, stage * total, fresh=stage == 0) for callback in on_step),
            Save(checkpoint, task, _position(stage), _packer(learner, stepper, label), total),
        ]
        progress.start(label, learner.images * plan.epochs, "images")
        progress.advance(min(start * plan.batch_size, learner.images * plan.epochs))
        units = _units(len(batches), plan.batch_size, learner.images)
        run_loop(stepper, batches, plan.epochs, start=start, on_step=callbacks, progress=progress, units=units)
        progress.finish()
        check_finite(learner.modules(), label, total)
        learner.log(stage, plan.epochs * learner.images)
        learner.leave()


def check_finite(modules: dict[str, nn.Module], label: str, step: int) -> None:
    """Raise UserError naming the first tensor that holds a number which is not finite."""
    for module in modules.values():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                raise UserError(
                    f"{label}: {name} is not finite after {step} steps: lower the learning rate of its block, or check "
                    "that the images are finite; the last checkpoint is from before"
                )


@dataclass(frozen=True)
class _Later:
    """A callback that counts steps over all stages and is called before the first stage only."""

    callback: OnStep
    before: int
    fresh: bool

    def due(self, step: int) -> bool:
        return (step > 0 or self.fresh) and self.callback.due(self.before + step)

    def __call__(self, step: int) -> None:
        self.callback(self.before + step)


def _logger(learner: Learner, stage: int, batch_size: int, label: str) -> Callable[[int], None]:
    def log(step: int) -> None:
        check_finite(learner.modules(), label, step)
        learner.log(stage, step * batch_size)

    return log


def _packer(learner: Learner, stepper: Stepper, label: str) -> Callable[[], dict[str, Tensor]]:
    def packed() -> dict[str, Tensor]:
        tensors = pack(**learner.modules()) | stepper.pack()
        if wrong := [name for name, t in tensors.items() if t.is_floating_point() and not bool(t.isfinite().all())]:
            raise UserError(f"{label}: {wrong[0]} is not finite: lower the learning rate; the last checkpoint is kept")
        return tensors

    return packed


def _position(stage: int) -> Callable[[int], dict[str, Any]]:
    return lambda step: {"stage": stage, "step": step, "ranks": world_size()}


def _units(per_epoch: int, batch_size: int, images: int) -> Callable[[int], int]:
    """How many images, of all ranks together, the batch of a step has."""
    return lambda step: min(batch_size, images - step % max(1, per_epoch) * batch_size)


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
