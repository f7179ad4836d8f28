"""SoftHebb-2023's experiments and claims: each is asked of a recipe that exists, and says what is printed."""

import re

from torchhebb.evaluate import get_evaluator
from torchhebb.recipes import softhebb2023
from torchhebb.recipes.softhebb2023_published import BY_DEPTH

RECIPES = {recipe.name: recipe for recipe in (function() for function in softhebb2023.RECIPES)}


def test_claims_and_items_name_recipes_and_evaluators():
    for item in softhebb2023.EXPERIMENTS:
        assert item.recipe in RECIPES, item.recipe
        get_evaluator(item.question)(**item.settings)
    sides = [
        side for claim in softhebb2023.CLAIMS for side in (claim.higher, claim.lower) if not isinstance(side, float)
    ]
    asked = {(item.recipe, item.question) for item in softhebb2023.EXPERIMENTS}
    compared = [item for item in softhebb2023.EXPERIMENTS if item.question == "baselines"]
    for side in sides:
        assert (side.recipe, side.question) in asked, f"no item answers {side}"
        if side.question == "accuracy":
            trained = ("", *RECIPES[side.recipe].baselines)
            asked_for = [name for item in compared if item.recipe == side.recipe for name in item.settings["baselines"]]
            assert side.measure.removesuffix("test_accuracy").rstrip("_") in (*trained, *asked_for), side
    assert len({claim.text for claim in softhebb2023.CLAIMS}) == len(softhebb2023.CLAIMS)


def test_claims_on_backpropagation_are_those_that_are_printed():
    found = 0
    for claim in softhebb2023.CLAIMS:
        match = re.fullmatch(r"(CIFAR-10|CIFAR-100|STL-10), depth (\d): (.+)", claim.text)
        if match and "end-to-end" in match[3]:
            printed = BY_DEPTH[match[1].replace("-", "").lower()][int(match[2])]
            assert printed.softhebb and printed.backpropagation
            above = printed.backpropagation > printed.softhebb
            assert match[3].startswith("end-to-end" if above else "SoftHebb")
            assert claim.higher.measure.startswith("backpropagation" if above else "test")  # type: ignore[union-attr]
            found += 1
    assert found == 7


def test_every_recipe_is_an_item():
    asked = {item.recipe for item in softhebb2023.EXPERIMENTS if item.question == "accuracy"}
    assert asked == RECIPES.keys()
