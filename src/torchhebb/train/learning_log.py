"""Logging of learning: radii, win rates and local losses of every layer."""

import time
from dataclasses import asdict

import torch

from torchhebb.distributed import rank
from torchhebb.nn import Network, as_local_loss
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.diagnostics import diagnose

DIAGNOSTICS_PER_STAGE = 20
DIAGNOSTIC_IMAGES = 64


def log_diagnostics(
    checkpoint: Checkpoint,
    network: Network,
    sample: torch.Tensor,
    clock: "Clock",
    task: str,
    stage: int,
    samples: int,
) -> None:
    """Log the state of the layers of a network after this many samples, with win rates on the images `sample`."""
    if rank() > 0:  # all ranks have the same weights, so one logs them
        return
    speed = clock.samples_per_second(samples)
    for layer in diagnose(network, sample):
        numbers = {**asdict(layer), "samples_per_second": speed}
        checkpoint.log.write(kind="learning", task=task, stage=stage, samples=samples, **numbers)
    for name, block in network.named_modules():
        local = as_local_loss(block)
        if local is not None and local.last_loss is not None:
            loss = {"name": name, "loss": local.last_loss.item(), "samples_per_second": speed}
            checkpoint.log.write(kind="local", task=task, stage=stage, samples=samples, **loss)


class Clock:
    """Speed since it was last asked; the one part of a log that differs from run to run."""

    def __init__(self, samples: int) -> None:
        self.samples, self.time = samples, time.monotonic()

    def samples_per_second(self, samples: int) -> float | None:
        """None before any sample was seen."""
        seen, elapsed = samples - self.samples, time.monotonic() - self.time
        self.samples, self.time = samples, time.monotonic()
        return round(seen / elapsed, 1) if seen else None
