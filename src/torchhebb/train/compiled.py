"""Checks and context for learning with compiled kernels."""

import os
import shutil
import sys
from contextlib import AbstractContextManager, nullcontext

import torch

from torchhebb.errors import UserError
from torchhebb.ops.kernels import compiled_kernels
from torchhebb.train.recipe import NormAdaptive, Recipe


def compiled_steps(recipe: Recipe, wanted: bool) -> AbstractContextManager[None]:
    """The context in which the recipe's blocks learn by compiled kernels, if that is wanted.

    Raises UserError for blocks of local losses, which have no such kernels.
    """
    if not wanted:
        return nullcontext()
    if not isinstance(recipe.learning.optimizer, NormAdaptive):
        raise UserError(f"compile must be left out for {recipe.name}, whose blocks learn by local losses")
    return compiled_kernels()


def check_compiler(device: torch.device) -> None:
    """Raise UserError, before anything is done, where a CPU's kernels are wanted and there is no C++ compiler."""
    if device.type == "cpu" and sys.platform != "win32" and shutil.which(cpp_compiler()) is None:
        raise UserError(f"compile needs a C++ compiler, and {cpp_compiler()!r} is not found: install one, or set CXX")


def cpp_compiler() -> str:
    """The name of the compiler that Inductor takes on Linux and macOS."""
    return os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
