"""Communication between the processes that train one run; without a process group there is none.

Started by `torchrun --nproc-per-node N -m torchhebb train ...`, every process, a rank, holds the whole network and
learns from its slice of each batch; slices may differ in length, and one may be empty.  Gradients are averaged before
the optimizer normalises them, and layers whose update depends on the whole batch (batch norm, local losses) exchange
what they need, so a step on slices is the step on the whole batch.  Rank 0 alone reads and writes the run folder, fits
the readout and tests.
"""

import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from threading import Event, Thread
from typing import Any, TypeVar
from uuid import uuid4

import torch
from torch import Tensor, distributed, nn
from torch.distributed.rendezvous import rendezvous

from torchhebb.errors import UserError

__all__ = [
    "LostWorker",
    "ProcessGroup",
    "all_reduce",
    "average_gradients",
    "broadcast",
    "gather_rows",
    "joined",
    "local_shard",
    "no_sync",
    "planned",
    "rank",
    "world_size",
]

T = TypeVar("T")

SILENT_SECONDS = 60.0
"""A rank that is waited for, and gives no sign of life for so long, is lost."""
_NO_SYNC: ContextVar[bool] = ContextVar("no_sync", default=False)


class LostWorker(UserError):
    """A rank of the group no longer answers, so no step can be completed.

    >>> issubclass(LostWorker, UserError)  # the command line says it in one line
    True
    """


def world_size() -> int:
    """The number of ranks that share a batch: 1 without a process group, and in `no_sync()`.

    >>> world_size(), rank()
    (1, 0)
    """
    if _NO_SYNC.get() or not distributed.is_available() or not distributed.is_initialized():
        return 1
    return distributed.get_world_size()


def rank() -> int:
    """The rank of this process among those that share a batch.

    >>> rank()  # outside torchrun
    0
    """
    return 0 if world_size() == 1 else distributed.get_rank()


@contextmanager
def no_sync() -> Iterator[None]:
    """A context without communication, in which one rank computes on its own.

    >>> with no_sync():
    ...     world_size()
    1
    """
    token = _NO_SYNC.set(True)
    try:
        yield
    finally:
        _NO_SYNC.reset(token)


@contextmanager
def raising_lost_worker() -> Iterator[None]:
    """Turn the failure of a collective into a LostWorker error with a one-line message."""
    try:
        yield
    except RuntimeError as error:
        # "[/path/to/pair.cc:537] Read error [::1]:25819: Connection reset by peer. This is typically ..."
        reason = re.sub(r"\[[^]]*\.(cc|cpp|h):\d+\] *", "", str(error).strip().splitlines()[0]).split(". ")[0]
        raise LostWorker(
            f"another worker was lost or does not answer ({reason}); use --resume to continue from the last checkpoint"
        ) from error


def all_reduce(x: Tensor) -> Tensor:
    """The sum of x over the ranks, in place; every rank gets the same bits.

    >>> all_reduce(torch.tensor([1.0, 2.0]))  # of one process
    tensor([1., 2.])
    """
    if world_size() > 1:
        with raising_lost_worker():
            distributed.all_reduce(x)
    return x


def gather(x: Tensor) -> Tensor:
    """x (...) of every rank in their order: (ranks, ...).  All must be of one shape.  No gradient."""
    out = x.new_empty(world_size(), *x.shape)
    if world_size() == 1:
        return out.copy_(x.unsqueeze(0))
    with raising_lost_worker():
        distributed.all_gather(list(out.unbind(0)), x.contiguous())
    return out


