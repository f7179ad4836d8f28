"""torchhebb: deep learning without feedback. Every layer learns from its own input while the data streams forward."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from torchhebb.nn import learn, load, save

if TYPE_CHECKING:
    from torchhebb.embedding import embed
    from torchhebb.recipes import create_model, get_recipe, list_models, list_recipes
    from torchhebb.runs.training import run

__version__ = "0.1.0"
__all__ = ["create_model", "embed", "get_recipe", "learn", "list_models", "list_recipes", "load", "run", "save"]


def __getattr__(name: str) -> Any:
    """What needs the recipes is imported when it is asked for, so that the import stays small."""
    if name in __all__:
        package = {"embed": "embedding", "run": "runs.training"}.get(name, "recipes")
        return getattr(import_module(f"torchhebb.{package}"), name)
    raise AttributeError(f"module 'torchhebb' has no attribute {name!r}")
