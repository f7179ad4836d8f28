"""Two processes that learn as one: how they are started, and what both of them, and one process alone, are asked to do.

Every case gives tensors by name, from its slices under two ranks and from whole batches alone: the same code.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import replace
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import datasets
import torch
from torch import Tensor, distributed, nn

import torchhebb.report
import torchhebb.runs.training
from tests.data import made
from tests.tiny import FLAGS, digits, few_digits, state
from tests.watch import Stop, Watch, stop_after
from torchhebb import learn
from torchhebb.cli import main
from torchhebb.data import Augment, Store, Stream, StreamBatches, load_data
from torchhebb.distributed import (
    LostWorker,
    average_gradients,
    gather_rows,
    joined,
    local_shard,
    no_sync,
    rank,
    world_size,
)
from torchhebb.functional import orthogonality_loss, structure_loss
from torchhebb.nn import (
    Architecture,
    BatchNorm,
    BatchNorm2d,
    ConvBlock,
    LinearBlock,
    LocalLossBlock,
    Pool,
    SPHeReConvBlock,
)
from torchhebb.nn.norm import check_synchronised
from torchhebb.optim import NormAdaptiveSGD
from torchhebb.process import tune_process
from torchhebb.rules import RankedHebb, SoftHebb
from torchhebb.train import Learning
from torchhebb.train.calibrate import calibrate
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.learn import learn_images
from torchhebb.train.online import OnlineReadout
from torchhebb.train.recipe import AdamW
from torchhebb.train.sharded_batches import ShardedBatches

Tensors = dict[str, Tensor]

# New processes are forked from one that has imported all of this.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.pair", "tests.tiny", "sklearn.datasets"])

RAGGED = (10, 7, 1, 4)  # batches that two do not divide, and one that leaves a rank without a sample

SOFTHEBB = Architecture(
    (1, 6, 6),
    (
        ConvBlock(4, 3, SoftHebb(1.0), power=0.7, init_radius=3.0, lr=0.08),
        ConvBlock(8, 3, SoftHebb(0.65, rectify=True), pool=Pool("max", 2, 2), groups=2, init_radius=3.0, lr=0.01),
        ConvBlock(6, 3, RankedHebb(), init_radius=3.0, lr=0.01),
        LinearBlock(5, SoftHebb(0.5), bias=True, bias_lr=1e-3, normalize=False, init_radius=3.0, lr=0.02),
    ),
)
SPHERE = Architecture(
    (2, 8, 8), (SPHeReConvBlock(6, projection=5), SPHeReConvBlock(10, projection=7, residual=True)), feature_pool=1
)


def agent() -> distributed.TCPStore:
    """The store in which the processes find each other, kept over restarts, as torchrun's is; hold on to it."""
    return distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def start_pair(store: distributed.TCPStore, target: Callable[..., None], *arguments: Any) -> list[BaseProcess]:
    """Both ranks of a group of two, each doing target(*arguments)."""
    processes: list[BaseProcess] = []
    for number in range(2):
        processes.append(CONTEXT.Process(target=_enter, args=(number, store.port, target, arguments)))
        processes[-1].start()
    return processes


