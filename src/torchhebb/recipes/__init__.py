"""Recipes, complete experiments as values, by name."""

from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatch
from functools import cache
from types import ModuleType
from typing import Any

from torchhebb.errors import UserError, unknown_name
from torchhebb.nn import Network
from torchhebb.recipes import patches, softhebb2022, softhebb2023, sphere2025
from torchhebb.recipes.claim import Claim
from torchhebb.recipes.experiment import Experiment
from torchhebb.recipes.pretrained import list_pretrained, load_pretrained
from torchhebb.train import Recipe

__all__ = [
    "create_model",
    "get_claims",
    "get_experiments",
    "get_recipe",
    "list_models",
    "list_papers",
    "list_pretrained",
    "list_recipes",
    "training_seconds",
]

MODULES = (softhebb2022, softhebb2023, sphere2025, patches)


def list_recipes(pattern: str = "*") -> list[str]:
    """Names of the recipes that match a shell pattern.

    >>> list_recipes("softhebb2023-d*")
    ['softhebb2023-digits']
    """
    return [name for name in recipe_functions() if fnmatch(name, pattern)]


def get_recipe(name: str) -> Recipe:
    """The recipe of that name; raises UserError with the nearest names.

    >>> recipe = get_recipe("softhebb2023-cifar10")
    >>> recipe.data, recipe.published
    ('cifar10', 80.31)
    """
    known = recipe_functions()
    if name not in known:
        raise unknown_name("recipe", name, known)
    return known[name]()


@cache
def recipe_functions() -> dict[str, Callable[[], Recipe]]:
    """Every recipe's function by the name of its recipe."""
    return {function().name: function for module in MODULES for function in module.RECIPES}


def list_papers() -> list[str]:
    """Papers that `reproduce` knows items of, by their short names.

    >>> list_papers()
    ['softhebb2022', 'softhebb2023', 'sphere2025']
    """
    return list(_items())


def get_experiments(paper: str) -> tuple[Experiment, ...]:
    """What `reproduce` can do of a paper; raises UserError with the nearest names.

    >>> len(get_experiments("softhebb2023")) > 5
    True
    """
    known = _items()
    if paper not in known:
        raise unknown_name("paper", paper, known)
    return known[paper]


def get_claims(paper: str) -> tuple[Claim, ...]:
    """What a paper says that results can confirm or refute; raises UserError with the nearest names.

    >>> len(get_claims("softhebb2023")) > 5
    True
    """
    known = {_paper(module): module.CLAIMS for module in MODULES if hasattr(module, "CLAIMS")}
    if paper not in known:
        raise unknown_name("paper with claims", paper, known)
    return known[paper]


def training_seconds(name: str) -> float | None:
    """An estimate of the seconds that one seed of a recipe trains on two CPU cores; None where there is none.

    >>> training_seconds("softhebb2023-cifar10"), training_seconds("softhebb2022-mnist")
    (1400.0, 40.0)
    """
    known = [item for items in _items().values() for item in items if item.recipe == name]
    return min((item.training_seconds / (item.seeds or get_recipe(name).seeds) for item in known), default=None)


def _items() -> dict[str, tuple[Experiment, ...]]:
    return {_paper(module): module.EXPERIMENTS for module in MODULES if hasattr(module, "EXPERIMENTS")}


def _paper(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def list_models(pattern: str = "*") -> list[str]:
    """Names that `create_model` takes: every recipe names its network.

    >>> list_models("softhebb2023-digits*")[0]
    'softhebb2023-digits'
    """
    return list_recipes(pattern)


def create_model(name: str, *, pretrained: bool = False, seed: int = 0, **overrides: Any) -> Network:
    """The untrained network of a recipe, its weights drawn from `seed`; overrides replace fields of its Architecture.

    With `pretrained`, the trained network of that name that ships with the package, with its readout and class names,
    in eval mode; see `list_pretrained`.
    Raises UserError for an unknown name or field, or a seed or fields of a network that is trained already.

    >>> create_model("softhebb2023-digits", input_shape=(1, 16, 16)).architecture.input_shape
    (1, 16, 16)
    """
    architecture = get_recipe(name).architecture
    if pretrained:
        if seed or overrides:
            raise UserError(f"pretrained weights are what they are: leave out {', '.join([*overrides] or ['seed'])}")
        return load_pretrained(name)
    try:
        return replace(architecture, **overrides).build(seed)
    except TypeError:
        unknown = sorted(overrides.keys() - vars(architecture).keys())
        raise UserError(
            f"{', '.join(unknown)} is no field of the architecture: {', '.join(vars(architecture))}"
        ) from None
