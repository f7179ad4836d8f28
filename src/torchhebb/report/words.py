"""Formatting of values for readers."""

from collections.abc import Iterator
from typing import Any


def flatten(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Leaves of JSON data as (words, text); a part is named by its class.

    >>> list(flatten({"lr": 0.1, "rule": {"type": "Oja", "on": True}}))
    [('lr', '0.1'), ('rule', 'Oja'), ('rule: on', 'yes')]
    """
    for name, item in value.items():
        words = f"{prefix}{name}".replace("_", " ")
        if isinstance(item, dict):
            if "type" in item:
                yield words, item["type"]
            yield from flatten({n: v for n, v in item.items() if n != "type"}, f"{words}: ")
        elif isinstance(item, bool):
            yield words, "yes" if item else "no"
        else:
            text = ", ".join(map(str, item)) if isinstance(item, list) else str(item)
            yield words, "–" if item in (None, []) else text


def number(value: float) -> str:
    """Three digits, or whole with commas.

    >>> number(0.12345), number(12345.6)
    ('0.123', '12,346')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """A duration as one says it.

    >>> duration(26.6), duration(200), duration(7500)
    ('27 s', '3 min 20 s', '2 h 05 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
