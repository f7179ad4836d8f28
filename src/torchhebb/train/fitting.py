"""Checks that a recipe fits a data set, before anything is learned."""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from torchhebb.data import Data, Stream
from torchhebb.errors import UserError
from torchhebb.nn import BatchNorm, BatchNorm2d, HebbConv2d, HebbLinear
from torchhebb.readouts.adam import Readout
from torchhebb.train.recipe import Recipe
from torchhebb.train.subset import check_subset, subset_size


def check_fit(recipe: Recipe, data: Data) -> None:
    """Raise UserError unless the network can be built, fits the images of the data, and can learn from their number."""
    check_subset(data, recipe.learning)
    readout = recipe.readout
    if recipe.online and not data.labelled:
        raise UserError(f"readout.online must be left out: {data.name} has no labels")
    if isinstance(data.train, Stream) and not (isinstance(readout, Readout) and not readout.standardize):
        raise UserError(
            f"readout must be trained on batches, without standardize and not in closed form: {data.name} is streamed"
        )
    if isinstance(data.train, Stream) and recipe.online:
        raise UserError(f"readout.online must be left out: {data.name} is streamed")
    shape = tuple(data.test.images.shape[1:])
    if shape != recipe.architecture.input_shape:
        raise UserError(
            f"{recipe.name} takes images of {recipe.architecture.input_shape}, {data.name} has {shape}; "
            f"give --size, or --architecture.input-shape {' '.join(map(str, shape))}"
        )
    try:
        traced = _traced(recipe)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"the network of {recipe.name} cannot be built: {str(error).splitlines()[0]}") from error
    _check_batches(recipe, data, traced)
    _check_samples(recipe, data, traced)
    if data.labelled and not isinstance(data.train, Stream):
        readout.check_samples(data.train.labels, traced.features)


@dataclass(frozen=True)
class _Traced:
    """The shapes of one image in every module of a network, computed on the meta device without memory."""

    calls: list[tuple[str, nn.Module, torch.Size, torch.Size]]
    """Every module that was called, in order: its name, itself, the shapes of its input and output for one image."""
    features: torch.Size


def _traced(recipe: Recipe) -> _Traced:
    calls: list[tuple[str, nn.Module, torch.Size, torch.Size]] = []
    with torch.device("meta"), torch.no_grad():
        network = recipe.architecture.build().eval()
        for name, module in network.named_modules():

            def keep(module: nn.Module, given: tuple[Tensor, ...], output: Tensor, name: str = name) -> None:
                calls.append((name, module, given[0].shape, output.shape))

            module.register_forward_hook(keep)
        return _Traced(calls, network(torch.empty(1, *recipe.architecture.input_shape)).shape[1:])


def _check_batches(recipe: Recipe, data: Data, traced: _Traced) -> None:
    """Raise UserError if every batch holds one image, from which a block cannot learn."""
    learning, supervised = recipe.learning, recipe.supervised
    flat = {
        name.partition(".")[0]: "whose batch norm has one value a channel of it"
        for name, module, given, _ in traced.calls
        if isinstance(module, BatchNorm | BatchNorm2d) and prod(given) == given[1]
    }
    compared = {
        f"block{number}": "which compares the images of a batch"
        for number, block in enumerate(recipe.architecture.blocks, 1)
        if not block.learns_from_single_samples
    }
    phases = []
    if learning.epochs:
        phases.append(("learning", learning.batch_size, subset_size(data, learning), compared | flat))
    if "backpropagation" in recipe.baselines and supervised.epochs and data.labelled:
        phases.append(("supervised", supervised.batch_size, len(data.train), flat))
    for phase, size, images, blocks in phases:
        for block, why in blocks.items():
            if min(size, images) == 1:
                came = f"got {size}" if size == 1 else f"and there is one image in {data.name}"
                raise UserError(f"{phase}.batch_size must be at least 2 for {block}, {why}, {came}")


def _check_samples(recipe: Recipe, data: Data, traced: _Traced) -> None:
    """Raise UserError if weights are to be drawn from fewer inputs than neurons."""
    samples = min(recipe.learning.samples, subset_size(data, recipe.learning))
    for name, module, _, output in traced.calls:
        if isinstance(module, HebbConv2d | HebbLinear) and module.init == "patches":
            neurons, inputs = output[1], samples * prod(output[2:])
            if inputs < neurons:
                raise UserError(
                    f"{name.partition('.')[0]}.init must be normal or uniform, or learning.samples higher: the first "
                    f"weights of {neurons} neurons are as many inputs, and {samples} images have {inputs}"
                )
