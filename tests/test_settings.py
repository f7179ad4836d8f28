"""Every field of every class of settings, given what it must not hold: one line, in Python and on the command line."""

import inspect
import math
import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import pytest

from torchhebb.bounds import Checked, metadata_of
from torchhebb.cli import main
from torchhebb.data import Augment
from torchhebb.data.corruptions import Contrast
from torchhebb.errors import UserError
from torchhebb.evaluate import get_evaluator, list_evaluators
from torchhebb.kinds import declared_types
from torchhebb.nn import Architecture, ConvBlock, LinearBlock, Pool, Tap, WhitenedBlock
from torchhebb.recipes import get_recipe
from torchhebb.rules import RankedHebb, SoftHebb
from torchhebb.train import Learning, Recipe

for _name in list_evaluators():  # a question is imported when it is asked for
    get_evaluator(_name)

MUST_HAVE: dict[str, Any] = {
    "Architecture": {"input_shape": (1, 8, 8), "blocks": (ConvBlock(4, 3),)},
    "ConvBlock": {"channels": 4, "kernel_size": 3},
    "LinearBlock": {"features": 4},
    "WhitenedBlock": {"channels": 4, "kernel_size": 3},
    "SPHeReConvBlock": {"channels": 4},
    "Tap": {"block": 1, "pool": 2},
    "Preprocessing": {"channels": 3, "height": 8, "width": 8},
    "Recipe": {"name": "a-recipe", "data": "digits", "architecture": Architecture((1, 8, 8), (ConvBlock(4, 3),))},
    "Range": {"field": "learning.epochs", "low": 1.0, "high": 2.0},
    "Choice": {"field": "learning.order", "values": ("joint",)},
}
"""What has no default."""

ANY_NUMBER = {
    "WhitenedBlock.threshold": "thresholds below the mean are as good as those above it",
    "Architecture.mean": "the mean of pixels that somebody has scaled before",
    "PublishedBeside.random": "what a paper printed",
    "PublishedBeside.backpropagation": "what a paper printed",
    "Recipe.published": "what a paper printed",
    "Range.low": "the field that is searched has the bounds",
    "Range.high": "the field that is searched has the bounds",
}
"""Numbers without bounds, and why; they are finite all the same."""


def settings_classes() -> list[type]:
    """All concrete classes of settings of torchhebb; of corruptions, which have one field, two."""
    found: set[type] = set()
    left: list[type] = [Checked]
    while left:
        children: list[type] = type.__subclasses__(left.pop())
        left += children
        found.update(children)
    own = [cls for cls in found if cls.__module__.startswith("torchhebb.") and is_dataclass(cls)]
    return sorted((cls for cls in own if not inspect.isabstract(cls)), key=lambda cls: cls.__qualname__)


CLASSES = settings_classes()


def made(cls: Any, **settings: Any) -> Any:
    given = MUST_HAVE.get(cls.__name__, {})
    needs = [field.name for field in fields(cls) if field.default is MISSING and field.default_factory is MISSING]
    kinds = declared_types(cls)
    guessed = {name: sample(kinds[name]) for name in needs if name not in given}
    return cls(**guessed | given | settings)


def sample(kind: Any) -> Any:
    """Some value of a type, for command line flags without a default."""
    if get_origin(kind) is tuple:
        return ()
    if kind is Recipe:
        return get_recipe("softhebb2023-digits")
    return {str: "text", int: 1, float: 0.5, bool: False}.get(kind) if kind in (str, int, float, bool) else kind()


def numbers_in(kind: Any) -> set[type]:
    """The kinds of numbers, int or float, that a value of a type is or holds."""
    if get_origin(kind) in (Union, UnionType, tuple):
        return {number for inner in get_args(kind) for number in numbers_in(inner)}
    return {kind} if kind in (int, float) else set()


def wrapped(kind: Any, value: Any) -> Any:
    """The value where a type wants it: itself, or all items of a tuple."""
    if get_origin(kind) in (Union, UnionType):
        return wrapped(next(inner for inner in get_args(kind) if inner is not NoneType), value)
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        return (value,) if inner[1:] == (Ellipsis,) else (value,) * len(inner)
    return value


def wrong_type(kind: Any) -> Any:
    """A value that no type of a setting allows."""
    return wrapped(kind, object()) if get_origin(kind) is tuple else object()


def cases() -> Iterator[tuple[type, Field[Any], Any]]:
    for cls in CLASSES:
        kinds = declared_types(cls)
        assert kinds or not fields(cls), f"the types of {cls} cannot be found"
        for field in fields(cls):
            kind = kinds[field.name]
            if kind is not Any and not (get_origin(kind) is tuple and Any in get_args(kind)):
                yield cls, field, wrong_type(kind)
            if numbers_in(kind):
                for value in (math.nan, math.inf, -math.inf, 2**70, -(2**70)):
                    yield cls, field, wrapped(kind, value)


def named(value: Any) -> str:
    """Names of cases that are the same in every process: without the addresses of objects."""
    if isinstance(value, type):
        return value.__name__
    return getattr(value, "name", re.sub(r" at 0x\w+", "", str(value))[:40])


def test_there_are_settings_of_all_parts() -> None:
    names = {cls.__name__ for cls in CLASSES}
    assert {"Recipe", "ConvBlock", "SoftHebb", "Augment", "Ridge", "TrainOptions", "Search", "Attacks"} <= names
    assert len(CLASSES) > 60


@pytest.mark.parametrize("cls", CLASSES, ids=named)
def test_what_has_defaults_can_be_made(cls: type) -> None:
    made(cls)


