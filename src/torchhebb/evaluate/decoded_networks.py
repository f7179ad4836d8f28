"""The networks whose features `reconstruction` decodes: the run's, its baselines, and those of other runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torchhebb.errors import UserError
from torchhebb.nn import Network
from torchhebb.recipes import get_recipe
from torchhebb.runs import read_config
from torchhebb.runs.baselines import COMPARED, BaselineName, baseline
from torchhebb.runs.networks import untrained
from torchhebb.runs.run import Run, open_run
from torchhebb.train import Recipe

PUBLISHED = {
    ("sphere2025-cifar10", "own", 100): (3.37, 3.59),
    ("sphere2025-cifar10", "backpropagation", 100): (4.75, 5.11),
    ("sphere2025-cifar10-softhebb", "own", 1): (7.79, 19.75),
    ("sphere2025-cifar10-softhebb", "own", 100): (12.75, 17.67),
}
"""(recipe, network, epochs of learning) -> errors on one image, clean and noisy."""


@dataclass(frozen=True)
class Method:
    """A network whose features are decoded: its name in measures and in figures, and how it is made."""

    name: str
    words: str
    network: Callable[[int], Network]
    published: tuple[float, float] | None
    identity: str = ""
    """What distinguishes it from another method of the same name."""


def methods_of(run: Run, baselines: Sequence[BaselineName], others: Sequence[str]) -> list[Method]:
    """A method for each baseline, and one for each folder of another run, named like its recipe.

    The names of runs of one recipe have their epochs of learning.  The batch norm of random weights is calibrated.
    Raises UserError for two methods of one name, or for a run with other images or without a seed of this run.
    """
    methods = []
    for name in baselines:
        words = run.recipe.name if name == "own" else COMPARED[name]
        make = partial(untrained, run) if name == "random" else partial(baseline, run, name=name, readout=False)
        methods.append(Method(name, words, make, published(run.recipe, name)))
    runs = [_open_other(run, folder) for folder in others]
    for other in runs:
        recipe, identity = other.recipe, str(other.folder.resolve())
        twins = [twin.recipe.name for twin in runs].count(recipe.name) > 1
        called = f"{recipe.name}-{recipe.learning.epochs}-epochs" if twins else recipe.name
        methods.append(Method(called, called, other.network, published(recipe, "own"), identity))
    if len({method.name for method in methods}) < len(methods):
        raise UserError(f"methods must differ, got {', '.join(method.name for method in methods)}")
    return methods


def published(recipe: Recipe, network: str) -> tuple[float, float] | None:
    """The published errors on one image, clean and noisy; None unless blocks and learning are those of the recipe."""
    key = (recipe.name, network, recipe.learning.epochs)
    if key not in PUBLISHED:
        return None
    named = get_recipe(recipe.name)
    named = replace(named, learning=replace(named.learning, epochs=recipe.learning.epochs))
    fields = ("data", "architecture", "learning", "supervised")
    return PUBLISHED[key] if all(getattr(recipe, f) == getattr(named, f) for f in fields) else None


def _open_other(run: Run, folder: str) -> Run:
    """Another run on the same device; raises UserError for other images or a missing seed."""
    options = replace(read_config(Path(folder))[1], device=str(run.device), precision=run.precision)
    other = open_run(Path(folder), options, store=run.store, progress=run.progress)
    if other.data.fingerprint != run.data.fingerprint:
        raise UserError(f"{folder} was trained on {other.data.name}, this run on {run.data.name}")
    if missing := set(run.seeds) - set(other.seeds):
        raise UserError(f"{folder} has no seed {min(missing)}: train it with --seeds {len(run.seeds)}")
    return other
