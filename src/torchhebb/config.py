"""Frozen dataclasses to JSON and back, so that models and runs describe themselves without pickle."""

import dataclasses
import inspect
import types
import typing
from typing import Any, TypeVar

from torchhebb.aliases import new_fields, new_type
from torchhebb.errors import UserError

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """Plain JSON data; every dataclass carries its class name as "type".

    >>> from torchhebb.rules import RankedHebb
    >>> to_json(RankedHebb(rank=3))
    {'type': 'RankedHebb', 'rank': 3, 'delta': 0.4}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    return value


def from_json(kind: type[T], data: Any) -> T:
    """The inverse of `to_json`: `kind` is the dataclass expected, or an interface whose subclasses are allowed.

    Raises UserError naming a type, field or value that does not fit.

    >>> from torchhebb.rules import Rule
    >>> from_json(Rule, {"type": "RankedHebb", "rank": 3, "delta": 0.4})
    RankedHebb(rank=3, delta=0.4)
    """
    return _parse(kind, data, getattr(kind, "__name__", str(kind)))


def _parse(kind: Any, data: Any, name: str) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _parse_union(inner, data, name)
    if origin is tuple:
        return _parse_tuple(inner, data, name)
    if origin is typing.Literal:
        return _checked(data in inner, data, name, "one of " + ", ".join(map(str, inner)))
    if dataclasses.is_dataclass(kind) or inspect.isabstract(kind):
        return _parse_dataclass(_subclasses(kind), data, name)
    if isinstance(kind, type):
        return _checked(isinstance(data, (int, float) if kind is float else kind), data, name, kind.__name__)
    return data


def _parse_union(members: tuple[Any, ...], data: Any, name: str) -> Any:
    if data is None and type(None) in members:
        return None
    members = tuple(member for member in members if member is not type(None))
    if len(members) == 1:
        return _parse(members[0], data, name)
    known: dict[str, Any] = {}
    for member in members:
        known |= _subclasses(member)
    return _parse_dataclass(known, data, name)


def _parse_tuple(inner: tuple[Any, ...], data: Any, name: str) -> tuple[Any, ...]:
    items = _checked(isinstance(data, list), data, name, "a list")
    if inner[1:] == (Ellipsis,):
        return tuple(_parse(inner[0], item, name) for item in items)
    _checked(len(items) == len(inner), data, name, f"a list of {len(inner)}")
    return tuple(_parse(part, item, name) for part, item in zip(inner, items, strict=True))


def _parse_dataclass(known: dict[str, Any], data: Any, name: str) -> Any:
    given = dict(_checked(isinstance(data, dict), data, name, f"one of {', '.join(sorted(known))}"))
    kind = new_type(given.pop("type", None))
    cls = known.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise UserError(f"type must be one of {', '.join(sorted(known))}, got {kind!r}")
    given = new_fields(cls.__name__, given)
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    if unknown := sorted(given.keys() - fields):
        raise UserError(f"{cls.__name__} has no field {', '.join(unknown)}; it has {', '.join(sorted(fields))}")
    if missing := sorted(key for key in fields.keys() - given if _required(fields[key])):
        raise UserError(f"{cls.__name__} needs the field {', '.join(missing)}")
    return cls(**{key: _parse(hints[key], value, f"{cls.__name__}.{key}") for key, value in given.items()})


def _checked(fits: bool, data: Any, name: str, allowed: str) -> Any:
    if not fits:
        raise UserError(f"{name} must be {allowed}, got {data!r}")
    return data


def _required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _subclasses(kind: type) -> dict[str, Any]:
    found: dict[str, Any] = {kind.__name__: kind} if dataclasses.is_dataclass(kind) else {}
    children: list[type] = type.__subclasses__(kind)
    for child in children:
        found |= _subclasses(child)
    return found