def gather_rows(x: Tensor) -> Tensor:
    """The rows of all ranks, in the order of the ranks: (B_r, ...) -> (sum of B_r, ...).

    The gradient is correct if every rank computes the same scalar from the result: the gradient of a rank's own
    rows is then their slice of the incoming gradient, not its sum over the ranks.

    Without a process group it is x itself.

    >>> x = torch.ones(2, 3)
    >>> gather_rows(x) is x
    True
    """
    return x if world_size() == 1 else _GatherRows.apply(x)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        counts = gather(torch.tensor(len(x), device=x.device)).tolist()
        ctx.own = slice(sum(counts[: rank()]), sum(counts[: rank() + 1]))
        padded = x.new_zeros(max(counts), *x.shape[1:])
        padded[: len(x)] = x
        return torch.cat([part[:count] for part, count in zip(gather(padded), counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient[ctx.own]


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that share a run, from the view of one of them.  By default there is only one.

    >>> ProcessGroup().first, ProcessGroup().broadcast("run")
    (True, 'run')
    """

    rank: int = 0
    world_size: int = 1
    object_group: Any = None
    """The group for objects: of gloo, so that they use no GPU."""
    barrier: "HeartbeatBarrier | None" = None
    """Where ranks wait for each other before they exchange objects."""

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which reads and writes files, prints, trains the readout and tests."""
        return self.rank == 0

    def broadcast(self, value: T) -> T:
        """The value that rank 0 passes, on every rank.  Raises LostWorker."""
        if self.barrier is None:
            return value
        self.barrier.wait_for([0])
        return _broadcast(value, self.object_group)

    def wait(self) -> None:
        """Wait until every rank has called this, without a time limit.  Raises LostWorker."""
        if self.barrier is not None:
            self.barrier.wait_for(range(self.world_size))


class HeartbeatBarrier:
    """A barrier for long waits, as while rank 0 fits a readout, that tells a busy rank from a frozen or dead one.

    A thread of every rank counts in the store, its heartbeat.  A collective would wait for a frozen process as long as
    for a busy one, and cannot be cancelled.
    """

    def __init__(self, store: Any, here: int, count: int, timeout: float) -> None:
        self.store, self.here, self.timeout = store, here, min(timeout, SILENT_SECONDS)
        self.count = 0
        self.over = Event()
        Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        with suppress(RuntimeError):  # the store is gone, and with it all the others
            while not self.over.wait(min(1.0, self.timeout / 10)):
                self.store.add(f"heartbeat {self.here}", 1)

    def wait_for(self, ranks: Iterable[int]) -> None:
        """Say that this rank is here, and wait until those are."""
        with raising_lost_worker():
            self.count += 1
            self.store.set(f"barrier {self.count}, rank {self.here}", "")
            for other in ranks:
                self._wait_for_one(other)

    def _wait_for_one(self, other: int) -> None:
        heartbeat, until = None, 0.0
        while not self.store.check([f"barrier {self.count}, rank {other}"]):
            found = self.store.add(f"heartbeat {other}", 0)
            if found != heartbeat:
                heartbeat, until = found, time.monotonic() + self.timeout
            elif time.monotonic() > until:
                raise RuntimeError(f"rank {other} has given no sign of life for {self.timeout:g} s")
            time.sleep(0.02)


def planned() -> tuple[int, int]:
    """Rank and number of processes that torchrun started: (0, 1) without it.  Raises UserError for a broken set.

    >>> planned()  # outside torchrun
    (0, 1)
    """
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


@contextmanager
def joined(device: torch.device, *, timeout: float = 1800.0) -> Iterator[ProcessGroup]:
    """A context that joins the processes started by torchrun, with gloo on CPUs and NCCL on GPUs.

    Without torchrun it does nothing.

    Args: timeout, seconds after which a worker that does not answer is lost; one that died is found at once, or
    within a minute where others wait for it outside a step, as they do while rank 0 fits a readout.
    Raises LostWorker if they do not come together, UserError for a timeout that is not positive.

    >>> with joined(torch.device("cpu")) as workers:
    ...     workers.first, workers.broadcast("the same on all")
    (True, 'the same on all')
    """
    here, count = planned()
    if count == 1:
        yield ProcessGroup()
        return
    if not timeout > 0:
        raise UserError(f"worker_timeout must be positive, got {timeout}")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    barrier = None
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        with raising_lost_worker():
            store, *_ = next(rendezvous("env://", timeout=timedelta(seconds=timeout)))
            place = _meeting_place(store, here, count, timeout)
            distributed.init_process_group(
                backend,
                store=place,
                rank=here,
                world_size=count,
                timeout=timedelta(seconds=timeout),
            )
            group = distributed.new_group(backend="gloo", timeout=timedelta(seconds=timeout))
            barrier = HeartbeatBarrier(place, here, count, timeout)
        yield ProcessGroup(here, count, group, barrier)
    finally:
        if barrier is not None:
            barrier.over.set()
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _meeting_place(store: Any, here: int, count: int, timeout: float) -> Any:
    """A new prefix in the store, agreed on by all ranks of this attempt.

    torchrun keeps one store during its restarts, which still has the addresses of processes that died.  So every rank
    writes a word that was never used before, and the prefix is made of all words.
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
    raise RuntimeError(f"{count} processes did not connect within {timeout:.0f} s")


def broadcast(value: T) -> T:
    """The value of rank 0 on every rank; the value itself without a process group.

    >>> broadcast({"seed": 3})  # of one process
    {'seed': 3}
    """
    return _broadcast(value, None) if world_size() > 1 else value


def _broadcast(value: T, group: Any) -> T:
    box = [value]
    with raising_lost_worker():
        distributed.broadcast_object_list(box, 0, group=group)
    return box[0]


def local_shard(batch: Tensor) -> Tensor:
    """This rank's slice of a batch that all ranks have; slices have about the same length, and may be empty.

    >>> local_shard(torch.arange(3)).tolist()
    [0, 1, 2]
    """
    return batch if world_size() == 1 else batch.tensor_split(world_size())[rank()]


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter], samples: int) -> None:
    """Replace every .grad by the mean over the ranks, sum_r n_r g_r / sum_r n_r.

    A rank's g_r is a mean over its n_r samples, so the result is the mean over all of them: the update of the whole
    batch, which the optimizer may then normalise.  One all-reduce serves all parameters.

    Args: parameters, those without .grad left out, which must be the same on all ranks; samples, n_r, which may be 0.
    Raises LostWorker.

    >>> layer = nn.Linear(2, 1)
    >>> layer(torch.ones(4, 2)).mean().backward()
    >>> before = layer.weight.grad.clone()
    >>> average_gradients(layer.parameters(), samples=4)  # of one process nothing changes
    >>> torch.equal(layer.weight.grad, before)
    True
    """
    if world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return
    count = gradients[0].new_ones(1, dtype=torch.promote_types(gradients[0].dtype, torch.float32))
    bucket = torch.cat([gradient.reshape(-1) for gradient in gradients] + [count])
    all_reduce(bucket.mul_(samples) if samples else bucket.zero_())  # a mean over no samples is not a number
    bucket /= bucket[-1].clone()
    parts = bucket[:-1].split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view(gradient.shape))
