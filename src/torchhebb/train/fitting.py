"""Whether a recipe and a data set fit together, before anything is learned."""

from torchhebb.data import Data, Stream
from torchhebb.errors import UserError
from torchhebb.readouts.adam import Readout
from torchhebb.train.recipe import Recipe
from torchhebb.train.subset import check_subset


def check_fit(recipe: Recipe, data: Data) -> None:
    """Raise UserError unless the network can be built and takes the images of the data."""
    check_subset(data, recipe.learning)
    readout = recipe.readout
    if recipe.online and not data.labelled:
        raise UserError(f"readout.online must be left out: {data.name} has no labels")
    if isinstance(data.train, Stream) and not (isinstance(readout, Readout) and not readout.standardize):
        raise UserError(
            f"readout must learn from batches, not standardised ones or in closed form: {data.name} is streamed"
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
        recipe.architecture.output_shape()  # no memory is taken
    except (ValueError, RuntimeError) as error:
        raise UserError(f"the network of {recipe.name} cannot be built: {str(error).splitlines()[0]}") from error
