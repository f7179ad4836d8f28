"""What the steps are measured on: images like CIFAR's, and a network at radii where few numbers are denormal."""

from collections.abc import Callable
from itertools import cycle

import torch
from plain import PlainNetwork
from torch import Tensor
from torch.nn import functional as F

from torchhebb.nn import Network
from torchhebb.ops.kernels import compiled_kernels
from torchhebb.recipes import get_recipe
from torchhebb.train import Learning
from torchhebb.train.device import Precision
from torchhebb.train.diagnostics import plastic_layers, radii
from torchhebb.train.fused import learning_step
from torchhebb.train.learn import make_optimizer
from torchhebb.train.numerics import choose_numerics

RECIPE = "softhebb2023-cifar10"
CLASSES = 10
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2434, 0.2616)
OCTAVES = (2, 4, 8, 16, 32)

Step = Callable[[], object]


def make_images(count: int, *, seed: int, device: torch.device) -> Tensor:
    """(count, 3, 32, 32) in [0, 1]: noise of five octaves, coarse ones strong as in photographs, CIFAR's mean and std.

    The channels share most of their noise, since colours of photographs are correlated.
    """
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(count, 3, 32, 32)
    for size in OCTAVES:
        shared = torch.randn(count, 1, size, size, generator=generator)
        own = torch.randn(count, 3, size, size, generator=generator)
        total += F.interpolate(shared + 0.3 * own, size=32, mode="bilinear", align_corners=False) / size
    total = (total - total.mean((0, 2, 3), keepdim=True)) / total.std((0, 2, 3), keepdim=True)
    images = total * torch.tensor(STD).view(-1, 1, 1) + torch.tensor(MEAN).view(-1, 1, 1)
    return images.clamp(0, 1).to(device)


def make_network(device: torch.device, *, seed: int = 0) -> Network:
    """The CIFAR-10 network of depth 3, placed as the training loop places it."""
    return place(get_recipe(RECIPE).architecture.build(seed), device)


def place(network: Network, device: torch.device) -> Network:
    """As `train/run.py` does."""
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def torchhebb_step(network: Network, batches: Tensor, precision: str, *, plan: Learning | None = None) -> Step:
    """The inner step of the training loop on the next of the batches (N, B, C, H, W); plan, that of SoftHebb-2023."""
    wanted: Precision = "bfloat16" if precision == "bfloat16" else "float32"
    stream = cycle(batches)
    step = learning_step(
        network,
        make_optimizer(network.train(), plan or Learning()),
        device=batches.device,
        precision=wanted,
        output=False,
    )
    return lambda: step(next(stream))


def measured_step(network: Network, batches: Tensor, precision: Precision, *, plan: Learning | None = None) -> Step:
    """`torchhebb_step` with the products and algorithms that a run of this precision measures to be fastest, by
    the threads of the caller."""
    plan = plan or Learning()
    numerics = choose_numerics(network, plan, precision, batches.device)
    step = torchhebb_step(network, batches, precision, plan=plan)
    if not numerics.convolutions and numerics.products == "torch":
        return step

    def applied() -> object:
        with numerics.applied():
            return step()

    return applied


def in_kernels(call: Step) -> Step:
    """The same call with its chains compiled."""

    def compiled() -> object:
        with compiled_kernels():
            return call()

    return compiled


@torch.no_grad()
def settle(network: Network, learn: Step, *, steps: int, radius: float) -> None:
    """Some learning steps, then every layer scaled to a mean radius between a run's first and the fixed point 1.

    At the radii that a run starts with, the softmax is full of denormal numbers, and these decide the time.
    """
    for _ in range(steps):
        learn()
    for layer in plastic_layers(network).values():
        layer.weight.mul_(radius / radii(layer).mean())


def plain_step(network: Network, batches: Tensor) -> Step:
    """The same step of the plain network that starts from the same weights."""
    plain = PlainNetwork(network).train()
    stream = cycle(batches)
    return lambda: plain.learn(next(stream))


def mean_radii(network: Network) -> dict[str, float]:
    """The mean radius of every layer."""
    return {name: radii(layer).mean().item() for name, layer in plastic_layers(network).items()}
