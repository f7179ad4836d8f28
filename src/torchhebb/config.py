"""Conversion of frozen dataclasses to JSON and back, so that models and runs are saved without pickle.

A class of torchhebb is written by its name, any other as "module:Class".  Nothing is imported here: a class of a user's
own is found among the subclasses of what is expected, so its module has to be imported before.
"""

import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from torchhebb.aliases import new_fields, new_type
from torchhebb.errors import NotImportedError, UserError

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """Plain JSON data; every dataclass carries the name of its class as "type".

    >>> from torchhebb.rules import RankedHebb
    >>> to_json(RankedHebb(rank=3))
    {'type': 'RankedHebb', 'rank': 3, 'delta': 0.4}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"type": type_name(type(value)), **fields}
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    return value


def to_key(value: Any) -> Any:
    """As `to_json`, without the fields of dataclasses that are at their defaults.

    What is kept under such a key is still found when a later version has more fields.

    >>> from torchhebb.rules import RankedHebb
    >>> to_key((RankedHebb(rank=3), 1))
    [{'type': 'RankedHebb', 'rank': 3}, 1]
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        different = {
            field.name: to_key(fields[field.name])
            for field in dataclasses.fields(value)
            if fields[field.name] != _default(field)
        }
        return {"type": type_name(type(value)), **different}
    return [to_key(item) for item in value] if isinstance(value, tuple | list) else value


def _default(field: "dataclasses.Field[Any]") -> Any:
    """The default of a field, or MISSING, which equals no value."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def type_name(cls: type) -> str:
    """The name of a class in files: "Class" for one of torchhebb, "module:Class" for any other.

    >>> from torchhebb.rules import SoftHebb
    >>> type_name(SoftHebb), type_name(Path)
    ('SoftHebb', 'pathlib:Path')
    """
    if cls.__module__.partition(".")[0] == "torchhebb":
        return cls.__name__
    return f"{_importable(cls.__module__)}:{cls.__qualname__}"


def own_modules(value: Any) -> list[str]:
    """The modules of a user's own whose classes stand in a value, which have to be imported before it is read again.

    >>> from torchhebb.rules import SoftHebb
    >>> own_modules((SoftHebb(), 3))
    []
    """
    found: set[str] = set()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        module, colon, _ = type_name(type(value)).partition(":")
        found |= {module} if colon else set()
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    if isinstance(value, tuple | list):
        found.update(*map(own_modules, value))
    return sorted(found)


def find_type(base: type, name: Any) -> Any:
    """The class of that name among `base` and its subclasses, or None.

    Raises NotImportedError for a class of a module that is not imported.
    """
    name = new_type(name)
    known = _subclasses(base)
    # Files of earlier versions give the bare name of any class.
    bare = {cls.__name__: cls for cls in known.values()}
    found = (known.get(name) or bare.get(name)) if isinstance(name, str) else None
    if found is None and isinstance(name, str) and ":" in name:
        module, _, cls = name.partition(":")
        if not module.replace(".", "_").isidentifier() or not cls.replace(".", "_").isidentifier():
            return None
        if module not in map(_importable, [*sys.modules]):
            raise NotImportedError(
                f"{cls} is a class of the module {module}: import it first, or add --import {module}"
            )
    return found


def _importable(module: str) -> str:
    """The name by which a module can be imported; a script that runs as __main__ has that of its file."""
    if module != "__main__":
        return module
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    return spec.name.removesuffix(".__main__") if spec else Path(file).stem if file else module


def from_json(kind: type[T], data: Any) -> T:
    """The inverse of `to_json`: `kind` is the dataclass expected, or an interface whose subclasses are allowed.

    Raises UserError naming a type, field or value that does not fit.

    >>> from torchhebb.rules import Rule
    >>> from_json(Rule, {"type": "RankedHebb", "rank": 3, "delta": 0.4})
    RankedHebb(rank=3, delta=0.4)
    """
    return _parse(kind, data, getattr(kind, "__name__", str(kind)))


def _parse(kind: Any, data: Any, name: str) -> Any:
    if kind is Any:
        return data
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _parse_union(inner, data, name)
    if origin is tuple:
        return _parse_tuple(inner, data, name)
    if origin in (dict, Mapping):
        items = _checked(isinstance(data, dict), data, name, "an object")
        return {key: _parse(inner[1], value, f"{name}.{key}") for key, value in items.items()}
    if origin is typing.Literal:
        return _checked(data in inner, data, name, "one of " + ", ".join(map(str, inner)))
    if dataclasses.is_dataclass(kind) or inspect.isabstract(kind):
        return _parse_dataclass((kind,), data, name)
    if isinstance(kind, type):
        return _checked(isinstance(data, (int, float) if kind is float else kind), data, name, kind.__name__)
    return data


def _parse_union(members: tuple[Any, ...], data: Any, name: str) -> Any:
    if data is None and type(None) in members:
        return None
    members = tuple(member for member in members if member is not type(None))
    if len(members) == 1:
        return _parse(members[0], data, name)
    return _parse_dataclass(members, data, name)


def _parse_tuple(inner: tuple[Any, ...], data: Any, name: str) -> tuple[Any, ...]:
    items = _checked(isinstance(data, list), data, name, "a list")
    if inner[1:] == (Ellipsis,):
        return tuple(_parse(inner[0], item, name) for item in items)
    _checked(len(items) == len(inner), data, name, f"a list of {len(inner)}")
    return tuple(_parse(part, item, name) for part, item in zip(inner, items, strict=True))


def _parse_dataclass(kinds: tuple[type, ...], data: Any, name: str) -> Any:
    known = ", ".join(sorted({cls.__name__ for kind in kinds for cls in _subclasses(kind).values() if _concrete(cls)}))
    given = dict(_checked(isinstance(data, dict), data, name, f"one of {known}"))
    kind = given.pop("type", None)
    cls = next(filter(None, (find_type(base, kind) for base in kinds)), None)
    if cls is None or not _concrete(cls):
        raise UserError(f"type must be one of {known}, got {kind!r}")
    given = new_fields(type_name(cls), given)
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


def _concrete(cls: type) -> bool:
    return dataclasses.is_dataclass(cls) and not inspect.isabstract(cls)


def _subclasses(kind: type) -> dict[str, type]:
    found = {type_name(kind): kind}
    children: list[type] = type.__subclasses__(kind)
    for child in children:
        found |= _subclasses(child)
    return found
