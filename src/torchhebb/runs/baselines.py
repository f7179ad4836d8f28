"""The table of baselines: networks of the same size, trained with the same effort and saved with the run."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from torchhebb.config import to_json, to_key
from torchhebb.data import Stream
from torchhebb.errors import UserError, unknown_name
from torchhebb.nn import Architecture, Block, LinearReadout, Network, load, save
from torchhebb.readouts.adam import fit_source
from torchhebb.readouts.base import readout_accuracy
from torchhebb.rules import HardHebb, RankedHebb, Rule
from torchhebb.runs.networks import (
    Workspace,
    built,
    built_for_backpropagation,
    frozen_features,
    learn_run,
    placed,
    untrained,
)
from torchhebb.runs.run import Run
from torchhebb.train import Readout
from torchhebb.train.accuracy import model_accuracy
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.log import Log
from torchhebb.train.perturb import pgd
from torchhebb.train.sources import FreshFeatures
from torchhebb.train.supervised import Perturb, fit_supervised

BaselineName = Literal["own", "hard", "ranked", "random", "backpropagation", "backpropagation_long", "adversarial"]

LONG_EPOCHS = 10
ADVERSARIAL_EPS, ADVERSARIAL_STEPS = 0.2, 7
ADVERSARIAL_EPOCHS, ADVERSARIAL_BATCH = 5, 128


@dataclass(frozen=True)
class Baseline:
    """A baseline: make(run, seed, checkpoint, task) returns the network in eval mode, and the readout that is its own.

    Without one of its own it gets the recipe's readout, where one is asked for.
    """

    label: str
    make: Callable[[Workspace, int, Checkpoint, str], Network]
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What it depends on besides the recipe and the data, as JSON holds it."""
    accuracy: Callable[[Workspace, Network, str], float] | None = None
    """How its test accuracy in % is computed; by default from frozen features, as that of the run's own network."""
    kept: bool = True


