"""A run's learning once more: another rule, fewer images, another plan, and everything else as in the run."""

import torch

from torchhebb.data import Images
from torchhebb.evaluate.runs import Run
from torchhebb.nn import Architecture, Network
from torchhebb.train import Learning
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.learn import calibrate, learn_images


def built(run: Run, seed: int, architecture: Architecture | None = None) -> Network:
    """A network before it learned, on the run's device; of the run's architecture by default."""
    network = (architecture or run.recipe.architecture).build(seed)
    return network.to(run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def untrained(run: Run, seed: int, images: Images | None = None) -> Network:
    """The weights as drawn, batch norm calibrated on images (by default those of the run's training), in eval mode."""
    return calibrate(built(run, seed), run.data.train if images is None else images, seed=seed)


def learn_run(
    network: Network,
    run: Run,
    seed: int,
    *,
    images: Images | None = None,
    plan: Learning | None = None,
    checkpoint: Checkpoint | None = None,
    task: str = "learning",
) -> Network:
    """Train a network's plastic blocks as the run's were, in its precision and with its progress.

    Args: images, by default the run's training images, whose greedy inputs are then kept in the store; plan, by
    default the recipe's.  Returns the network, in eval mode.
    """
    return learn_images(
        network,
        run.data.train if images is None else images,
        run.recipe.learning if plan is None else plan,
        seed=seed,
        precision=run.precision,
        store=run.store if images is None else None,
        key=f"{run.data.fingerprint} in {run.precision}",
        checkpoint=checkpoint,
        task=task,
        progress=run.progress,
    )
