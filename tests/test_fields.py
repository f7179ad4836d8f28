"""Fields by dotted paths: read, replaced with the checks that a file has, and compared."""

import re
from dataclasses import replace
from typing import Any

import pytest

from torchhebb.errors import UserError
from torchhebb.fields import differences, read_field, replace_field
from torchhebb.nn import LinearBlock
from torchhebb.recipes import get_recipe, list_recipes
from torchhebb.rules import HardHebb

RECIPE = get_recipe("softhebb2023-digits")


def test_a_field_is_read_and_replaced_and_nothing_else():
    path = "architecture.blocks.1.rule.inverse_temperature"
    assert read_field(RECIPE, path) == 0.65
    changed = replace_field(RECIPE, path, 3.5)
    assert read_field(changed, path) == 3.5 and differences(RECIPE, changed) == {path: 3.5}
    assert replace_field(changed, path, 0.65) == RECIPE
    assert replace_field(RECIPE, "learning", replace(RECIPE.learning, epochs=2)).learning.epochs == 2
    assert replace_field(RECIPE, "readout.halve_at", (0.5,)).readout.halve_at == (0.5,)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", list_recipes())
def test_replacing_a_field_by_itself_changes_no_recipe(name: str):
    recipe = get_recipe(name)
    assert replace_field(recipe, "learning.epochs", recipe.learning.epochs) == recipe


def test_differences_name_the_deepest_field():
    assert differences(RECIPE, RECIPE) == {}
    first = RECIPE.architecture.blocks[0]
    other = replace(RECIPE, architecture=replace(RECIPE.architecture, input_shape=(1, 9, 9), blocks=(first,)))
    assert differences(RECIPE, other) == {"architecture.input_shape": (1, 9, 9), "architecture.blocks": (first,)}
    blocks = (replace(first, rule=HardHebb()), LinearBlock(7))
    found = differences(RECIPE, replace(RECIPE, architecture=replace(RECIPE.architecture, blocks=blocks)))
    assert found["architecture.blocks.1.features"] == 7 and "architecture.blocks.0.lr" not in found


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("learning.epoch", 1, "unknown field in 'learning.epoch': 'epoch'; nearest: epochs"),
        ("architecture.blocks.2.lr", 1.0, "unknown field in 'architecture.blocks.2.lr': '2'; known: 0, 1"),
        ("learning.epochs.x", 1, "no field 'learning.epochs.x': 5 has no fields"),
        ("", 1, "unknown field in ''"),
        ("learning.epochs", -1, "epochs must be at least 0, got -1"),
        ("learning.epochs", 1.5, "Learning.epochs must be int, got 1.5"),
        ("learning.order", "both", "Learning.order must be one of joint, greedy, pipeline, got 'both'"),
    ],
)
def test_what_does_not_fit_is_one_line(path: str, value: Any, message: str):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        replace_field(RECIPE, path, value)
    assert "\n" not in str(error.value)
