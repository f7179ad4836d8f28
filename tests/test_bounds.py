"""Bounds of settings: what each lets through, what it says, and where it is checked."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pytest

from torchhebb.bounds import Checked, above, at_least, between, distinct, falling, rising
from torchhebb.errors import UserError


@dataclass(frozen=True)
class Settings(Checked):
    points: int = field(default=4, metadata=at_least(1))
    images: int | None = field(default=None, metadata=at_least(1))
    rate: float = field(default=0.1, metadata=above(0))
    share: float = field(default=0.5, metadata=between(0, 1))
    values: tuple[float, ...] = field(default=(1.0, 2.0), metadata=rising(above=0, up_to=9))
    steps: tuple[float, ...] = field(default=(0.5, 0.1), metadata=falling(below=1, above=0))
    names: tuple[Literal["a", "b"], ...] = field(default=("a",), metadata=distinct())
    factors: tuple[float, ...] = field(default=(), metadata=distinct(above=0, empty=True))
    kind: Literal["x", "y"] = "x"


@dataclass(frozen=True)
class Narrower(Settings):
    points: int = 9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"points": 0}, "points must be at least 1, got 0"),
        ({"points": None}, "points must be a whole number below 2^63, got None"),
        ({"points": "many"}, "points must be a whole number below 2^63, got 'many'"),
        ({"images": 0}, "images must be at least 1, got 0"),
        ({"rate": 0.0}, "rate must be above 0, got 0.0"),
        ({"rate": float("nan")}, "rate must be a finite number, got nan"),
        ({"share": 0.0}, "share must be between 0 and 1, got 0.0"),
        ({"share": 1.0}, "share must be between 0 and 1, got 1.0"),
        ({"values": ()}, "values must be numbers that rise from above 0 up to 9, got ()"),
        ({"values": (0.0, 1.0)}, "values must be numbers that rise from above 0 up to 9, got (0.0, 1.0)"),
        ({"values": (2.0, 2.0)}, "values must be numbers that rise from above 0 up to 9, got (2.0, 2.0)"),
        ({"values": (2.0, 10.0)}, "values must be numbers that rise from above 0 up to 9, got (2.0, 10.0)"),
        ({"steps": (1.0, 0.5)}, "steps must be numbers that fall from below 1 to above 0, got (1.0, 0.5)"),
        ({"steps": (0.5, 0.0)}, "steps must be numbers that fall from below 1 to above 0, got (0.5, 0.0)"),
        ({"steps": ()}, "steps must be numbers that fall from below 1 to above 0, got ()"),
        ({"names": ()}, "names must be different from each other, one at least, got ()"),
        ({"names": ("a", "a")}, "names must be different from each other, one at least, got ('a', 'a')"),
        ({"names": ("a", "c")}, "names must be among a, b, got 'c'"),
        ({"factors": (2.0, 2.0)}, "factors must be above 0, each once, got (2.0, 2.0)"),
        ({"factors": (0.0,)}, "factors must be above 0, each once, got (0.0,)"),
        ({"kind": "z"}, "kind must be one of x, y, got 'z'"),
    ],
)
def test_a_setting_out_of_bounds_is_named_when_it_is_made(settings: dict[str, Any], message: str) -> None:
    for make in (lambda: Settings(**settings), lambda: replace(Settings(), **settings)):
        with pytest.raises(UserError) as error:
            make()
        assert str(error.value) == message


def test_what_lies_within_is_let_through() -> None:
    Settings(1, 1, 1e-9, 0.999, (9.0,), (0.999,), ("b", "a"), (1.0, 0.5), "y")
    assert Settings(images=None).images is None


def test_a_new_default_keeps_the_bounds() -> None:
    assert Narrower().points == 9
    with pytest.raises(UserError, match="points must be at least 1, got 0"):
        Narrower(points=0)
