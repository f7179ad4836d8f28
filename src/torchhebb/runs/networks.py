"""A run's learning once more: another rule, fewer images, another plan, and everything else as in the run."""

import torch

from torchhebb.data import Images
from torchhebb.nn import Architecture, Network
from torchhebb.runs.run import Run
from torchhebb.train import Learning
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.chosen import choice_key, chosen_images
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

    Args: images, by default those that the plan chooses of the run's data, whose greedy inputs are then kept in the
    store; plan, by default the recipe's.  Returns the network, in eval mode.
    """
    plan = run.recipe.learning if plan is None else plan
    key, store = choice_key(run.data, plan, seed, run.precision), run.store if images is None else None
    if images is None:
        images, plan = chosen_images(run.data, plan, seed)
    return learn_images(
        network,
        images,
        plan,
        seed=seed,
        precision=run.precision,
        store=store,
        key=key,
        checkpoint=checkpoint,
        task=task,
        progress=run.progress,
    )
