"""How long the ways take by which the same could be computed."""

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

Name = TypeVar("Name")


def fastest_calls(works: Mapping[Name, Callable[[], object]], rounds: int, patience: float) -> dict[Name, float]:
    """Milliseconds of the fastest call of each, which take turns, so that a busy moment slows them all.

    The first round warms up, and is hardly ever the fastest.

    Args: rounds, of which, after `patience` seconds, two are enough.

    >>> [*fastest_calls({"sum": lambda: sum(range(100)), "nothing": lambda: None}, rounds=3, patience=0.1)]
    ['sum', 'nothing']
    """
    taken = dict.fromkeys(works, float("inf"))
    began = time.perf_counter()
    for number in range(rounds):
        if number > 1 and time.perf_counter() - began > patience:
            break
        for name, work in works.items():
            started = time.perf_counter()
            work()
            taken[name] = min(taken[name], 1e3 * (time.perf_counter() - started))
    return taken