@pytest.mark.parametrize(("cls", "field", "value"), [*cases()], ids=named)
def test_what_no_field_holds_is_refused_with_its_name(cls: type, field: Field[Any], value: Any) -> None:
    with pytest.raises(UserError) as error:
        made(cls, **{field.name: value})
    message = str(error.value)
    assert message.startswith(f"{field.name} must ")
    assert "\n" not in message and len(message) < 300


NUMBERS = [(cls, field) for cls in CLASSES for field in fields(cls) if numbers_in(declared_types(cls)[field.name])]


@pytest.mark.parametrize(("cls", "field"), NUMBERS, ids=named)
def test_every_number_has_bounds_or_a_reason(cls: type, field: Field[Any]) -> None:
    """-1 and 0 are refused with the field's name, or allowed by its bounds."""
    bounded = "check" in metadata_of(cls, field.name)
    path = f"{cls.__name__}.{field.name}"
    if path in ANY_NUMBER:
        assert not bounded, f"{path} has bounds: it needs no reason"
        return
    kind = declared_types(cls)[field.name]
    refused = 0
    for value in (-1, 0):
        try:
            made(cls, **{field.name: wrapped(kind, value)})
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
    assert bounded or refused, f"{path} takes any number: give it bounds or, in ANY_NUMBER, a reason"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Architecture((1, 8, 8), (), std=(0.0,), mean=(0.0,)), "std must be above 0, got 0.0"),
        (lambda: Architecture((1, 8, 8), (), mean=(0.5,)), "mean and std must be given together, got no std"),
        (lambda: Architecture((1, 8, 8), (), std=(0.5,)), "mean and std must be given together, got no mean"),
        (
            lambda: Architecture((1, 8, 8), (), mean=(0.5,) * 3, std=(0.5,) * 3),
            "mean must have 1 number or 1, one a channel, got 3",
        ),
        (lambda: Architecture((1, 8, 8), (ConvBlock(4, 3),), feature_pool=0), "feature_pool must be at least 1, got 0"),
        (lambda: SoftHebb(0), "inverse_temperature must be above 0 and at most 1e+06, got 0"),
        (lambda: SoftHebb(-1.0), "inverse_temperature must be above 0 and at most 1e+06, got -1.0"),
        (lambda: SoftHebb(math.nan), "inverse_temperature must be a finite number, got nan"),
        (lambda: LinearBlock(4, lr=-1), "lr must be at least 0 and at most 1e+06, got -1"),
        (lambda: LinearBlock(4, RankedHebb(5)), "rank must be at most the number of neurons (4), got 5"),
        (lambda: ConvBlock(8, 3, RankedHebb(5), groups=2), "rank must be at most the number of neurons (4), got 5"),
        (lambda: ConvBlock(4, 3, lr_power=1e38), "lr_power must be at least 0 and at most 16, got 1e+38"),
        (lambda: WhitenedBlock(4, 3, init_radius=math.inf), "init_radius must be a finite number, got inf"),
        (lambda: ConvBlock(4, 3, rule="hard"), "rule must be an instance of Rule, got 'hard'"),
        (lambda: Pool(kernel_size=2, padding=2), "padding of a pool must be at most half its kernel_size, got 2"),
        (lambda: Tap(0, 1), "block must be at least 1, got 0"),
        (lambda: Learning(final_lr_fraction=1e38), "final_lr_fraction must be at least 0 and at most 1e+06, got 1e+38"),
        (lambda: Learning(epochs=10**5000), "epochs must be a whole number below 2^63, got a number of 16610 bits"),
        (lambda: Learning(epochs=True), "epochs must be a whole number below 2^63, got True"),
        (lambda: Contrast(2.0), "severity of Contrast must be from 0 to 1, got 2.0"),
        (
            lambda: Recipe(
                "r", "digits", Architecture((1, 8, 8), (ConvBlock(4, 3),)), Learning(augment=Augment(crop_padding=8))
            ),
            "learning.augment.crop_padding must be below the 8 pixels of the images' shorter side, got 8",
        ),
    ],
)
def test_one_line_names_the_field_what_came_and_what_is_allowed(make: Any, message: str) -> None:
    with pytest.raises(UserError) as error:
        make()
    assert str(error.value) == message


COMMANDS = [
    ("--learning.epochs", "-1", "learning.epochs must be at least 0"),
    ("--learning.fraction", "nan", "learning.fraction must be a finite number"),
    ("--learning.final-lr-fraction", "inf", "learning.final_lr_fraction must be a finite number"),
    ("--learning.batch-size", str(2**70), "learning.batch_size must be a whole number"),
    ("--learning.augment.crop-padding", "8", "learning.augment.crop_padding must be below the 8 pixels"),
    ("--readout.init-scale", "1e38", "readout.init_scale must be at least 0 and at most 1e+06"),
    ("--architecture.feature-pool", "0", "architecture.feature_pool must be at least 1"),
    ("--architecture.blocks.0.rule.inverse-temperature", "0", "inverse_temperature must be above 0"),
    ("--architecture.blocks.0.rule.inverse-temperature", "nan", "inverse_temperature must be a finite number"),
    ("--architecture.blocks.0.lr", "-1", "architecture.blocks.0.lr must be at least 0"),
    ("--architecture.blocks.0.lr-power", "1e38", "architecture.blocks.0.lr_power must be at least 0 and at most 16"),
    ("--architecture.blocks.0.power", "-inf", "architecture.blocks.0.power must be a finite number"),
    ("--seeds", "0", "seeds must be at least 1"),
    ("--worker-timeout", "nan", "worker_timeout must be a finite number"),
]


@pytest.mark.parametrize(("flag", "value", "message"), COMMANDS, ids=lambda value: str(value)[:40])
def test_the_command_line_says_the_same(
    flag: str,
    value: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "softhebb2023-digits", flag, value]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error
    assert not [*tmp_path.iterdir()]
