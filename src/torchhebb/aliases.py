"""Old names of classes, fields and values in files of earlier versions, with their present names."""

from collections.abc import Mapping, Sequence
from typing import Any

TYPES = {"LocalConvBlock": "SPHeReConvBlock", "Options": "TrainOptions", "Read": "Tap"}
"""Old name of a class -> its name."""

FIELDS: dict[str, dict[str, str]] = {
    "Architecture": {"read": "taps", "read_power": "tap_power", "mirror": "flip_average"},
    "Learning": {"share": "fraction", "final_share": "final_lr_fraction"},
    "TrainOptions": {"members": "ensemble"},
    "Ablation": {"variants": "changes"},
}
"""Name of a class -> old name of a field -> its name."""

VALUES: dict[str, dict[str, dict[str, str]]] = {
    "ConvBlock": {"init": {"samples": "patches"}},
    "LinearBlock": {"init": {"samples": "patches"}},
    "WhitenedBlock": {"init": {"samples": "patches"}},
}
"""Name of a class -> name of a field -> old value -> value."""


def new_type(name: Any) -> Any:
    """The present name of a class.

    >>> new_type("LocalConvBlock"), new_type("ConvBlock")
    ('SPHeReConvBlock', 'ConvBlock')
    """
    return TYPES.get(name, name) if isinstance(name, str) else name


def new_fields(kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a class by their present names, with their present values."""
    names, values = FIELDS.get(kind, {}), VALUES.get(kind, {})
    renamed = {names.get(name, name): value for name, value in fields.items()}
    return {
        name: values[name].get(value, value) if name in values and isinstance(value, str) else value
        for name, value in renamed.items()
    }


def new_flags(kind: str, words: Sequence[str]) -> list[str]:
    """The words of a command line, with the flags of a class by their present names.

    >>> new_flags("Ablation", ["--variants", "slope", "--depths=1"])
    ['--changes', 'slope', '--depths=1']
    """
    flags = {f"--{old}": f"--{new}" for old, new in FIELDS.get(kind, {}).items()}
    split = [word.partition("=") for word in words]
    return [flags.get(flag, flag) + equals + value for flag, equals, value in split]
