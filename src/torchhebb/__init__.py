"""torchhebb: deep learning without feedback. Every layer learns from its own input while the data streams forward.

The public names are those in `__all__` of this package and of the packages in `PACKAGES`; deeper imports are private.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torchhebb.embedding import embed
    from torchhebb.nn import learn, load, save
    from torchhebb.recipes import create_model, get_recipe, list_models, list_recipes
    from torchhebb.runs.training import run

__version__ = "0.2.0"
__all__ = [
    "create_model",
    "embed",
    "get_recipe",
    "learn",
    "list_models",
    "list_recipes",
    "load",
    "run",
    "save",
]

PACKAGES = (
    "functional",
    "rules",
    "optim",
    "distributed",
    "nn",
    "data",
    "readouts",
    "train",
    "recipes",
    "runs",
    "evaluate",
    "embedding",
    "explore",
    "export",
    "estimators",
    "hub",
    "progress",
)
"""The public packages, from the ground up; each is imported when it is used."""

_HOMES = {"embed": "embedding", "learn": "nn", "load": "nn", "run": "runs.training", "save": "nn"}


def __getattr__(name: str) -> Any:
    """Public names are imported when they are used: the import is small, and the command line can come before torch."""
    if name in PACKAGES:
        return import_module(f"torchhebb.{name}")
    if name in __all__:
        return getattr(import_module(f"torchhebb.{_HOMES.get(name, 'recipes')}"), name)
    raise AttributeError(f"module 'torchhebb' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *PACKAGES})
