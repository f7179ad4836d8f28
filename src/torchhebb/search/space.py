"""The search space: fields of a recipe, and the values that each may take."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torchhebb.bounds import Checked
from torchhebb.errors import UserError
from torchhebb.fields import read_field, replace_field
from torchhebb.train import Recipe
from torchhebb.train.recipe import AdamW

NOT_SEARCHED = ("name", "data", "seeds", "published")


@dataclass(frozen=True)
class Range(Checked):
    """Numbers from low to high, inclusive; integers if both ends are; log: equal ratios are equally likely."""

    field: str
    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.low < self.high or (self.log and self.low <= 0):
            rule = "0 < LOW < HIGH" if self.log else "LOW < HIGH"
            raise UserError(f"the range of {self.field} must have {rule}, got {self.low:g}:{self.high:g}")

    def suggest(self, trial: Any) -> float | int:
        """A value from a trial of optuna."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(self.field, self.low, self.high, log=self.log)
        return trial.suggest_float(self.field, self.low, self.high, log=self.log)

    def __contains__(self, value: Any) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.field}={self.low!r}:{self.high!r}{':log' if self.log else ''}"


@dataclass(frozen=True)
class Choice(Checked):
    """One of several values."""

    field: str
    values: tuple[Any, ...]

    def suggest(self, trial: Any) -> Any:
        """A value from a trial of optuna."""
        return trial.suggest_categorical(self.field, self.values)

    def __contains__(self, value: Any) -> bool:
        return value in self.values

    def __str__(self) -> str:
        return f"{self.field}={','.join(v if isinstance(v, str) else json.dumps(v) for v in self.values)}"


Dimension = Range | Choice


def default_space(recipe: Recipe) -> tuple[Dimension, ...]:
    """The default search space around the recipe's values, on logarithmic scales.

    For every block its learning rate, from a tenth to ten times; the inverse temperature of its soft competition, from
    a quarter to four times; the power of its triangle, from half to twice.  With AdamW, its learning rate.
    """
    space: list[Dimension] = []
    if isinstance(recipe.learning.optimizer, AdamW):
        space.append(_around("learning.optimizer.lr", recipe.learning.optimizer.lr, 10))
    for number, block in enumerate(recipe.architecture.blocks):
        for field, factor in block.search_factors().items():
            path = f"architecture.blocks.{number}.{field}"
            space.append(_around(path, read_field(recipe, path), factor))
    return tuple(space)


def parse_space(words: Iterable[str], recipe: Recipe) -> tuple[Dimension, ...]:
    """FIELD=LOW:HIGH, FIELD=LOW:HIGH:log or FIELD=a,b,c, each of a field that the recipe has.

    Raises UserError for a word of another form, an unknown field, one that comes twice, or values of another type.

    >>> from torchhebb.recipes import get_recipe
    >>> parse_space(["architecture.blocks.0.lr=0.01:1:log"], get_recipe("softhebb2023-digits"))
    (Range(field='architecture.blocks.0.lr', low=0.01, high=1.0, log=True),)
    """
    space = [_parse(word, recipe) for word in words]
    names = [dimension.field for dimension in space]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"--space names {', '.join(twice)} more than once")
    return tuple(space)


def apply(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with these fields replaced."""
    for field, value in values.items():
        recipe = replace_field(recipe, field, value)
    return recipe


def flags_of(values: Mapping[str, Any]) -> list[str]:
    """The flags by which `torchhebb train` takes these fields; those of a tuple have several words.

    >>> flags_of({"architecture.blocks.0.rule.inverse_temperature": 0.5, "readout.standardize": False})
    ['--architecture.blocks.0.rule.inverse-temperature', '0.5', '--readout.no-standardize']
    """
    flags: list[str] = []
    for field, value in values.items():
        *outer, last = field.replace("_", "-").split(".")
        if isinstance(value, bool):
            flags.append("--" + ".".join([*outer, last if value else f"no-{last}"]))
        else:
            words = value if isinstance(value, tuple | list) else [value]
            flags += ["--" + ".".join([*outer, last]), *map(str, words)]
    return flags


def _around(field: str, value: float, factor: float) -> Range:
    # Four digits: the ends of a range are a matter of taste, and are printed.
    return Range(field, float(f"{value / factor:.4g}"), float(f"{value * factor:.4g}"), log=True)


def _parse(word: str, recipe: Recipe) -> Dimension:
    field, equals, values = word.partition("=")
    if not equals or not field or not values:
        raise UserError(f"--space takes FIELD=LOW:HIGH, FIELD=LOW:HIGH:log or FIELD=a,b,c, got {word!r}")
    own = read_field(recipe, field)
    if field.split(".")[0] in NOT_SEARCHED:
        raise UserError(f"{field} cannot be searched over; it is the same in every trial")
    if isinstance(own, tuple) or hasattr(own, "__dataclass_fields__"):
        raise UserError(f"{field} is not one value: name a field inside it")
    number = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
    if match := re.fullmatch(rf"({number}):({number})(:log)?", values):
        kind = int if isinstance(own, int) and not isinstance(own, bool) else float
        try:
            numbers = Range(field, kind(match[1]), kind(match[2]), log=match[3] is not None)
        except ValueError as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{field} is a whole number, so the ends of its range are too, got {values}") from None
        dimension: Dimension = numbers
        tried: tuple[Any, ...] = (numbers.low, numbers.high)
    else:
        tried = tuple(_value(text) for text in values.split(","))
        dimension = Choice(field, tried)
    for value in tried:
        replace_field(recipe, field, value)
    return dimension


def _value(text: str) -> Any:
    """A number, true, false or null as in JSON, else the word itself."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if value is None or isinstance(value, bool | int | float) else text
