"""Learning steps by compiled kernels, where a user asks for them and they can be made."""

import os
import shutil
import sys
from contextlib import AbstractContextManager, nullcontext

import torch

from torchhebb.errors import UserError
from torchhebb.functional.kernels import compiled_kernels
from torchhebb.train.folder import Options
from torchhebb.train.recipe import NormAdaptive, Recipe


def compiled_steps(recipe: Recipe, options: Options, device: torch.device) -> AbstractContextManager[None]:
    """The context in which the recipe's blocks learn by compiled kernels, if the options say so.

    Raises UserError for blocks of local losses, which have no such kernels, and for a CPU without a C++ compiler.
    """
    if not options.compile:
        return nullcontext()
    if not isinstance(recipe.learning.optimizer, NormAdaptive):
        raise UserError(f"compile must be left out for {recipe.name}, whose blocks learn by local losses")
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if device.type == "cpu" and shutil.which(compiler) is None:
        raise UserError(
            f"compile needs a C++ compiler, and {compiler!r} is not found: install one, set CXX, or leave it"
        )
    return compiled_kernels()
