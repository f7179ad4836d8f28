"""Flags of a script from a frozen dataclass, by the standard library alone: a bare GPU machine has no other parser."""

import argparse
import types
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Settings = TypeVar("Settings")


def parse(settings: type[Settings], words: Sequence[str] | None = None) -> Settings:
    """An instance whose fields are flags, `--batch-size 10`; tuples take several words, booleans `--no-memory` too."""
    parser = argparse.ArgumentParser(description=settings.__doc__)
    hints = get_type_hints(settings)
    for field in fields(settings):  # type: ignore[arg-type]  # a dataclass
        flag, default = "--" + field.name.replace("_", "-"), field.default
        parser.add_argument(flag, default=default, help=f"default: {default}", **_form(hints[field.name]))
    found = vars(parser.parse_args(words))
    return settings(**{name: tuple(value) if isinstance(value, list) else value for name, value in found.items()})


def _form(kind: Any) -> dict[str, Any]:
    """What argparse has to know of a field's type.

    >>> _form(tuple[int, ...]), _form(Path | None)["type"].__name__
    ({'type': <class 'int'>, 'nargs': '*'}, 'Path')
    """
    if get_origin(kind) in (Union, types.UnionType):
        (kind,) = (one for one in get_args(kind) if one is not type(None))
        return _form(kind)
    if get_origin(kind) is tuple:
        return {**_form(get_args(kind)[0]), "nargs": "*"}
    if get_origin(kind) is Literal:
        return {"choices": get_args(kind)}
    return {"action": argparse.BooleanOptionalAction} if kind is bool else {"type": kind}
