"""Dataclasses to JSON and back: exact for every recipe, one line for whatever does not fit."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from torchhebb.config import from_json, to_json, to_key
from torchhebb.errors import UserError
from torchhebb.nn import Architecture, ConvBlock, LinearBlock, Pool
from torchhebb.recipes import get_recipe, list_recipes
from torchhebb.rules import HardHebb, Instar, Oja, RankedHebb, Rule, SoftHebb
from torchhebb.runs import TrainOptions
from torchhebb.train import Recipe


def there_and_back(kind: type, value: Any) -> Any:
    return from_json(kind, json.loads(json.dumps(to_json(value))))


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_comes_back_equal(name: str):
    recipe = get_recipe(name)
    back = there_and_back(Recipe, recipe)
    assert back == recipe and hash(back) == hash(recipe)


@pytest.mark.parametrize("rule", [SoftHebb(0.1, False, True), HardHebb(), RankedHebb(3, 0.1), Oja(), Instar()])
def test_an_interface_finds_its_class(rule: Rule):
    assert there_and_back(Rule, rule) == rule
    architecture = Architecture(
        (3, 9, 9), (ConvBlock(4, 3, rule, pool=Pool("avg")), LinearBlock(5, rule)), (0.5,), (1.0,)
    )
    assert there_and_back(Architecture, architecture) == architecture


def test_options_come_back_equal():
    options = TrainOptions(device="cpu", precision="bfloat16", data_dir="photos", checkpoint_seconds=0.1)
    assert there_and_back(TrainOptions, options) == options


@dataclass(frozen=True)
class Sample:
    """One field of each kind."""

    number: float
    pair: tuple[int, str] = (1, "a")
    many: tuple[float, ...] = ()
    maybe: str | None = None
    rule: Rule | None = None


def test_a_key_names_what_differs_from_the_defaults():
    assert to_key(Sample(1.0)) == {"type": "tests.test_config:Sample", "number": 1.0}
    rule = RankedHebb(3, 0.4)
    assert to_key(Sample(1.0, (2, "a"), (), None, rule))["rule"] == {"type": "RankedHebb", "rank": 3}
    assert to_key([Sample(1.0, (2, "a"))])[0]["pair"] == [2, "a"]


@pytest.mark.parametrize("name", list_recipes())
def test_recipes_of_one_key_are_equal(name: str):
    recipe = get_recipe(name)
    assert from_json(Recipe, json.loads(json.dumps(to_key(recipe)))) == recipe


def test_fields_left_out_take_their_defaults():
    assert from_json(Sample, {"type": "Sample", "number": 2}) == Sample(2)


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        (Rule, {"type": "Nope"}, ["Nope", "SoftHebb", "HardHebb"]),
        (Rule, {"rank": 3}, ["type", "SoftHebb", "None"]),
        (Rule, {"type": ["SoftHebb"]}, ["type", "SoftHebb"]),
        (Rule, "SoftHebb", ["Rule", "SoftHebb"]),
        (Recipe, [], ["Recipe"]),
        (RankedHebb, {"type": "SoftHebb"}, ["RankedHebb", "SoftHebb"]),
        (RankedHebb, {"type": "RankedHebb", "ranks": 3}, ["RankedHebb", "ranks", "delta, rank"]),
        (RankedHebb, {"type": "RankedHebb", "rank": "3"}, ["RankedHebb.rank", "int", "'3'"]),
        (Pool, {"type": "Pool", "kind": "most"}, ["Pool.kind", "max, avg", "'most'"]),
        (Sample, {"type": "Sample"}, ["Sample", "number"]),
        (Sample, {"type": "Sample", "number": None}, ["Sample.number", "float", "None"]),
        (Sample, {"type": "Sample", "number": 1, "pair": [1]}, ["Sample.pair", "2"]),
        (Sample, {"type": "Sample", "number": 1, "pair": 5}, ["Sample.pair", "list", "5"]),
        (Sample, {"type": "Sample", "number": 1, "many": ["x"]}, ["Sample.many", "float", "'x'"]),
        (Sample, {"type": "Sample", "number": 1, "maybe": 3}, ["Sample.maybe", "str", "3"]),
        (Sample, {"type": "Sample", "number": 1, "rule": {"type": "Pool"}}, ["Pool", "Oja"]),
        (
            Architecture,
            {"type": "Architecture", "input_shape": [1, 8, 8], "blocks": [{}]},
            ["ConvBlock", "LinearBlock"],
        ),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(kind: type, data: Any, words: list[str]):
    with pytest.raises(UserError) as caught:
        from_json(kind, data)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)
