"""What the numbers of a run depend on, as its checkpoint keeps it."""

from typing import Any

from torchhebb.config import from_json, to_json
from torchhebb.train.recipe import Recipe

FIELDS = ("data", "architecture", "learning", "readout", "supervised")
"""The fields of a recipe on which its numbers depend."""


def experiment(recipe: Recipe) -> dict[str, Any]:
    """These fields, as JSON holds them."""
    return {name: to_json(getattr(recipe, name)) for name in FIELDS}


def updated(kept: dict[str, Any]) -> dict[str, Any]:
    """A kept experiment in the names of this version, with the defaults of fields that an earlier one did not have."""
    return experiment(from_json(Recipe, {"type": "Recipe", "name": "kept", **kept}))
