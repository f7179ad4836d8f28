"""Type checks of the fields of dataclasses, and the names of types in error messages.

Numbers are finite, and whole ones fit into 64 bits: no setting means anything beyond, and files cannot hold it.
"""

import functools
import math
import types
import typing
from typing import Any, Literal, get_args, get_origin

from torchhebb.errors import UserError

_LARGEST = 2**63
_SHOWN = 80


@functools.cache
def declared_types(cls: Any) -> dict[str, Any]:
    """The types of the fields of a dataclass; a name that cannot be found, as of a type hint alone, is left out."""
    try:
        return typing.get_type_hints(cls)
    except NameError:
        return {}


def check_kind(name: str, kind: Any, value: Any) -> None:
    """Raise UserError naming a value that is not of a type; types that are not known here let everything through.

    >>> check_kind("epochs", int, 1.5)
    Traceback (most recent call last):
    torchhebb.errors.UserError: epochs must be a whole number below 2^63, got 1.5
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin is typing.Annotated:
        check_kind(name, inner[0], value)
    elif origin in (typing.Union, types.UnionType):
        _check_union(name, inner, value)
    elif origin is Literal:
        _require(value in inner and type(value) in map(type, inner), name, f"one of {_listed(inner)}", value)
    elif origin is tuple:
        _check_tuple(name, inner, value)
    elif isinstance(kind, type) and kind is not Any and not _is(kind, value):
        raise UserError(f"{name} must be {_words(kind)}, got {shown(value)}")


def shown(value: Any) -> str:
    """A value in one short line of an error, whatever it is.

    >>> shown("x" * 100).endswith("x...")
    True
    """
    if isinstance(value, int) and abs(value) >= _LARGEST:  # Python refuses to print thousands of digits
        return f"a number of {value.bit_length()} bits"
    text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _check_union(name: str, inner: tuple[Any, ...], value: Any) -> None:
    if value is None and types.NoneType in inner:
        return
    members = [member for member in inner if member is not types.NoneType]
    if len(members) == 1:
        check_kind(name, members[0], value)
    elif not any(_fits(member, value) for member in members):
        raise UserError(f"{name} must be {' or '.join(map(_words, members))}, got {shown(value)}")


def _check_tuple(name: str, inner: tuple[Any, ...], value: Any) -> None:
    _require(isinstance(value, tuple), name, "a tuple", value)
    if inner[1:] != (Ellipsis,):
        _require(len(value) == len(inner), name, f"a tuple of {len(inner)}", value)
        for kind, item in zip(inner, value, strict=True):
            check_kind(name, kind, item)
        return
    for item in value:
        if get_origin(inner[0]) is Literal:
            _require(item in get_args(inner[0]), name, f"among {_listed(get_args(inner[0]))}", item)
        else:
            check_kind(name, inner[0], item)


def _fits(kind: Any, value: Any) -> bool:
    try:
        check_kind("", kind, value)
    except UserError:
        return False
    return True


def _is(kind: type, value: Any) -> bool:
    if isinstance(value, bool):
        return kind in (bool, object)
    if kind is int:
        return isinstance(value, int) and -_LARGEST <= value < _LARGEST
    if kind is float:
        return math.isfinite(value) if isinstance(value, float) else _is(int, value)
    return isinstance(value, kind)


def _words(kind: Any) -> str:
    known = {bool: "True or False", int: "a whole number below 2^63", float: "a finite number", str: "a text"}
    name = getattr(kind, "__name__", str(kind))
    return known.get(kind, f"an instance of {name}")


def _listed(values: tuple[Any, ...]) -> str:
    return ", ".join(map(str, values))


def _require(fits: bool, name: str, words: str, value: Any) -> None:
    if not fits:
        raise UserError(f"{name} must be {words}, got {shown(value)}")
