"""What the numbers of a run depend on, as its checkpoint keeps it."""

from typing import Any

from torchhebb.config import from_json, to_json
from torchhebb.train.recipe import Recipe

FIELDS = ("data", "architecture", "learning", "readout", "supervised")
"""The fields of a recipe on which its numbers depend."""


def experiment(recipe: Recipe) -> dict[str, Any]:
    """These fields, as JSON holds them; `supervised` where a baseline is trained by it."""
    unused = () if "backpropagation" in recipe.baselines else ("supervised",)
    return {name: to_json(getattr(recipe, name)) for name in FIELDS if name not in unused}


def updated(kept: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
    """A kept experiment in the names of this version, with the defaults of fields that an earlier one did not have.

    What is kept of a run without backpropagation says nothing of its plan, which may be any.
    """
    known, now = from_json(Recipe, {"type": "Recipe", "name": "kept", **kept}), experiment(recipe)
    own = {name: to_json(getattr(known, name)) for name in now if name in kept or name != "supervised"}
    return now | own
