"""Chains of element-wise operations and reductions, as one kernel where Inductor compiles them.

A chain is an ordinary function.  By itself it runs operation after operation, each of which reads and writes whole
tensors; within `compiled_kernels` it becomes one kernel that keeps a row in cache until it is done with it.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")

_SHAPES = 256  # of one chain: many more than a network has layers
_compiled: ContextVar[bool] = ContextVar("compiled", default=False)


def kernel(chain: Callable[P, R]) -> Callable[P, R]:
    """Let `compiled_kernels` compile this function; elsewhere, and in code compiled as a whole, it stays as it is.

    Its tensors should be all that changes from call to call: any other argument of another value, and tensors of
    another shape, are compiled anew.
    """
    compiled = functools.cache(lambda: torch.compile(chain, dynamic=False))

    @functools.wraps(chain)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_compiling() or not _compiled.get():
            return chain(*args, **kwargs)
        return compiled()(*args, **kwargs)

    return call


@contextmanager
def compiled_kernels() -> Iterator[None]:
    """Within it every `kernel` is compiled, at its first call for each shape, which takes seconds.

    The same numbers up to rounding, in fewer passes over memory.  On a CPU Inductor needs a C++ compiler.  Raises
    torch's error where compiling fails: nothing falls back to eager operations unasked.
    """
    import torch._dynamo  # takes a second, and few need it

    torch.compiler.assume_constant_result(falling_order)
    token = _compiled.set(True)
    try:
        with torch._dynamo.config.patch(recompile_limit=_SHAPES, fail_on_recompile_limit_hit=True):
            yield
    finally:
        _compiled.reset(token)


def falling_order(count: int, device: torch.device) -> Tensor:
    """0, -1, -2, ...: of several that share a maximum, the first has the largest of these.

    Inductor vectorises maxima, but not their indices.  In a kernel this is a constant, once.

    >>> falling_order(3, torch.device("cpu"))
    tensor([ 0., -1., -2.])
    """
    return torch.arange(0.0, -count, -1, device=device)
