"""torchhebb: deep learning without feedback. Every layer learns from its own input while the data streams forward."""

from typing import TYPE_CHECKING, Any

from torchhebb.nn import learn, load, save

if TYPE_CHECKING:
    from torchhebb.embedding import embed
    from torchhebb.recipes import create_model, get_recipe, list_models, list_recipes, run

__version__ = "0.1.0"
__all__ = ["create_model", "embed", "get_recipe", "learn", "list_models", "list_recipes", "load", "run", "save"]


def __getattr__(name: str) -> Any:
    """What needs the recipes is imported when it is asked for, so that the import stays small."""
    if name == "embed":
        from torchhebb import embedding

        return embedding.embed
    if name in __all__:
        from torchhebb import recipes

        return getattr(recipes, name)
    raise AttributeError(f"module 'torchhebb' has no attribute {name!r}")