def _enter(number: int, port: int, target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_MAX_RESTARTS": "1"}
    target(*arguments)


def answer(folder: Path) -> None:
    """Work through all cases on a rank and keep what came out; then the second rank dies."""
    with joined(torch.device("cpu"), timeout=60.0) as workers:
        found: dict[str, Any] = {name: case() for name, case in CASES.items()}
        found["workers"] = [workers.rank, workers.world_size, rank(), world_size(), workers.broadcast(workers.rank + 7)]
        torch.save(found, folder / f"rank-{workers.rank}.pt")
        workers.wait()
        if workers.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            average_gradients(gradients_of_ones(), 1)
        except LostWorker as error:
            (folder / "lost").write_text(str(error))


def gradients_of_ones() -> list[nn.Parameter]:
    parameter = nn.Parameter(torch.zeros(3))
    parameter.grad = torch.ones(3)
    return [parameter]


def random(*shape: int, seed: int = 5, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def steps(architecture: Architecture, dtype: torch.dtype, count: int) -> Tensors:
    """All that is learned in some steps on ragged batches, the last updates and the last losses."""
    network = architecture.build(3).to(dtype, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    if architecture is SPHERE and dtype == torch.float32:
        # AdamW divides by the size of a gradient: where it is 0 but for rounding, rounding would choose the direction.
        optimizer: Any = torch.optim.SGD(network.parameters(), lr=0.1)
    elif architecture is SPHERE:
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.05)
    else:
        optimizer = NormAdaptiveSGD(network.learning_groups())
    images, order = random(64, *architecture.input_shape, dtype=dtype), torch.Generator().manual_seed(6)
    for step in range(count):
        batch = images[torch.randperm(64, generator=order)[: RAGGED[step % len(RAGGED)]]]
        optimizer.zero_grad()
        learn(network, local_shard(batch))
        average_gradients(network.parameters(), len(local_shard(batch)))
        optimizer.step()
    found = state(network)
    found |= {f"{name}.grad": parameter.grad for name, parameter in network.named_parameters()}  # type: ignore[misc]
    losses = {n: block.last_loss for n, block in network.named_modules() if isinstance(block, LocalLossBlock)}
    return found | {f"{name}.loss": loss for name, loss in losses.items() if loss is not None}


def norm(kind: Callable[..., nn.Module], shape: tuple[int, ...], **options: Any) -> Tensors:
    """Output, gradient, running statistics of a batch norm after a ragged, a tiny and a single batch, far from 0."""
    layer = kind(shape[1], **options).double()
    for name, parameter in layer.named_parameters():
        nn.init.uniform_(parameter, 0.5, 2.0, generator=torch.Generator().manual_seed(len(name)))
    found: Tensors = {}
    single = (1, shape[1], *[1] * len(shape[2:]))
    for number, batch in enumerate((shape, (1 if len(shape) > 2 else 2, *shape[1:]), single)):
        x = local_shard(random(*batch, seed=number) * 3 + 100).requires_grad_()
        y = layer(x)
        pulled = local_shard(random(*batch, seed=8))
        (y * pulled).sum().backward()
        assert x.grad is not None
        found |= {f"y{number}": gather_rows(y.detach()), f"dx{number}": gather_rows(x.grad)}
    for name, parameter in layer.named_parameters():  # each rank holds its part of the sum
        parameter.grad = parameter.grad * world_size() if parameter.grad is not None else None
        average_gradients([parameter], 1)
        found[f"d{name}"] = parameter.grad  # type: ignore[assignment]
    return found | state(layer)


def gram_gradient(count: int) -> Tensors:
    """Value and gradient to the rows of the losses that compare all samples with each other."""
    x, z = local_shard(random(count, 6)), local_shard(random(count, 3, seed=9)).requires_grad_()
    value = structure_loss(gather_rows(x), gather_rows(z)) + orthogonality_loss(gather_rows(z))
    value.backward()
    assert z.grad is not None
    return {"value": value.detach(), "gradient": gather_rows(z.grad)}


def averaged() -> Tensors:
    """The weighted mean of what two slices of three samples hold, and of one that holds all beside one without any."""
    found: Tensors = {}
    for count in (3, 1):
        values = random(count, 4)
        first, second = nn.Parameter(torch.zeros(4).double()), nn.Parameter(torch.zeros(2, 2).float())
        idle = nn.Parameter(torch.zeros(1))
        mine = local_shard(values)
        first.grad, second.grad = mine.mean(0), mine.float().mean(0).view(2, 2)
        average_gradients([first, idle, second], len(mine))
        assert idle.grad is None
        found |= {f"first{count}": first.grad, f"second{count}": second.grad.double()}
    return found


def images(order: Any, **changes: Any) -> Tensors:
    """`learn_images` on 13 digits in batches of 6: the last is of one."""
    network = replace(SOFTHEBB, input_shape=(1, 8, 8)).build(1)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as runs place it
    plan = Learning(**{"batch_size": 6, "epochs": 2, "order": order, **changes})
    watch = Watch()
    return state(learn_images(network, digits(13), plan, seed=2, progress=watch)) | {"seen": torch.tensor(watch.done())}


def online() -> Tensors:
    """Blocks of local losses and the readout beside them."""
    network = replace(SPHERE, input_shape=(1, 8, 8)).build(1)
    plan = Learning(batch_size=6, epochs=1, optimizer=AdamW())
    beside = OnlineReadout(network, (1, 8, 8), 10, AdamW(), seed=0)
    learn_images(network, digits(13), plan, online=beside)
    return state(beside.readout)


@contextmanager
def stream() -> Iterator[Stream]:
    """120 images in shards, of which two ranks get 60 each."""
    before = datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN
    datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN = 0
    try:
        with tempfile.TemporaryDirectory() as folder:
            made.imagenet(Path(folder))
            data = load_data("imagenet", data_dir=folder, size=16, store=Store(Path(folder) / "store"))
            assert isinstance(data.train, Stream)
            yield data.train
    finally:
        datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN = before


def streamed() -> Tensors:
    """`learn_images` where each of two ranks reads rows of its own; alone, a loop over what both read, put together.

    60 rows in batches of 14 / 2: the last is of 4 a rank.
    """
    network = replace(SOFTHEBB, input_shape=(3, 16, 16)).build(1)
    seed, views = 2, Augment(flip=True, crop_area=0.5)
    plan = Learning(batch_size=14, epochs=2, augment=views)
    with stream() as images:
        if world_size() > 1:
            return state(learn_images(network, images, plan, seed=seed))
        optimizer = NormAdaptiveSGD(network.train().learning_groups())
        parts = [
            StreamBatches(images, 7, seed, augment=views, labelled=False, rank=number, world=2) for number in range(2)
        ]
        for epoch in range(2):
            for both in zip(*(part.epoch(epoch) for part in parts), strict=True):
                learn(network, torch.cat(both))
                optimizer.step()
                optimizer.zero_grad()
    return state(network)


def stream_in(batch_size: int) -> None:
    """Batches of 120 streamed images."""
    with stream() as images:
        ShardedBatches(images, batch_size, seed=0, augment=Augment(), device=torch.device("cpu"))


def by_itself() -> Tensors:
    """What rank 0 does while the other one does nothing: batch norm in train mode included."""
    if rank() > 0:
        return {}
    with no_sync():
        return state(calibrate(replace(SOFTHEBB, input_shape=(1, 8, 8)).build(1), digits(13)))


def refusals() -> Tensors:
    """Which of two networks may not learn on several ranks, and which batches of a stream cannot be shared."""
    asked = {
        "foreign": lambda: check_synchronised(nn.Sequential(nn.BatchNorm1d(3))),
        "ours": lambda: check_synchronised(nn.Sequential(BatchNorm2d(3), BatchNorm(3))),
        "pipeline": lambda: images("pipeline", epochs=0),
        "odd stream": partial(stream_in, 7),
        "whole stream": partial(stream_in, 120),
        "short stream": partial(stream_in, 122),
        "untracked": lambda: BatchNorm2d(3, track_running_stats=False)(torch.ones(2, 3, 2, 2)),
    }
    return {name: torch.tensor(_refused(ask)) for name, ask in asked.items()}


def _refused(ask: Callable[[], Any]) -> bool:
    try:
        ask()
    except ValueError:
        return True
    return False


def resumed(order: Any) -> Tensors:
    """A run stopped after 30 images, taken up by networks that start elsewhere: rank 0's checkpoint counts."""
    architecture, plan = replace(SOFTHEBB, input_shape=(1, 8, 8)), Learning(batch_size=6, epochs=4, order=order)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) if rank() == 0 else None
        with suppress(Stop):
            learn_images(architecture.build(1), digits(13), plan, checkpoint=eager(place), progress=stop_after(31))
        found = learn_images(architecture.build(2 + rank()), digits(13), plan, checkpoint=eager(place))
    return {name: tensor for name, tensor in state(found).items()} | {
        f"whole {name}": tensor - found.state_dict()[name]
        for name, tensor in state(learn_images(architecture.build(1), digits(13), plan)).items()
    }


def eager(folder: Path | None) -> Checkpoint:
    return Checkpoint(folder, interval=0.0)


def train(folder: Path, *flags: str) -> None:
    """`torchrun -m torchhebb train` on one rank; what it says goes to a file beside the run folder."""
    tune_process()
    os.environ["TORCHHEBB_STORE"] = str(folder.parent / "store")
    torchhebb.runs.training.load_data = lambda *_, **__: few_digits()
    torchhebb.report.write_report = lambda *_, **__: folder / "report.html"  # type: ignore[assignment]
    said = folder.parent / f"said-{os.environ['RANK']}"
    with open(said, "a") as file, redirect_stdout(file), redirect_stderr(file):
        code = main(["train", "softhebb2023-digits", *FLAGS, *flags])
    sys.exit(code)


CASES: dict[str, Callable[[], Tensors]] = {
    "softhebb float64": partial(steps, SOFTHEBB, torch.float64, 50),
    "sphere float64": partial(steps, SPHERE, torch.float64, 50),
    "softhebb float32": partial(steps, SOFTHEBB, torch.float32, 1),
    "sphere float32": partial(steps, SPHERE, torch.float32, 1),
    "norm of maps": partial(norm, BatchNorm, (5, 3, 4, 4)),
    "norm of vectors": partial(norm, BatchNorm, (5, 3)),
    "norm with affine": partial(norm, BatchNorm2d, (5, 3, 4, 4)),
    "norm of all batches": partial(norm, BatchNorm2d, (5, 3, 4, 4), momentum=None, affine=False),
    "gram of 5": partial(gram_gradient, 5),
    "gram of 1": partial(gram_gradient, 1),
    "averaged": averaged,
    "joint": partial(images, "joint"),
    "greedy": partial(images, "greedy"),
    "resumed joint": partial(resumed, "joint"),
    "resumed greedy": partial(resumed, "greedy"),
    "online": online,
    "streamed": streamed,
    "by itself": by_itself,
    "refusals": refusals,
}
