"""Preparation of a network from data: whitening, initial weights from patches, calibration of batch norm."""

import torch
from torch import nn

from torchhebb.data import Images, batches_of
from torchhebb.nn import BatchNorm, Network, init_from_data
from torchhebb.nn.learning import needs_data

CALIBRATION_IMAGES = 10_000
CALIBRATION_BATCH = 100


def init_from_images(part: nn.Sequential, inputs: Images, samples: int, seed: int, device: torch.device) -> None:
    """Initialise whitening and weights of init "patches", if there are any, from the first images of the pass."""
    if not any(needs_data(module) for module in part.modules()):
        return
    first = next(iter(batches_of(inputs, min(samples, len(inputs)), seed=seed, labelled=False, device=device).epoch(0)))
    init_from_data(part, first, torch.Generator().manual_seed(seed))


@torch.no_grad()
def calibrate(
    network: Network, images: Images, *, seed: int = 0, samples: int = 1000, learned: bool = False
) -> Network:
    """Set the running statistics of every batch norm to its average over some training images; weights are unchanged.

    Whitening is prepared from `samples` images, and so are weights of init "patches", which then are random patches.
    A network of random weights needs this to be a fair baseline.  A `learned` network keeps its whitening and
    its weights.  Returns the network, in eval mode.
    """
    device = next(network.parameters()).device
    if not learned:
        init_from_images(network.train(), images, samples, seed, device)
    norms = [module for module in network.modules() if isinstance(module, BatchNorm | nn.BatchNorm2d)]
    if not norms:
        return network.eval()
    momenta = [norm.momentum for norm in norms]
    network.eval()
    size = min(CALIBRATION_BATCH, len(images))
    batches = batches_of(images, size, seed=seed, labelled=False, device=device)
    for count, x in enumerate(batches.epoch(0), 1):
        if len(x) < size:
            break
        for norm in norms:
            norm.train().momentum = 1 / count
        network(x)
        if count * CALIBRATION_BATCH >= CALIBRATION_IMAGES:
            break
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return network.eval()
