"""Reading and replacing fields of nested dataclasses by dotted paths such as architecture.blocks.0.rule."""

import dataclasses
from typing import Any, TypeVar

from torchhebb.config import from_json, to_json
from torchhebb.errors import UserError, unknown_name

T = TypeVar("T")


def read_field(value: Any, path: str) -> Any:
    """The value at a path; raises UserError that names the first part that does not exist, and those that do.

    >>> from torchhebb.rules import SoftHebb
    >>> read_field({"rules": (SoftHebb(0.5),)}, "rules.0.inverse_temperature")
    0.5
    """
    for part in path.split("."):
        known = _parts(value)
        if part not in known:
            if not known:
                raise UserError(f"no field {path!r}: {value!r} has no fields")
            raise unknown_name(f"field in {path!r}:", part, known)
        value = known[part]
    return value


def replace_field(value: T, path: str, new: Any) -> T:
    """The same dataclass with something else at a path; raises UserError where the path or the value does not fit.

    >>> from torchhebb.rules import SoftHebb
    >>> replace_field(SoftHebb(0.5), "inverse_temperature", 2.0)
    SoftHebb(inverse_temperature=2.0, anti_hebbian=True, rectify=False)
    """
    read_field(value, path)
    data = to_json(value)
    *outer, last = path.split(".")
    inside = data
    for part in outer:
        inside = inside[int(part) if isinstance(inside, list) else part]
    inside[int(last) if isinstance(inside, list) else last] = to_json(new)
    # Through JSON, so that types are checked as those of a file are, and dataclasses check themselves.
    return from_json(type(value), data)


def differences(one: Any, other: Any, path: str = "") -> dict[str, Any]:
    """The fields in which `other` differs, by path, with what it has there.

    >>> from torchhebb.rules import SoftHebb
    >>> differences({"rules": (SoftHebb(0.5), 1)}, {"rules": (SoftHebb(2.0), 1)})
    {'rules.0.inverse_temperature': 2.0}
    """
    ours, theirs = _parts(one), _parts(other)
    inside = type(one) is type(other) and ours.keys() == theirs.keys() and any(map(_parts, theirs.values()))
    if not inside and not dataclasses.is_dataclass(other):
        return {} if one == other else {path: other}
    found: dict[str, Any] = {}
    for name, value in theirs.items():
        found |= differences(ours.get(name), value, f"{path}.{name}".lstrip("."))
    return found


def _parts(value: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return value
    return {str(i): item for i, item in enumerate(value)} if isinstance(value, tuple | list) else {}
