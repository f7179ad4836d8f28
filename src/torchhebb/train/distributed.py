"""One run on several processes: joining them, slices of batches, and the mean of what the slices taught.

Started by `torchrun --nproc-per-node N -m torchhebb train ...`, every process holds the whole network and learns from
its slice of each batch.  What they leave in .grad is averaged before the optimizer normalises, so N processes take the
steps of one.  Rank 0 alone reads and writes the run folder, reads out and tests.
"""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar
from uuid import uuid4

import torch
from torch import Tensor, distributed, nn
from torch.distributed.rendezvous import rendezvous

from torchhebb.errors import UserError
from torchhebb.nn import BatchNorm2d
from torchhebb.nn.collective import add_up, rank, reaching_all, world
from torchhebb.train.device import find_device

T = TypeVar("T")

PATIENCE = timedelta(days=30)  # how long a process may wait for rank 0 to read out


@dataclass(frozen=True)
class Workers:
    """The processes that share a run, seen from one of them.  By default there is one, and nothing to wait for.

    >>> Workers().first, Workers().from_first("run")
    (True, 'run')
    """

    rank: int = 0
    world: int = 1
    patient: Any = None
    """The group for waits that may be long: of gloo, so that waiting costs nothing and needs no GPU."""

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which reads and writes, prints, reads out and tests."""
        return self.rank == 0

    def from_first(self, value: T) -> T:
        """What rank 0 gives here, on every rank, as soon as it gets here.  Raises LostWorker."""
        return _from_first(value, self.patient) if self.world > 1 else value

    def wait(self) -> None:
        """Until every rank is here, however long that takes.  Raises LostWorker."""
        self.from_first(None)
        if self.world > 1:
            with reaching_all():
                distributed.barrier(self.patient)


def planned() -> tuple[int, int]:
    """Rank and number of processes that torchrun started: (0, 1) without it.  Raises UserError for a broken set."""
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    given = [name for name in names if os.environ.get(name)]
    if not {"RANK", "WORLD_SIZE"} & set(given):
        return 0, 1
    if missing := [name for name in names if name not in given]:
        raise UserError(f"{', '.join(given)} are set but not {', '.join(missing)}: start by torchrun, or unset them")
    try:
        here, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    except ValueError:
        here, count = -1, 0
    if not 0 <= here < count:
        found = f"{os.environ['RANK']} and {os.environ['WORLD_SIZE']}"
        raise UserError(f"RANK must be a number from 0 and below WORLD_SIZE, got {found}")
    return here, count


def own_device(name: str = "auto") -> torch.device:
    """The device of this process: on a machine with GPUs, each of its processes has its own.

    Raises UserError for a device that is not there, more processes than GPUs, or one GPU for all.
    """
    device = find_device(name)
    if planned()[1] == 1 or device.type != "cuda":
        return device
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if device.index is not None:
        raise UserError(f"device must be auto, cpu or cuda where torchrun gives each process its own, got {name!r}")
    if local >= torch.cuda.device_count():
        raise UserError(
            f"--nproc-per-node must be at most the {torch.cuda.device_count()} GPUs here, or use --device cpu"
        )
    return torch.device("cuda", local)


@contextmanager
def joined(device: torch.device, *, timeout: float = 1800.0) -> Iterator[Workers]:
    """Join the processes that torchrun started, by gloo on CPUs and NCCL on GPUs, and leave them at the end.

    Without torchrun it does nothing.

    Args: timeout, seconds after which a worker that does not answer is lost; one that died is found at once.
    Raises LostWorker if they do not come together, UserError for a timeout that is not positive.
    """
    here, count = planned()
    if count == 1:
        yield Workers()
        return
    if not timeout > 0:
        raise UserError(f"worker_timeout must be positive, got {timeout}")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        with reaching_all():
            store, *_ = next(rendezvous("env://", timeout=timedelta(seconds=timeout)))
            distributed.init_process_group(
                backend,
                store=_meeting_place(store, here, count, timeout),
                rank=here,
                world_size=count,
                timeout=timedelta(seconds=timeout),
            )
            patient = distributed.new_group(backend="gloo", timeout=PATIENCE)
        yield Workers(here, count, patient)
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _meeting_place(store: Any, here: int, count: int, timeout: float) -> Any:
    """A part of the store in which nobody wrote before all ranks of this attempt agreed on it.

    torchrun keeps one store over its restarts, in which addresses of processes that died still stand.  So every rank
    leaves a word that was never used; a place named by all words, in which all ranks have been, is of this attempt.
    """
    store.set(f"torchhebb/{here}", uuid4().hex)
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        words = [store.get(f"torchhebb/{other}").decode() for other in range(count)]
        place = distributed.PrefixStore("/".join(["torchhebb", *words]), store)
        place.set(f"rank {here}", "is here")
        if place.check([f"rank {other}" for other in range(count)]):
            return place
        time.sleep(0.02)
    raise RuntimeError(f"{count} processes did not come together in {timeout:.0f} s")


def from_first(value: T) -> T:
    """What rank 0 gives, on every rank that shares the batches: value itself without a process group."""
    return _from_first(value, None) if world() > 1 else value


def _from_first(value: T, group: Any) -> T:
    box = [value]
    with reaching_all():
        distributed.broadcast_object_list(box, 0, group=group)
    return box[0]


def own_part(batch: Tensor) -> Tensor:
    """This rank's slice of a batch that all ranks have: of about the same length, and empty where there are too few.

    >>> own_part(torch.arange(3)).tolist()
    [0, 1, 2]
    """
    return batch if world() == 1 else batch.tensor_split(world())[rank()]


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter], samples: int) -> None:
    """Put the mean over the ranks, sum_r n_r g_r / sum_r n_r, in the place of every .grad.

    A rank's g_r is a mean over its n_r samples, so the result is the mean over all of them: the update of the whole
    batch, which the optimizer may then normalise.  All of them travel in one message.

    Args: parameters, those without .grad left out, which must be the same on all ranks; samples, n_r, which may be 0.
    Raises LostWorker.
    """
    if world() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return
    count = gradients[0].new_ones(1, dtype=torch.promote_types(gradients[0].dtype, torch.float32))
    bucket = torch.cat([gradient.reshape(-1) for gradient in gradients] + [count])
    add_up(bucket.mul_(samples) if samples else bucket.zero_())  # a mean over no samples is not a number
    bucket /= bucket[-1].clone()
    parts = bucket[:-1].split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view(gradient.shape))


def check_synchronised(network: nn.Module) -> None:
    """Raise UserError, in a process group, for a batch norm that would see its own rank's slices alone."""
    if world() == 1:
        return
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not isinstance(module, BatchNorm2d):
            raise UserError(
                f"{name} is a {type(module).__name__} of one rank: use torchhebb.nn.BatchNorm2d or BatchNorm"
            )
