"""Curves from the lines of metrics.jsonl: the mean over seeds, with the lowest and highest seed."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_READOUT = re.compile(r"seed (\d+): readout(?: of (.+))?")


@dataclass(frozen=True)
class Series:
    """y against x over seeds: mean, lowest, highest."""

    x: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def learning_series(log: Iterable[Mapping[str, Any]], quantity: str) -> dict[str, Series]:
    """One diagnostic of every plastic layer against the samples seen, stages one after another.

    >>> line = {"kind": "learning", "stage": 0, "name": "block1.layer"}
    >>> log = [line | {"samples": 0, "radius_mean": 25.0}, line | {"samples": 100, "radius_mean": 1.0}]
    >>> learning_series(log, "radius_mean")
    {'block 1': Series(x=(0, 100), mean=(25.0, 1.0), low=(25.0, 1.0), high=(25.0, 1.0))}
    """
    lines = [line for line in log if line["kind"] == "learning"]
    stage = max((line["samples"] for line in lines), default=0)
    return _series(
        (block_name(line["name"]), line["stage"] * stage + line["samples"], line[quantity]) for line in lines
    )


def readout_series(log: Iterable[Mapping[str, Any]]) -> dict[str, Series]:
    """The loss of every readout against its epochs, by what was read out.

    >>> lines = [{"kind": "readout", "task": f"seed {s}: readout", "epoch": 1, "loss": float(s)} for s in (1, 3)]
    >>> readout_series(lines)
    {'learned features': Series(x=(1,), mean=(2.0,), low=(1.0,), high=(3.0,))}
    """
    points = []
    for line in log:
        if line["kind"] == "readout" and (match := _READOUT.fullmatch(line["task"])):
            points.append((match[2] or "learned features", line["epoch"], line["loss"]))
    return _series(points)


def block_name(layer: str) -> str:
    """A layer as a reader calls it.

    >>> block_name("block1.layer"), block_name("block2.body.conv"), block_name("encoder")
    ('block 1', 'block 2', 'encoder')
    """
    return re.sub(r"^block(\d+)\.(layer|body\.conv)$", r"block \1", layer)


def _series(points: Iterable[tuple[str, float, float]]) -> dict[str, Series]:
    grouped: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for name, x, y in points:
        grouped[name][x].append(y)
    found = {}
    for name, by_x in grouped.items():
        positions = tuple(sorted(by_x))
        values = [by_x[position] for position in positions]
        mean = tuple(sum(part) / len(part) for part in values)
        found[name] = Series(positions, mean, tuple(map(min, values)), tuple(map(max, values)))
    return found
