"""The unsupervised phase: every block learns from its own input while images pass through the network."""

from collections.abc import Sequence

import torch
from torch import nn

from torchhebb.data import Images, Store, Stream, first_images
from torchhebb.distributed import world_size
from torchhebb.errors import UserError
from torchhebb.memory import out_of_memory_as_user_error
from torchhebb.nn import Network
from torchhebb.nn.norm import check_synchronised
from torchhebb.optim import NormAdaptiveSGD
from torchhebb.progress import SILENT, Progress
from torchhebb.train.calibrate import init_from_images
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.cuda_graph import cuda_graph_stepper
from torchhebb.train.device import Precision, autocast
from torchhebb.train.eager import EagerStepper
from torchhebb.train.features import frozen_inputs
from torchhebb.train.learning_log import DIAGNOSTIC_IMAGES, Clock, log_diagnostics
from torchhebb.train.loop import EpochBatches, OnStep, Stepper
from torchhebb.train.online import OnlineReadout
from torchhebb.train.pipeline import Pipeline
from torchhebb.train.recipe import AdamW, Learning
from torchhebb.train.sharded_batches import ShardedBatches
from torchhebb.train.stages import enter_stage, learn_stages, stages_of


@out_of_memory_as_user_error("learning", "learning.batch_size, or the channels of the blocks")
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
    on_step: Sequence[OnStep] = (),
    progress: Progress = SILENT,
) -> Network:
    """Train the plastic blocks on images alone; labels are never read, but by a readout that learns beside them.

    Joint order is one stage in which all blocks learn; greedy order is one stage a block, whose inputs, the outputs
    of those below in eval mode, are computed once, and kept in the store where several passes read them; pipeline is
    the joint stage by another schedule, see `Pipeline`.  Every stage passes over the images `plan.epochs` times.  A
    checkpoint continues exactly.

    In a process group every rank calls this with the same images and learns from its part of each batch, so that all
    of them take the steps of one process, or, of a stream, steps of their number; see `ShardedBatches`.  Rank 0's
    checkpoint counts, and it alone writes.

    Args: store, where inputs of greedy stages are kept (without one, in memory); key, what tells these images in this
    precision from others there; online, a readout to train on the features of every batch, not in greedy order;
    on_step, what is called between steps, see `torchhebb.train.loop.OnStep`.
    Returns the network, in eval mode.  Raises UserError for a plan whose images were not chosen, see `subset_images`,
    and for batches of a stream that the ranks do not divide.
    """
    if plan.images != "train" or plan.fraction < 1:
        raise UserError("learning.images and fraction must be train and 1 where this question gives the images")
    check_synchronised(network)
    if plan.order == "pipeline" and world_size() > 1:
        raise UserError("learning.order must be joint or greedy where several processes share each batch, got pipeline")
    checkpoint = checkpoint or Checkpoint()
    learner = _OneNetwork(network, images, plan, seed, precision, store, key, online, checkpoint, task, progress)
    streamed = isinstance(images, Stream)
    learn_stages(learner, plan, checkpoint=checkpoint, task=task, progress=progress, streamed=streamed, on_step=on_step)
    return network.eval()


class _OneNetwork:
    """One network during its stages."""

    def __init__(
        self,
        network: Network,
        images: Images,
        plan: Learning,
        seed: int,
        precision: Precision,
        store: Store | None,
        key: str,
        online: OnlineReadout | None,
        checkpoint: Checkpoint,
        task: str,
        progress: Progress,
    ) -> None:
        self.network, self.inputs, self.plan, self.seed = network, images, plan, seed
        self.precision, self.store, self.key, self.online = precision, store, key, online
        self.checkpoint, self.task, self.progress = checkpoint, task, progress
        self.device = next(network.parameters()).device
        self.optimizer = make_optimizer(network, plan)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.stages = stages_of(network, plan)
        self.count, self.images = len(self.stages), len(images)
        self.sample = first_images(images, DIAGNOSTIC_IMAGES).to(self.device) / 255.0
        self.clock = Clock(0)

    def modules(self) -> dict[str, nn.Module]:
        return {"network": self.network}

    def enter(self, stage: int, label: str, start: int) -> tuple[Stepper, EpochBatches]:
        plan, inputs = self.plan, self.inputs
        below, part = enter_stage(self.network, self.stages[stage])
        if stage > 0 and plan.epochs == 1:  # every output of the blocks below is read once, so nothing is cached
            part = nn.Sequential(*below, *part)
        elif stage > 0:
            with autocast(self.precision, self.device):
                title = f"{self.task} block {stage + 1}: inputs"
                outputs = frozen_inputs(below, inputs, title, self.store, self.key, self.progress)
            inputs = Images(outputs, inputs.labels)
        batches = ShardedBatches(inputs, plan.batch_size, seed=self.seed, augment=plan.augment, device=self.device)
        if start == 0:
            with autocast(self.precision, self.device):
                init_from_images(part, inputs, plan.samples, self.seed, self.device)
        self.clock = Clock(start * plan.batch_size)
        return self._stepper(part, max(1, plan.epochs * len(batches))), batches

    def _stepper(self, part: nn.Module, total: int) -> Stepper:
        """The fastest stepper that can take these steps."""

        def factor(step: int) -> float:
            return self.plan.lr_factor(step / total)

        where = {"device": self.device, "precision": self.precision}
        if self.plan.order == "pipeline":
            return Pipeline(self.network, self.optimizer, factor, precision=self.precision, online=self.online)
        if self.online is None and world_size() == 1:  # a graph holds no all-reduce
            graph = cuda_graph_stepper(part, self.optimizer, rates=self.rates, factor=factor, **where)  # type: ignore[arg-type]
            if graph is not None:
                return graph
        return EagerStepper(part, self.optimizer, self.rates, factor, online=self.online, **where)  # type: ignore[arg-type]

    def log(self, stage: int, samples: int) -> None:
        log_diagnostics(self.checkpoint, self.network, self.sample, self.clock, self.task, stage, samples)

    def leave(self) -> None:
        pass


def make_optimizer(network: Network, plan: Learning) -> torch.optim.Optimizer:
    """What steps along the updates that the blocks leave, at their full rates."""
    if isinstance(plan.optimizer, AdamW):
        return torch.optim.AdamW(
            network.parameters(), lr=plan.optimizer.lr, weight_decay=plan.optimizer.weight_decay, fused=True
        )
    return NormAdaptiveSGD(network.learning_groups())
