"""Compilation of sequences of element-wise operations and reductions into one kernel with Inductor.

Such a function is an ordinary one.  In eager mode each operation reads and writes whole tensors; within
`compiled_kernels` the function becomes one kernel that processes a row while it is in cache.  `functional` cannot
import this module: the form that a function has inside a kernel is decided in `functional.form`.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import torch

from torchhebb.errors import UserError
from torchhebb.functional import form

P = ParamSpec("P")
R = TypeVar("R")

_SHAPES = 256  # of one chain: many more than a network has layers


def kernel(chain: Callable[P, R]) -> Callable[P, R]:
    """Let `compiled_kernels` compile this function; elsewhere, and in code compiled as a whole, it stays as it is.

    Its tensors should be all that changes from call to call: any other argument of another value, and tensors of
    another shape, are compiled again.
    """
    compiled = functools.cache(lambda: torch.compile(chain, dynamic=False))

    @functools.wraps(chain)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_compiling() or not form.compiling:
            return chain(*args, **kwargs)
        from torch._dynamo.exc import BackendCompilerFailed

        try:
            return compiled()(*args, **kwargs)
        except BackendCompilerFailed as error:
            reason = str(error.inner_exception).strip().split("\n")[0]
            raise UserError(
                f"{chain.__name__} cannot be compiled here: {reason}; do without, by --no-compile"
            ) from error

    return call


@contextmanager
def compiled_kernels() -> Iterator[None]:
    """A context in which every `kernel` is compiled, in all threads, at its first call for each shape.

    The same numbers up to rounding, in fewer passes over memory.  On a CPU Inductor needs a C++ compiler.  Raises
    UserError if a call cannot be compiled; it never falls back to eager operations silently.
    """
    import torch._dynamo  # takes a second, and few need it

    torch.compiler.assume_constant_result(form.falling_order)
    before, form.compiling = form.compiling, True
    try:
        with torch._dynamo.config.patch(recompile_limit=_SHAPES, fail_on_recompile_limit_hit=True):
            yield
    finally:
        form.compiling = before
