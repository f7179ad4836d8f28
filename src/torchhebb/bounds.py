"""Bounds of settings: declared on the fields of a dataclass, checked when an instance is made.

    @dataclass(frozen=True)
    class Settings(Checked):
        points: int = field(default=40, metadata=at_least(1))

`Settings(points=0)` raises UserError "points must be at least 1, got 0", in Python and on the command line alike.  A
field whose type allows None is not bounded where it is None.  The choices of a Literal, or of a tuple of them, need no
bound of their own.  A bound that involves several fields belongs into `__post_init__`, after
`super().__post_init__()`.
"""

import functools
from collections.abc import Callable
from dataclasses import fields
from math import inf
from types import NoneType
from typing import Any, get_args

from torchhebb.errors import UserError
from torchhebb.kinds import check_kind, declared_types, shown

__all__ = [
    "Checked",
    "above",
    "at_least",
    "between",
    "bound",
    "check_bounds",
    "distinct",
    "each_at_least",
    "falling",
    "metadata_of",
    "rising",
]

Check = Callable[[str, Any], None]
"""Takes the name and the value of a setting; raises UserError where the value is out of bounds."""


class Checked:
    """A dataclass whose fields keep their bounds."""

    def __post_init__(self) -> None:
        check_bounds(self)


def check_bounds(settings: Any) -> None:
    """Raise UserError for the first field of a dataclass that is of another type or out of its bounds."""
    cls: Any = type(settings)
    kinds = declared_types(cls)
    for field in fields(settings):
        check: Check | None = metadata_of(cls, field.name).get("check")
        value, kind = getattr(settings, field.name), kinds.get(field.name, Any)
        check_kind(field.name, kind, value)
        if check is not None and not (value is None and NoneType in get_args(kind)):
            check(field.name, value)


@functools.cache
def metadata_of(kind: type, name: str) -> dict[str, Any]:
    """The metadata of a field, with that of the classes that it overrides: a new default keeps the bounds."""
    found: dict[str, Any] = {}
    for parent in reversed(kind.__mro__):
        field = vars(parent).get("__dataclass_fields__", {}).get(name)
        found |= {} if field is None else field.metadata
    return found


def bound(words: str, holds: Callable[[Any], bool]) -> dict[str, Check]:
    """The metadata of a field: what its value must be, in words, and whether a value is that."""

    def check(name: str, value: Any) -> None:
        try:
            fits = holds(value)
        except TypeError:  # of another type
            fits = False
        if not fits:
            raise UserError(f"{name} must be {words}, got {shown(value)}")

    return {"check": check}


def at_least(least: float, *, up_to: float = inf, below: float = inf) -> dict[str, Check]:
    """Not below `least`, not above `up_to`, and smaller than `below`."""
    words = f"at least {least:g}{_end(up_to, below)}"
    return bound(words, lambda value: least <= value <= up_to and (value < below or below == inf))


def each_at_least(least: float, *, empty: bool = False) -> dict[str, Check]:
    """None of the values below `least`; one value at least unless `empty`."""

    def holds(values: tuple[float, ...]) -> bool:
        return (empty or len(values) > 0) and all(value >= least for value in values)

    return bound(f"at least {least:g} each", holds)


def above(low: float, *, up_to: float = inf) -> dict[str, Check]:
    """Larger than `low` and not above `up_to`."""
    return bound(f"above {low:g}{_end(up_to, inf)}", lambda value: low < value <= up_to)


def between(low: float, high: float) -> dict[str, Check]:
    """Larger than `low` and smaller than `high`."""
    return bound(f"between {low:g} and {high:g}", lambda value: low < value < high)


def each_between(low: float, high: float) -> dict[str, Check]:
    """One value or more, each larger than `low` and smaller than `high`."""

    def holds(values: tuple[float, ...]) -> bool:
        return len(values) > 0 and all(low < value < high for value in values)

    return bound(f"between {low:g} and {high:g} each", holds)


def rising(above: float, up_to: float | None = None, *, empty: bool = False) -> dict[str, Check]:
    """Numbers, each larger than the one before, from above `above`, the last at most `up_to`; not none unless `empty`.

    >>> rising(0.0)["check"]("values", (1.0, 1.0))
    Traceback (most recent call last):
    torchhebb.errors.UserError: values must be numbers that rise from above 0, got (1.0, 1.0)
    """
    end = "" if up_to is None else f" up to {up_to:g}"

    def holds(values: tuple[float, ...]) -> bool:
        steps = zip((above, *values), values, strict=False)
        within = not values or up_to is None or values[-1] <= up_to
        return (empty or len(values) > 0) and all(low < high for low, high in steps) and within

    return bound(f"numbers that rise from above {above:g}{end}", holds)


def falling(below: float, above: float) -> dict[str, Check]:
    """One number or more, each smaller than the one before, from below `below`, the last above `above`."""

    def holds(values: tuple[float, ...]) -> bool:
        steps = zip((below, *values), (*values, above), strict=True)
        return len(values) > 0 and all(high > low for high, low in steps)

    return bound(f"numbers that fall from below {below:g} to above {above:g}", holds)


def distinct(*, above: float = -inf, empty: bool = False) -> dict[str, Check]:
    """Different values, one at least unless `empty`; numbers above `above`.

    >>> distinct()["check"]("orders", ("joint", "joint"))
    Traceback (most recent call last):
    torchhebb.errors.UserError: orders must be different from each other, one at least, got ('joint', 'joint')
    """
    numbers = above > -inf

    def holds(values: tuple[Any, ...]) -> bool:
        in_range = not numbers or all(value > above for value in values)
        return in_range and len({*values}) == len(values) and (empty or len(values) > 0)

    words = f"above {above:g}, each once" if numbers else "different from each other"
    return bound(words + ("" if empty else ", one at least"), holds)


def each(metadata: dict[str, Check], *, empty: bool = False) -> dict[str, Check]:
    """Values that each keep a bound; one at least unless `empty`.

    >>> each(above(0))["check"]("strengths", (1.0, 0.0))
    Traceback (most recent call last):
    torchhebb.errors.UserError: strengths must be above 0, got 0.0
    """

    def check(name: str, values: Any) -> None:
        if not values and not empty:
            raise UserError(f"{name} must hold at least one value, got {shown(values)}")
        for value in values:
            metadata["check"](name, value)

    return {"check": check}


def _end(up_to: float, below: float) -> str:
    return f" and at most {up_to:g}" * (up_to < inf) + f" and below {below:g}" * (below < inf)


def both(first: dict[str, Check], second: dict[str, Check]) -> dict[str, Check]:
    """Two bounds, of which an error names the one that was missed."""

    def check(name: str, value: Any) -> None:
        first["check"](name, value)
        second["check"](name, value)

    return {"check": check}


SIZE = both(at_least(1), bound("below 2^31", lambda value: value < 2**31))
"""Of what torch counts in 32 bits: neurons, channels, sides, batches."""
RATE = at_least(0, up_to=1e6)
"""A learning rate or another factor of a step; 0 is none."""
EXPONENT = at_least(0, up_to=16)
"""Of a distance or a rate; beyond 16 float32 has no room for its powers."""
POWER = above(0, up_to=16)
"""Of an activation, as `EXPONENT`."""
RADIUS = above(0, up_to=1e6)
"""Of the weights of a neuron."""
INVERSE_TEMPERATURE = above(0, up_to=1e6)
"""Of a softmax; the hard competition stands for infinity."""
