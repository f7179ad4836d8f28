"""Files that were written under old names are read as they were meant."""

import dataclasses
import typing

import pytest

import torchhebb.nn
from torchhebb.aliases import FIELDS, TYPES, VALUES
from torchhebb.config import from_json, to_json
from torchhebb.nn import Architecture, SPHeReConvBlock, Tap, WhitenedBlock


def test_an_architecture_of_the_first_version() -> None:
    old = {
        "type": "Architecture",
        "input_shape": [3, 16, 16],
        "blocks": [{"type": "WhitenedBlock", "channels": 8, "kernel_size": 3, "init": "samples"}],
        "read": [{"type": "Read", "block": 1, "pool": 2}],
        "read_power": 0.5,
        "mirror": True,
    }
    blocks = (WhitenedBlock(8, 3, init="patches"),)
    expected = Architecture((3, 16, 16), blocks, taps=(Tap(1, 2),), tap_power=0.5, flip_average=True)
    assert from_json(Architecture, old) == expected == from_json(Architecture, to_json(expected))


def test_a_block_of_the_first_version() -> None:
    old = {"type": "Architecture", "input_shape": [3, 8, 8], "blocks": [{"type": "LocalConvBlock", "channels": 8}]}
    assert from_json(Architecture, old) == Architecture((3, 8, 8), (SPHeReConvBlock(8),))


@pytest.mark.parametrize("kind", sorted({*TYPES.values(), *FIELDS, *VALUES} & {*torchhebb.nn.__all__}))
def test_the_table_leads_to_names_that_exist(kind: str) -> None:
    cls = getattr(torchhebb.nn, kind)
    fields = {field.name for field in dataclasses.fields(cls)}
    assert not fields & FIELDS.get(kind, {}).keys() and {*FIELDS.get(kind, {}).values()} <= fields
    hints = typing.get_type_hints(cls)
    for field, values in VALUES.get(kind, {}).items():
        allowed = typing.get_args(hints[field])
        assert {*values.values()} <= {*allowed} and not values.keys() & {*allowed}


def test_no_old_name_is_taken() -> None:
    assert not TYPES.keys() & {*torchhebb.nn.__all__}
