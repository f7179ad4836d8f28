"""Frozen dataclasses to JSON and back, so that models and runs describe themselves without pickle."""

import dataclasses
import types
import typing
from typing import Any, TypeVar

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

    Raises UserError naming a type or field that does not fit.

    >>> from torchhebb.rules import Rule
    >>> from_json(Rule, {"type": "RankedHebb", "rank": 3, "delta": 0.4})
    RankedHebb(rank=3, delta=0.4)
    """
    return _parse(kind, data)


def _parse(kind: Any, data: Any) -> Any:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _parse_union(typing.get_args(kind), data)
    if origin is tuple and isinstance(data, list):
        inner = typing.get_args(kind)
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(_parse(inner[0], item) for item in data)
        return tuple(_parse(part, item) for part, item in zip(inner, data, strict=True))
    if isinstance(data, dict) and "type" in data:
        return _parse_dataclass(kind, data)
    return data


def _parse_union(members: tuple[Any, ...], data: Any) -> Any:
    if data is None and type(None) in members:
        return None
    members = tuple(member for member in members if member is not type(None))
    if isinstance(data, dict):
        fitting = [m for m in members if isinstance(m, type) and data.get("type") in _subclasses(m)]
        members = tuple(fitting) or members
    return _parse(members[0], data)


def _parse_dataclass(kind: Any, data: dict[str, Any]) -> Any:
    known = _subclasses(kind)
    cls = known.get(data["type"])
    if cls is None:
        raise UserError(f"type must be one of {', '.join(sorted(known))}, got {data['type']!r}")
    hints = typing.get_type_hints(cls)
    fields = {field.name for field in dataclasses.fields(cls)}
    given = {name: value for name, value in data.items() if name != "type"}
    if unknown := sorted(given.keys() - fields):
        raise UserError(f"{cls.__name__} has no field {', '.join(unknown)}; it has {', '.join(sorted(fields))}")
    return cls(**{name: _parse(hints[name], value) for name, value in given.items()})


def _subclasses(kind: type) -> dict[str, Any]:
    found: dict[str, Any] = {kind.__name__: kind} if dataclasses.is_dataclass(kind) else {}
    children: list[type] = type.__subclasses__(kind)
    for child in children:
        found |= _subclasses(child)
    return found
