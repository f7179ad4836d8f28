"""Values of a pure function, remembered for the arguments that it was called with."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def remembered(function: Callable[P, T]) -> Callable[P, T]:
    """The function, computed once for equal arguments; each time for those that cannot be hashed, and for errors.

    >>> @remembered
    ... def squared(x):
    ...     print("computed")
    ...     return x * x
    >>> squared(3), squared(3)
    computed
    (9, 9)
    """
    cached = lru_cache(maxsize=4096)(function)

    @wraps(function)
    def call(*arguments: P.args, **named: P.kwargs) -> T:
        try:
            hash((arguments, tuple(named.values())))
        except TypeError:
            return function(*arguments, **named)
        return cached(*arguments, **named)  # type: ignore[arg-type]  # they were hashed above

    return call
