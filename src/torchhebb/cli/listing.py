"""torchhebb list: recipes, data sets and the contents of the store."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatch
from typing import Any

import tyro

from torchhebb.bounds import Checked
from torchhebb.cli.flags import parse
from torchhebb.errors import UserError
from torchhebb.recipes import get_recipe, list_pretrained, list_recipes, recipe_functions, training_seconds
from torchhebb.recipes.own_images import NAME

OWN = ("folder:PATH", "parquet:PATH", "hub:OWNER/NAME")


@dataclass(frozen=True)
class ListFlags(Checked):
    """List recipes that match a pattern, data sets, or the contents of the store.

    Of a recipe: its data, its neurons, block by block, and what they learn by, and about how long one seed trains on
    two CPU cores where that is known.
    """

    pattern: tyro.conf.Positional[str] = "*"
    """Names of recipes, such as softhebb2023-*."""
    data: bool = False
    """List data sets instead of recipes."""
    store: bool = False
    """List the contents of the store instead of recipes."""


def run(arguments: list[str]) -> int:
    """torchhebb list [PATTERN] [--data] [--store]"""
    from torchhebb.data import Store, list_data
    from torchhebb.terminal import print_table

    flags = parse(ListFlags, arguments, "torchhebb list")
    if flags.store:
        kept = [
            (f"{e.bytes / 1e6:,.1f} MB", f"{datetime.fromtimestamp(e.last_used):%Y-%m-%d %H:%M}", _what(e.key))
            for e in Store().entries()
        ]
        print_table(("size", "last used", "what"), kept)
    elif flags.data:
        print_table(("data set",), [(name,) for name in (*list_data(), *OWN)])
    else:
        rows = [_described(name) for name in list_recipes(flags.pattern)]
        if fnmatch(NAME, flags.pattern):
            words = "Your own images, with or without labels: torchhebb train --data folder:PHOTOS."
            rows.append((NAME, "your own", "", "", words))
        if not rows:
            raise UserError(f"no recipe matches {flags.pattern!r}; `torchhebb list` shows all")
        print_table(("recipe", "data", "neurons and rule", "time", "what it is"), rows)
    return 0


def _described(name: str) -> tuple[str, ...]:
    """A recipe's row: its data, the neurons of its blocks and what they learn by, the time of a seed, its docstring.

    >>> _described("softhebb2022-mnist")[:4]
    ('softhebb2022-mnist', 'mnist', '2000 SoftHebb', '40 s')
    """
    from torchhebb.terminal import format_duration

    recipe, words = get_recipe(name), (recipe_functions()[name].__doc__ or "").split("\n")[0]
    blocks, seconds = recipe.architecture.blocks, training_seconds(name)
    rules = " and ".join(dict.fromkeys(block.label for block in blocks))
    neurons = "-".join(str(block.width) for block in blocks)
    trained = " Trained weights ship." if name in list_pretrained() else ""
    return name, recipe.data, f"{neurons} {rules}", "" if seconds is None else format_duration(seconds), words + trained


def _what(key: Mapping[str, Any]) -> str:
    """A store entry in a few words: what it is and of which data, not the whole network that made it."""
    named = {name: value for name, value in key.items() if isinstance(value, str) and name not in ("modules", "dtype")}
    return " ".join([named.pop("kind", "data set"), *(f"{name}={value}" for name, value in sorted(named.items()))])
