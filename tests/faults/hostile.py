"""Hostile values for JSON, and JSON documents with one thing changed."""

import copy
import json
import random
from typing import Any

VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    7,
    2**31,
    2**63,
    2**70,
    -(2**70),
    10**400,
    0.0,
    -0.5,
    1e-320,
    1e38,
    1e308,
    "",
    " ",
    "x",
    "\x1b[31m",
    "a\nb",
    "ü",
    "\ud800",
    "x" * 10_000,
    "../x",
    "/etc/passwd",
    "SoftHebb",
    "Recipe",
    "os:system",
    "pathlib:Path",
    "torchhebb.rules:SoftHebb",
    "nan",
    "1",
    [],
    {},
    [[]],
    [1] * 1000,
    [None],
    {"type": "Recipe"},
    {"type": "Oja"},
    {"type": "ConvBlock"},
    {"": ""},
    float("nan"),
    float("inf"),
)


def nested(depth: int) -> Any:
    """A list in a list in a list."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def places(value: Any, path: str = "") -> list[tuple[Any, Any, str]]:
    """Every container and key inside a JSON value, and where that is."""
    keys = [*value] if isinstance(value, dict) else [*range(len(value))] if isinstance(value, list) else []
    here = [(value, key, f"{path}.{key}") for key in keys]
    return here + [place for key in keys for place in places(value[key], f"{path}.{key}")]


def changed(value: Any, random: random.Random) -> tuple[Any, str, str]:
    """A document with one thing changed, the kind of the change, and in words what."""
    value = copy.deepcopy(value)
    inside = places(value)
    if not inside:
        return random.choice(VALUES), "replaced", "the whole document"
    container, key, path = random.choice(inside)
    kind = random.choice(("replaced", "replaced", "replaced", "removed", "renamed", "retyped", "doubled", "swapped"))
    if kind == "removed":
        del container[key]
    elif kind == "renamed" and isinstance(container, dict):
        container[random.choice(("x", "type", "", f"{key}s", "__class__"))] = container.pop(key)
    elif kind == "retyped":
        container[key] = retyped(container[key])
    elif kind == "doubled" and isinstance(container, list):
        container.insert(key, copy.deepcopy(container[key]))
    elif kind == "swapped":
        other, its, where = random.choice(inside)
        container[key] = copy.deepcopy(other[its])
        path = f"{path} with {where}"
    else:
        kind, container[key] = "replaced", nested(900) if random.random() < 0.03 else random.choice(VALUES)
        path = f"{path} by {repr(container[key])[:60]}"
    return value, kind, path


def retyped(value: Any) -> Any:
    """The same in another type."""
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int | float):
        return random_text(value) if value else [value]
    if isinstance(value, str):
        return [value]
    return list(value.items()) if isinstance(value, dict) else {str(number): item for number, item in enumerate(value)}


def random_text(value: float) -> str:
    return json.dumps(value)
