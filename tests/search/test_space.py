"""What is searched: a sensible default, ranges and choices from words, one line for those that do not fit."""

from dataclasses import replace

import pytest

from tests.tiny import tiny_recipe
from torchhebb.cli.flags import parse
from torchhebb.cli.train import TrainFlags
from torchhebb.errors import UserError
from torchhebb.fields import differences, read_field
from torchhebb.recipes import get_recipe, list_recipes
from torchhebb.runs import TrainOptions
from torchhebb.search import Choice, Range, default_space, flags_of, parse_space
from torchhebb.search.space import apply

RECIPE = get_recipe("softhebb2023-digits")


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_has_a_space_around_what_it_is(name: str):
    recipe = get_recipe(name)
    space = default_space(recipe)
    assert all(read_field(recipe, dimension.field) in dimension for dimension in space)
    assert space == parse_space(map(str, space), recipe)


def test_the_default_space():
    assert default_space(RECIPE)[3:] == (
        Range("architecture.blocks.1.lr", 0.0005, 0.05, log=True),
        Range("architecture.blocks.1.rule.inverse_temperature", 0.1625, 2.6, log=True),
        Range("architecture.blocks.1.power", 0.7, 2.8, log=True),
    )
    assert [d.field for d in default_space(get_recipe("sphere2025-cifar10"))] == ["learning.optimizer.lr"]


def test_words():
    words = ("architecture.blocks.0.channels=4:16:log", "learning.order=joint,greedy", "readout.standardize=true,false")
    space = parse_space((*words, "learning.final_lr_fraction=0:1", "architecture.blocks.0.padding=null,0,1"), RECIPE)
    assert space == (
        Range("architecture.blocks.0.channels", 4, 16, log=True),
        Choice("learning.order", ("joint", "greedy")),
        Choice("readout.standardize", (True, False)),
        Range("learning.final_lr_fraction", 0.0, 1.0),
        Choice("architecture.blocks.0.padding", (None, 0, 1)),
    )
    assert isinstance(space[0].low, int) and isinstance(space[3].low, float)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("learning.epochs", "--space takes FIELD=LOW:HIGH, FIELD=LOW:HIGH:log or FIELD=a,b,c, got 'learning.epochs'"),
        ("learning.epoch=1:2", "unknown field in 'learning.epoch': 'epoch'; nearest: epochs"),
        ("learning.epochs=2:1", "the range of learning.epochs must have LOW < HIGH, got 2:1"),
        ("readout.lr=0:1:log", "the range of readout.lr must have 0 < LOW < HIGH, got 0:1"),
        ("learning.epochs=0.5:2", "learning.epochs is a whole number, so the ends of its range are too, got 0.5:2"),
        ("learning.order=joint,both", "Learning.order must be one of joint, greedy, pipeline, got 'both'"),
        ("readout.dropout=0.1:2", "dropout must be at least 0 and below 1, got 2.0"),
        ("seeds=1:3", "seeds cannot be searched over; it is the same in every trial"),
        ("learning=1,2", "learning is not one value: name a field inside it"),
        ("readout.lr=fast", "Readout.lr must be float, got 'fast'"),
    ],
)
def test_a_mistake_is_one_line(word: str, message: str):
    with pytest.raises(UserError) as error:
        parse_space([word], RECIPE)
    assert str(error.value) == message


def test_a_field_twice_is_a_mistake():
    with pytest.raises(UserError, match=r"^--space names learning.epochs more than once$"):
        parse_space(["learning.epochs=1:2", "learning.epochs=1,2"], RECIPE)


def test_the_flags_are_those_of_train():
    values = {
        "architecture.blocks.0.rule.inverse_temperature": 0.1 + 0.2,
        "architecture.blocks.1.channels": 12,
        "readout.standardize": True,
        "learning.order": "pipeline",
        "learning.batch_size": 7,
    }
    changed = apply(RECIPE, values)
    assert differences(RECIPE, changed) == values
    parsed = parse(TrainFlags, flags_of(values), "train", default=TrainFlags(RECIPE, TrainOptions()))
    assert parsed.recipe == changed
    shape = replace(RECIPE, architecture=replace(RECIPE.architecture, input_shape=(1, 9, 9)))
    flags = flags_of(differences(RECIPE, shape))
    assert parse(TrainFlags, flags, "train", default=TrainFlags(RECIPE, TrainOptions())).recipe == shape
    assert apply(tiny_recipe(), {}) == tiny_recipe()
