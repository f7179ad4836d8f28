"""What a learning step should cost: arithmetic, bytes and communication, on one device or on many.

    python benchmarks/cost_model.py

A step of one device takes   operations / matrix rate + bytes / bandwidth,   and, with n devices that average what their
blocks leave in .grad by a ring, 2 (n - 1) / n times the bytes of the weights over the slowest link of the ring on top.
Nothing overlaps.  The parts of a prediction are known apart, so that the largest one, the bottleneck, can be named.
On a CPU the operations are those that are left after Winograd's filtering.  Figures of GPUs are data sheets times the
share of the matrix rate that is assumed below: predictions, of which nothing was run.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness import RESULTS

from torchhebb.functional.plasticity import pair
from torchhebb.nn import Architecture, ConvBlock
from torchhebb.ops.conv_algorithms import WINOGRAD_CHANNELS, best_tile
from torchhebb.recipes import softhebb2023_networks as networks
from torchhebb.train import read_result

FLOAT = 4
# How often the tensors of a block are read or written, counted in `nn/conv.py`, `rules.py`, `optim.py`.
U_PASSES = 23  # u and what has its shape: product, competition, decay, statistic, triangle, pool
W_PASSES = 10  # weights: transform; statistic written; decay taken off; largest entry twice; radius; step
X_PASSES = 10  # the input: statistics, norm, padding, tiles
IMAGES = 1_281_167
SHARE_LEARNED = 0.1  # of ImageNet, in the unsupervised phase of SoftHebb-2023
BATCH = 10
GPUS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Machine:
    """Rates of one device, and of the links between them."""

    name: str
    matrix: float  # floating-point operations a second that a large product reaches
    bandwidth: float  # bytes a second from and to memory
    link: float = math.inf  # bytes a second in one direction between devices of one node
    network: float = math.inf  # the same between nodes, for each device
    per_node: int = 1
    winograd: bool = False


# NVIDIA's data sheet of the H100 SXM: 989 TFLOP/s in bfloat16, 3.35 TB/s, NVLink 450 GB/s a direction; half of the
# matrix rate is assumed, and a 400 Gbit/s port for each GPU.
H100 = Machine("H100", 0.5 * 989e12, 3.35e12, link=450e9, network=50e9, per_node=8)


@dataclass(frozen=True)
class Cost:
    """Seconds of a step by what takes them."""

    arithmetic: float
    memory: float
    communication: float

    @property
    def seconds(self) -> float:
        return self.arithmetic + self.memory + self.communication

    @property
    def bottleneck(self) -> str:
        """The largest part."""
        parts = {"arithmetic": self.arithmetic, "memory": self.memory, "communication": self.communication}
        return max(parts, key=parts.__getitem__)


@dataclass(frozen=True)
class Layer:
    """Sizes of one block's layer, for one image."""

    weights: int
    inputs: int  # numbers in x, and in u below
    outputs: int
    channels: tuple[int, int]
    kernel_size: int
    side: tuple[int, int]
    dense: bool  # neither stride nor dilation

    @property
    def operations(self) -> float:
        """Of a direct convolution: two for every multiplication."""
        return 2.0 * self.weights * self.side[0] * self.side[1]

    def share(self, batch: int) -> float:
        """Of the multiplications that Winograd's filtering leaves on a CPU."""
        if self.kernel_size != 3 or not self.dense or min(self.channels) < WINOGRAD_CHANNELS:
            return 1.0
        tile = best_tile(batch, self.side)
        if tile is None:
            return 1.0
        tiles = math.prod(-(-side // tile) for side in self.side)
        return tiles * (tile + 2) ** 2 / (9 * math.prod(self.side))


def layers_of(architecture: Architecture) -> list[Layer]:
    """The layers from the input up.  Raises ValueError for a block that is not a dense ConvBlock."""
    channels, *side = architecture.input_shape
    found = []
    for block in architecture.blocks:
        if not isinstance(block, ConvBlock) or block.groups != 1:
            raise ValueError(f"blocks must be dense ConvBlocks, got {block}")
        inputs = channels * math.prod(side)
        kernel, padding = block.kernel_size, block.padding
        padding = block.dilation * (kernel // 2) if padding is None else padding
        side = [(s + 2 * padding - block.dilation * (kernel - 1) - 1) // block.stride + 1 for s in side]
        weights = block.channels * channels * kernel**2
        sizes, dense = (channels, block.channels), block.stride == block.dilation == 1
        outputs = block.channels * math.prod(side)
        found.append(Layer(weights, inputs, outputs, sizes, kernel, (side[0], side[1]), dense))
        channels = block.channels
        if (pool := block.pool) is not None:
            size, stride, edge = (pair(value)[0] for value in (pool.kernel_size, pool.stride, pool.padding))
            side = [(s + 2 * edge - size) // stride + 1 for s in side]
    return found


def step_cost(architecture: Architecture, batch: int, machine: Machine, devices: int = 1) -> Cost:
    """One learning step, `batch` images on each device: u and the statistic are as many operations."""
    layers = layers_of(architecture)
    operations = sum(2 * batch * x.operations * (x.share(batch) if machine.winograd else 1.0) for x in layers)
    numbers = sum(batch * (U_PASSES * x.outputs + X_PASSES * x.inputs) + W_PASSES * x.weights for x in layers)
    weights = sum(x.weights for x in layers)
    return Cost(
        operations / machine.matrix,
        FLOAT * numbers / machine.bandwidth,
        ring(FLOAT * weights, devices, machine),
    )


def ring(size: float, devices: int, machine: Machine) -> float:
    """Seconds of an all-reduce of `size` bytes in a ring, whose slowest link decides.

    >>> ring(1e9, 1, H100), ring(1e9, 2, Machine("", 1.0, 1.0, link=1e9, per_node=2))
    (0.0, 1.0)
    """
    slowest = machine.link if devices <= machine.per_node else min(machine.link, machine.network)
    return 2 * (devices - 1) / devices * size / slowest


def imagenet() -> Architecture:
    """SoftHebb-2023's network of depth 5 at 160 x 160."""
    return networks.imagenet(5)


def predictions() -> list[tuple[str, ...]]:
    """The unsupervised phase on 1 to 64 GPUs: a tenth of ImageNet, 10 images on each."""
    rows: list[tuple[str, ...]] = [
        ("GPUs", "step, ms", "arithmetic", "memory", "communication", "bottleneck", "steps", "pass, s", "speed-up")
    ]
    alone = 0.0
    for devices in GPUS:
        cost = step_cost(imagenet(), BATCH, H100, devices)
        steps = math.ceil(SHARE_LEARNED * IMAGES / (BATCH * devices))
        alone = alone or steps * cost.seconds
        parts = (cost.seconds, cost.arithmetic, cost.memory, cost.communication)
        times = [f"{1e3 * part:.1f}" for part in parts]
        spent = steps * cost.seconds
        rows.append((str(devices), *times, cost.bottleneck, f"{steps:,}", f"{spent:.0f}", f"{alone / spent:.1f}"))
    return rows


def checked(results: Path = RESULTS) -> list[tuple[str, ...]]:
    """Predicted against measured steps on the CPU, from results/bench; empty where they are not there."""
    from bench_cost import Point, make_architecture

    path = results / "bench" / "cost-cpu.json"
    if not path.exists():
        return []
    result = read_result(path)
    rates: Mapping[str, float] = result.notes["rates"]
    machine = Machine("CPU", 1e9 * rates["matrix_gflops"], 1e9 * rates["bandwidth_gbytes"], winograd=True)
    rows: list[tuple[str, ...]] = [("step", "predicted, ms", "measured, ms", "predicted / measured", "bottleneck")]
    for fields in result.notes["points"]:
        point = Point(**fields)
        cost = step_cost(make_architecture(point), point.batch, machine)
        measured = result.notes["summaries"][f"torchhebb, {point}"]["median"]
        predicted = 1e3 * cost.seconds
        rows.append((str(point), f"{predicted:.1f}", f"{measured:.1f}", f"{predicted / measured:.2f}", cost.bottleneck))
    return rows


if __name__ == "__main__":
    for table in (predictions(), checked()):
        for row in table:
            print("  ".join(cell.rjust(14) for cell in row))
        print()