def baseline_accuracy(run: Workspace, seed: int, name: str, checkpoint: Checkpoint, task: str) -> float:
    """Make a baseline during training of its run, save it with the run, and return its test accuracy in %."""
    baseline = BASELINES[name]
    network = _read_out(baseline.make(run, seed, checkpoint, task), run, seed, checkpoint, task)
    if baseline.kept:
        path = _path(run, seed, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        save(network, path)
    return accuracy_of(run, name, network, task)


def accuracy_of(run: Workspace, name: str, network: Network, task: str) -> float:
    """Test accuracy in % of a baseline that was made; from frozen features where it learned without labels."""
    return (BASELINES[name].accuracy or network_accuracy)(run, network, task)


def baseline(run: Run, seed: int, name: BaselineName, *, readout: bool = True) -> Network:
    """A network of the size of the run's, in eval mode on the run's device, its readout attached.

    Without `readout` none is trained, for what asks for weights or maps alone, and the network may come without.

        own                    the run's network itself
        hard, ranked           its architecture with another rule, its learning plan and its readout
        random                 its initial weights, with calibrated batch norm and its readout
        backpropagation        the same blocks with relu, end to end with labels, for the passes of the recipe
        backpropagation_long   the same for 10 passes over the labelled images
        adversarial            the same for 5 passes in batches of 128, on images moved by PGD within L-inf 0.2, 7 steps
                               (Madry et al. 2018)

    A baseline that was trained with the run is reused; others are trained at the first call, resumably, and saved in
    RUN/baselines/ under a name that depends on their settings.
    Raises UserError for an unknown name, or another rule where blocks learn by local losses.
    """
    if name == "own":
        return run.network(seed)
    if name not in COMPARED:
        raise unknown_name("baseline", name, COMPARED)
    made, path = BASELINES[name], _path(run, seed, name)
    network = _kept(run, path) if path.exists() else None
    if network is not None and (network.readout is not None or not readout):
        return network
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint, task = Checkpoint(path.parent, log=Log(path.with_name("metrics.jsonl"))), f"seed {seed}: {made.label}"
    network = network or made.make(run, seed, checkpoint, task)
    save(_read_out(network, run, seed, checkpoint, task) if readout else network, path)
    return _kept(run, path)


def _kept(run: Run, path: Path) -> Network:
    network = load(path)
    assert isinstance(network, Network)
    return placed(network, run.device).eval()


def baseline_architecture(run: Workspace, name: BaselineName) -> Architecture:
    """The run's blocks, with the rule of a baseline of another rule, or in the form that learns by gradients."""
    architecture = run.recipe.architecture
    if name in GRADIENTS:
        return architecture.with_blocks(lambda block: block.for_gradients())
    return architecture.with_blocks(partial(_with_rule, RULES[name])) if name in RULES else architecture


def check_baselines(names: Sequence[str], architecture: Architecture) -> None:
    """Raise UserError for a baseline for which the blocks have no form."""
    for name in names:
        try:
            if name in RULES:
                architecture.with_blocks(partial(_with_rule, RULES[name]))
            elif name in GRADIENTS:
                architecture.with_blocks(lambda block: block.for_gradients())
        except UserError as error:
            raise UserError(f"baselines must leave out {name}: {error}") from None


def baseline_label(run: Run, name: BaselineName) -> str:
    """The label of a baseline in a figure; for the run's own network, the learning rule of its first block."""
    return learner(run.recipe.architecture) if name == "own" else COMPARED[name]


def learner(architecture: Architecture) -> str:
    """The name of the learning rule of the first block of a network."""
    return architecture.blocks[0].label


def fit_readout(network: nn.Module, run: Workspace, seed: int, checkpoint: Checkpoint, task: str) -> nn.Module:
    """The recipe's readout on the frozen features of a network."""
    plan = run.recipe.readout
    if isinstance(plan, Readout) and takes_fresh_features(run):
        return _fit_fresh(network, run, seed, checkpoint, task, plan)
    assert isinstance(network, Network)
    features = frozen_features(network, run, "train", f"{task.split(':')[0]}: train features")
    labels, classes = run.data.train.labels, len(run.data.classes)
    kept = {"resume": checkpoint, "task": task, "progress": run.progress}
    return plan.fit(features, labels, classes, seed=seed, **kept).readout  # type: ignore[arg-type]


def takes_fresh_features(run: Workspace) -> bool:
    """Whether features are not cached: each epoch of the readout augments images, or there are too many images."""
    plan = run.recipe.readout
    return isinstance(run.data.train, Stream) or (isinstance(plan, Readout) and plan.augment.active)


def network_accuracy(run: Workspace, network: Network, task: str) -> float:
    """Test accuracy of a network's readout, in %."""
    readout = network.readout
    assert readout is not None
    if takes_fresh_features(run):
        return model_accuracy(network, run.data.test, readout=readout, device=run.device, precision=run.precision)
    features = frozen_features(network, run, "test", f"{task.split(':')[0]}: test features")
    return readout_accuracy(readout, features, run.data.test.labels)


def _fit_fresh(
    network: nn.Module, run: Workspace, seed: int, checkpoint: Checkpoint, task: str, plan: Readout
) -> LinearReadout:
    where = {"device": run.device, "precision": run.precision}
    source = FreshFeatures(network, run.data.train, plan.augment, plan.batch_size, seed, **where)  # type: ignore[arg-type]
    classes = len(run.data.classes)
    return fit_source(source, classes, plan, seed=seed, resume=checkpoint, task=task, progress=run.progress)


def _random(run: Workspace, seed: int, checkpoint: Checkpoint, task: str) -> Network:
    return untrained(run, seed)


def _uncalibrated(run: Workspace, seed: int, checkpoint: Checkpoint, task: str) -> Network:
    return built(run, seed).eval()


def _raw(run: Workspace, seed: int, checkpoint: Checkpoint, task: str) -> Network:
    # A linear map of so few pixels needs no dropout, and more steps to converge.
    plan = run.recipe.readout
    if isinstance(plan, Readout):
        plan = replace(plan, dropout=0.0, epochs=4 * plan.epochs)
    network = Network({"pixels": nn.Identity()}).eval()
    if takes_fresh_features(run) and isinstance(plan, Readout):
        return network.attach(_fit_fresh(network, run, seed, checkpoint, task, plan))
    pixels = run.data.train.images.flatten(1).to(run.device) / 255.0
    labels, classes = run.data.train.labels, len(run.data.classes)
    readout = plan.fit(pixels, labels, classes, seed=seed, resume=checkpoint, task=task, progress=run.progress).readout
    return network.attach(readout)


def _raw_accuracy(run: Workspace, network: Network, task: str) -> float:
    readout = network.readout
    assert readout is not None
    if takes_fresh_features(run):
        return network_accuracy(run, network, task)
    pixels = run.data.test.images.flatten(1).to(run.device) / 255.0
    return readout_accuracy(readout, pixels, run.data.test.labels)


def _other_rule(name: BaselineName, run: Workspace, seed: int, checkpoint: Checkpoint, task: str) -> Network:
    network = built(run, seed, baseline_architecture(run, name))
    learn_run(network, run, seed, checkpoint=checkpoint, task=f"{task}: learning")
    return network.eval()


def _with_rule(rule: Rule, block: Block) -> Block:
    return block.with_rule(rule)


def _read_out(network: Network, run: Workspace, seed: int, checkpoint: Checkpoint, task: str) -> Network:
    """The network with the recipe's readout, unless it has one."""
    return network if network.readout is not None else network.attach(fit_readout(network, run, seed, checkpoint, task))


def _supervised(
    changes: dict[str, Any], perturb: Perturb | None, run: Workspace, seed: int, checkpoint: Checkpoint, task: str
) -> Network:
    plan = replace(run.recipe.supervised, **changes)
    model = built_for_backpropagation(run, seed)
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


def _supervised_accuracy(run: Workspace, network: Network, task: str) -> float:
    return model_accuracy(network.classifier, run.data.test)


def as_network(model: nn.Sequential) -> Network:
    """A trained backpropagation model as a frozen network with its last layer as the readout."""
    network, _, head = model
    assert isinstance(network, Network) and isinstance(head, nn.Linear)
    readout = LinearReadout(head.in_features, head.out_features).to(head.weight.device)
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


def _path(run: Workspace, seed: int, name: str) -> Path:
    """Where a baseline is kept: under its name, its seed, and a hash of all that it depends on."""
    recipe = run.recipe
    depends = {
        "architecture": to_key(recipe.architecture),
        "learning": to_key(recipe.learning),
        "readout": to_key(recipe.readout),
        "supervised": to_key(recipe.supervised),
        "settings": dict(BASELINES[name].settings),
        "data": run.data.fingerprint,
        "precision": run.precision,
    }
    digest = blake2b(json.dumps(depends, sort_keys=True).encode(), digest_size=4).hexdigest()
    return run.folder / "baselines" / f"{name}-{seed}-{digest}" / "model.safetensors"


_HARD, _RANKED = HardHebb(), RankedHebb(delta=0.1)
RULES: dict[str, Rule] = {"hard": _HARD, "ranked": _RANKED}
"""Baselines of the same blocks with another rule."""
GRADIENTS = ("backpropagation", "backpropagation_long", "adversarial")
"""Baselines of the same blocks that learn by gradients."""
_LONG = {"epochs": LONG_EPOCHS}
_ADVERSARIAL = {"epochs": ADVERSARIAL_EPOCHS, "batch_size": ADVERSARIAL_BATCH}

BASELINES: dict[str, Baseline] = {
    "hard": Baseline("hard WTA", partial(_other_rule, "hard"), {"rule": to_json(_HARD)}),
    "ranked": Baseline("ranked WTA", partial(_other_rule, "ranked"), {"rule": to_json(_RANKED)}),
    "random": Baseline("random weights", _random),
    "uncalibrated": Baseline("random weights, not calibrated", _uncalibrated),
    "raw": Baseline("raw pixels", _raw, accuracy=_raw_accuracy, kept=False),
    "backpropagation": Baseline("backpropagation", partial(_supervised, {}, None), accuracy=_supervised_accuracy),
    "backpropagation_long": Baseline(
        "backpropagation, long", partial(_supervised, _LONG, None), _LONG, _supervised_accuracy
    ),
    "adversarial": Baseline(
        "adversarial training",
        partial(_supervised, _ADVERSARIAL, _attacked),
        {**_ADVERSARIAL, "eps": ADVERSARIAL_EPS, "steps": ADVERSARIAL_STEPS},
        _supervised_accuracy,
    ),
}
"""The names that recipes and questions use, with their labels in figures and tables."""

COMPARED: dict[str, str] = {
    "own": "this network",
    **{name: baseline.label for name, baseline in BASELINES.items() if name not in ("uncalibrated", "raw")},
}
"""What questions compare; `baseline_label` knows more of a run's own network."""
