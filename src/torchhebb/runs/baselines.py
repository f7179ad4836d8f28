"""What stands beside a run in its evaluations: networks of the same size, trained with the same care, kept with it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from torchhebb.errors import UserError, unknown_name
from torchhebb.evaluate.methods.perturb import pgd
from torchhebb.nn import Architecture, LinearReadout, Network, load, save
from torchhebb.readouts.adam import fit_linear, fit_source
from torchhebb.rules import HardHebb, RankedHebb, Rule
from torchhebb.runs.networks import built, learn_run, untrained
from torchhebb.runs.run import Run
from torchhebb.train import Readout, Supervised
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.features import stored_features
from torchhebb.train.log import Log
from torchhebb.train.sources import FreshFeatures
from torchhebb.train.supervised import Perturb, backpropagation_model, fit_supervised

ContenderName = Literal["own", "hard", "ranked", "random", "backpropagation", "backpropagation_long", "adversarial"]

CONTENDERS: dict[ContenderName, str] = {
    "own": "this network",
    "hard": "hard WTA",
    "ranked": "ranked WTA",
    "random": "random weights",
    "backpropagation": "backpropagation",
    "backpropagation_long": "backpropagation, long",
    "adversarial": "adversarial training",
}
"""The words of figures and tables; `contender_label` knows more of a run's own network."""

LONG_EPOCHS = 10
ADVERSARIAL_EPS, ADVERSARIAL_STEPS = 0.2, 7
ADVERSARIAL_EPOCHS, ADVERSARIAL_BATCH = 5, 128


def contender(run: Run, seed: int, name: ContenderName) -> Network:
    """A network of the size of the run's, in eval mode on the run's device, its readout attached.

        own                    the run's network itself
        hard, ranked           its architecture with another rule, its plan of learning and its readout
        random                 its architecture as drawn, batch norm calibrated, its readout
        backpropagation        the same blocks with relu, end to end with labels, for the passes of the recipe
        backpropagation_long   the same for 10 passes over the labelled images
        adversarial            the same for 5 passes in batches of 128, on images moved by PGD within L-inf 0.2, 7 steps
                               (Madry et al. 2018)

    Trained at the first call, resumably, and kept in RUN/contenders/.
    Raises UserError for an unknown name, or another rule where blocks learn by local losses.
    """
    if name == "own":
        return run.network(seed)
    makers: dict[str, Callable[[Run, int, Checkpoint, str], Network]] = {
        "hard": partial(_other_rule, HardHebb()),
        "ranked": partial(_other_rule, RankedHebb(delta=0.1)),
        "random": _random,
        "backpropagation": partial(_supervised, {}, None),
        "backpropagation_long": partial(_supervised, {"epochs": LONG_EPOCHS}, None),
        "adversarial": partial(_supervised, {"epochs": ADVERSARIAL_EPOCHS, "batch_size": ADVERSARIAL_BATCH}, _attacked),
    }
    if name not in makers:
        raise unknown_name("contender", name, CONTENDERS)
    folder = run.folder / "contenders" / f"{name}-{seed}"
    path = folder / "model.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint = Checkpoint(folder, log=Log(folder / "metrics.jsonl"))
        save(makers[name](run, seed, checkpoint, f"seed {seed}: {CONTENDERS[name]}"), path)
    network = load(path)
    assert isinstance(network, Network)
    return network.to(run.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def check_contenders(names: Sequence[str]) -> None:
    """Raise UserError unless these are different contenders, one at least."""
    if unknown := [name for name in names if name not in CONTENDERS]:
        raise unknown_name("contender", unknown[0], CONTENDERS)
    if not names or len(set(names)) < len(names):
        raise UserError(f"contenders must be different names, one at least, got {', '.join(names)}")


def contender_label(run: Run, name: ContenderName) -> str:
    """The words for a contender in a figure; for the run's own network, what its first block learns by."""
    return learner(run.recipe.architecture) if name == "own" else CONTENDERS[name]


def learner(architecture: Architecture) -> str:
    """The words for what the first block of a network learns by."""
    return architecture.blocks[0].label


def prototypes(network: Network, shape: tuple[int, ...]) -> Tensor:
    """The weights of a single layer on pixels as images (K, C, H, W): what each neuron stands for."""
    return network.get_parameter("block1.layer.weight").detach().unflatten(1, shape)


def _other_rule(rule: Rule, run: Run, seed: int, checkpoint: Checkpoint, task: str) -> Network:
    architecture = run.recipe.architecture.with_blocks(lambda block: block.with_rule(rule))
    network = built(run, seed, architecture)
    learn_run(network, run, seed, checkpoint=checkpoint, task=f"{task}: learning")
    return _read_out(network, run, seed, checkpoint, task)


def _random(run: Run, seed: int, checkpoint: Checkpoint, task: str) -> Network:
    return _read_out(untrained(run, seed), run, seed, checkpoint, task)


def _read_out(network: Network, run: Run, seed: int, checkpoint: Checkpoint, task: str) -> Network:
    labels, classes, plan = run.data.train.labels, len(run.data.classes), run.recipe.readout
    if isinstance(plan, Readout) and plan.augment.active:
        source = FreshFeatures(
            network, run.data.train, plan.augment, plan.batch_size, seed, device=run.device, precision=run.precision
        )
        return network.attach(
            fit_source(
                source,
                classes,
                plan,
                seed=seed,
                checkpoint=checkpoint,
                task=f"{task}: readout",
                progress=run.progress,
            )
        )
    features = stored_features(
        network,
        run.data,
        "train",
        device=run.device,
        precision=run.precision,
        store=run.store,
        label=f"{task}: features",
        progress=run.progress,
    )
    task = f"{task}: readout"
    return network.attach(
        fit_linear(features, labels, classes, plan, seed=seed, checkpoint=checkpoint, task=task, progress=run.progress)
    )


def _supervised(
    changes: dict[str, Any], perturb: Perturb | None, run: Run, seed: int, checkpoint: Checkpoint, task: str
) -> Network:
    plan: Supervised = replace(run.recipe.supervised, **changes)
    model = backpropagation_model(run.recipe.architecture, len(run.data.classes), seed)
    model.to(run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    fit_supervised(
        model,
        run.data.train,
        plan,
        seed=seed,
        precision=run.precision,
        perturb=perturb,
        checkpoint=checkpoint,
        task=task,
        progress=run.progress,
    )
    return as_network(model)


def as_network(model: nn.Sequential) -> Network:
    """A trained backpropagation model as a frozen network with its last layer as the readout."""
    network, _, head = model
    assert isinstance(network, Network) and isinstance(head, nn.Linear)
    readout = LinearReadout(head.in_features, head.out_features)
    with torch.no_grad():
        readout.weight.copy_(head.weight)
        readout.bias.copy_(head.bias)
    return network.requires_grad_(False).attach(readout.eval()).eval()


def _attacked(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """Images of a batch moved against the model as it answers in eval mode."""
    model.eval()
    moved = pgd(model, x, labels, eps=ADVERSARIAL_EPS, norm="inf", steps=ADVERSARIAL_STEPS)
    model.train()
    return moved
