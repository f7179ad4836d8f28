"""Calls of public names from Python with tensors and numbers that make no sense.

Allowed are the exceptions that docstrings name, TypeError, ValueError and UserError, of one line.  `functional` is
plain tensor mathematics and leaves shapes and dtypes that do not fit to torch, whose RuntimeError names them; so do
modules for an input of another dtype than their weights, as all of torch does.
"""

import copy
import inspect
import math
import random
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import torch
from torch import Tensor, nn

import torchhebb
import torchhebb.functional
import torchhebb.nn
import torchhebb.rules
from tests.faults.campaign import RIGHT, Case, Kind, Outcome, Surface, bad_line, where
from torchhebb.data import Augment, Batches, as_pixels, find_source, from_arrays, load_data
from torchhebb.estimators import SoftHebbClassifier, SoftHebbTransformer, SPHeReTransformer
from torchhebb.memory import out_of_memory
from torchhebb.optim import NormAdaptiveSGD
from torchhebb.readouts import Labels, Logistic, Neighbors, Readout, Ridge, WideRidge
from torchhebb.recipes import create_model, get_recipe, list_recipes
from torchhebb.rules import Rule
from torchhebb.search import parse_space

INTEGERS = (-(2**40), -3, -1, 0, 1, 2, 3, 4, 7, 16, 2**40, 2**63)
FLOATS = (-1e38, -1.0, -0.0, 0.0, 1e-320, 1e-8, 0.5, 1.0, 2.0, 1e4, 1e38, math.inf, -math.inf, math.nan)
SHAPES = (
    *((), (0,), (1,), (4,), (0, 3), (1, 1), (4, 3), (3, 4), (4, 4), (2, 3, 4), (0, 3, 4, 4), (2, 3, 4, 4)),
    *((1, 1, 1, 1), (2, 1, 8, 8), (4, 3, 2, 2), (2, 3, 1, 5), (1, 2, 3, 4, 5)),
)
DTYPES: tuple[torch.dtype, ...] = (
    *[torch.float32] * 8,
    *(torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.complex64),
)
TEXTS = (
    "",
    "x",
    "auto",
    "cpu",
    "mnist",
    "softhebb2023-digits",
    "\x1b[31m",
    "a\nb",
    "../x",
    "x" * 5000,
    "parquet:",
    "folder:.",
)


def draw_tensor(random: random.Random) -> Tensor:
    shape, dtype = random.choice(SHAPES), random.choice(DTYPES)
    seeded = torch.Generator().manual_seed(random.randrange(100))
    x = torch.rand(shape, generator=seeded) * random.choice((1.0, 3.0, 255.0))
    if x.numel() and random.random() < 0.2:
        x.view(-1)[random.randrange(x.numel())] = random.choice(FLOATS)
    if random.random() < 0.1:
        x = x.expand(2, *shape).transpose(0, -1)
    return x.to(dtype)


def draw_rule(random: random.Random) -> Rule:
    kinds = [getattr(torchhebb.rules, name) for name in torchhebb.rules.__all__]
    return random.choice([kind for kind in kinds if not inspect.isabstract(kind)])()


def draw_value(kind: Any, random: random.Random) -> Any:
    """A value of the kind that an annotation declares, as hostile as that kind allows."""
    if get_origin(kind) is Literal:
        return random.choice((*get_args(kind), "x", None))
    inner = [one for one in get_args(kind) if one is not type(None)]
    if type(None) in get_args(kind) and random.random() < 0.5:
        return None
    if inner and get_origin(kind) is tuple:
        return tuple(draw_value(one, random) for one in inner if one is not Ellipsis)
    if inner and get_origin(kind) in (list, Sequence):
        return [draw_value(inner[0], random) for _ in range(random.choice((0, 1, 2, 3)))]
    if inner:
        return draw_value(random.choice(inner), random)
    values: dict[Any, Callable[[], Any]] = {
        Tensor: lambda: draw_tensor(random),
        int: lambda: random.choice(INTEGERS),
        float: lambda: random.choice(FLOATS),
        bool: lambda: random.random() < 0.5,
        str: lambda: random.choice(TEXTS),
        Path: lambda: Path(random.choice(TEXTS)),
        Rule: lambda: draw_rule(random),
        torch.Generator: lambda: torch.Generator().manual_seed(0),
        nn.Module: lambda: random.choice((nn.Linear(3, 2), nn.Identity(), nn.Sequential())),
    }
    return values[kind]() if kind in values else None


def arguments(function: Callable[..., Any], random: random.Random) -> tuple[list[Any], dict[str, Any]]:
    """What a function is called with: all that it needs, and some of what has a default."""
    hints = get_type_hints(function.__init__ if inspect.isclass(function) else function)  # type: ignore[misc]
    given: list[Any] = []
    named: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        needed = parameter.default is inspect.Parameter.empty
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or (
            not needed and random.random() < 0.6
        ):
            continue
        value = draw_value(hints.get(name), random)
        if parameter.kind is parameter.KEYWORD_ONLY or not needed:
            named[name] = value
        else:
            given.append(value)
    return given, named


def of_functional(random: random.Random) -> tuple[str, Callable[[], Any]]:
    name = random.choice(torchhebb.functional.__all__)
    function = getattr(torchhebb.functional, name)
    given, named = arguments(function, random)
    return f"functional.{name}({shown(given, named)})", partial(function, *given, **named)


MODULES = (
    *(
        "HebbLinear",
        "HebbConv2d",
        "BatchNorm",
        "BatchNorm2d",
        "Triangle",
        "SoftWTA",
        "UnitNorm",
        "Standardize",
        "Power",
    ),
    *("SPHeReBlock", "PatchWhitening", "LinearReadout", "NeuronLabels"),
)
SMALL = (1, 2, 3, 3, 3, 4)


def of_modules(random: random.Random) -> tuple[str, Callable[[], Any]]:
    kind = getattr(torchhebb.nn, random.choice(MODULES))
    given, named = arguments(kind, random)
    for name in ("device", "dtype", "layer"):
        named.pop(name, None)
    if random.random() < 0.7:  # sizes that can be built
        given = [random.choice(SMALL) if isinstance(value, int) else value for value in given]
        named = {name: value for name, value in named.items() if not isinstance(value, int | float)}
    x, learns, training = draw_tensor(random), random.random() < 0.5, random.random() < 0.7

    def call() -> None:
        module = kind(*given, **named).train(training)
        if learns and hasattr(module, "learn"):
            module.learn(x)
        elif learns and hasattr(module, "init_from_data"):
            module.init_from_data(x, torch.Generator())
        else:
            module(x)

    return f"{kind.__name__}({shown(given, named)}) of {shown([x], {})}", call


def of_rules(random: random.Random) -> tuple[str, Callable[[], Any]]:
    rule, u = draw_rule(random), draw_tensor(random)
    return f"{rule} of {shown([u], {})}", partial(rule, u)


def of_networks(random: random.Random) -> tuple[str, Callable[[], Any]]:
    name, x = random.choice(list_recipes("*digits")), draw_tensor(random)
    if random.random() < 0.5:
        x = x.reshape(-1)[:64].float()
        x = torch.cat([x, torch.zeros(64 - len(x))]).reshape(1, 1, 8, 8)
    method = random.choice(("learn", "forward", "classifier", "save", "step"))
    seed = random.choice(INTEGERS)

    def call() -> None:
        network = create_model(name, seed=seed if method == "save" else 0)
        if method == "learn":
            torchhebb.learn(network, x)
        elif method == "step":
            optimizer = NormAdaptiveSGD(network.learning_groups(), lr=0.1)
            torchhebb.learn(network, x)
            optimizer.step()
        elif method == "classifier":
            network.classifier(x)
        else:
            network(x)

    return f"{name}: {method} of {shown([x], {})}, seed {seed}", call


def of_data(random: random.Random) -> tuple[str, Callable[[], Any]]:
    x, y = draw_tensor(random), draw_tensor(random)
    number, text = random.choice(INTEGERS), random.choice(TEXTS)
    arrays = random.choice(
        (x, x.numpy() if x.dtype != torch.bfloat16 else x, [[1, 2], [3]], [], None, "x", np.array(["a", None]))
    )
    labels = random.choice(
        (y, None, None, list(range(len(x) if x.dim() else 0)), ["a"] * (len(x) if x.dim() else 0), "x")
    )

    def batches() -> None:
        for _ in Batches(x, number, labels=None if y.dim() != 1 else y, seed=0).epoch(random.choice((0, 0, 1, -1))):
            break

    choice: dict[str, Callable[[], Any]] = {
        f"from_arrays({shown([arrays, labels], {})})": lambda: load_data(from_arrays(arrays, labels)),
        f"Batches({shown([x, number], {})})": batches,
        f"as_pixels({shown([x], {})})": partial(as_pixels, x),
        f"find_source({text!r})": partial(find_source, text),
        f"load_data({text!r}, size={number})": partial(load_data, text, size=number),
        f"Augment of {shown([x], {})}": lambda: Augment(1, True, 0.5)(x, torch.Generator().manual_seed(0)),
        f"get_recipe({text!r})": partial(get_recipe, text),
        f"create_model({text!r}, seed={number})": partial(create_model, text, seed=number),
        f"parse_space({text!r})": lambda: parse_space((text,), get_recipe("softhebb2023-digits")),
    }
    what = random.choice([*choice])
    return what, choice[what]


def of_readouts(random: random.Random) -> tuple[str, Callable[[], Any]]:
    plan = random.choice((Labels(), Logistic(iterations=3), Neighbors(k=(1,)), Readout(epochs=1), Ridge(), WideRidge()))
    x = draw_tensor(random)
    count = len(x) if x.dim() else 1
    labels = random.choice(
        (torch.arange(count) % 2, torch.arange(count) % 2, draw_tensor(random), torch.full((count,), 9))
    )
    classes = random.choice((2, 2, 2, 0, 1, -1))
    return f"{type(plan).__name__}.fit({shown([x, labels, classes], {})})", lambda: plan.fit(x, labels, classes)


def of_estimators(random: random.Random) -> tuple[str, Callable[[], Any]]:
    kind = random.choice((SoftHebbTransformer, SPHeReTransformer, SoftHebbClassifier))
    names = list(inspect.signature(kind).parameters)
    settings: dict[str, Any] = {}
    for name in random.sample(names, random.choice((0, 1, 1, 2))):
        settings[name] = random.choice((*INTEGERS[:-1], *FLOATS, *TEXTS[:5], None, True, (1, 4, 4)))
        if name.endswith("epochs") and settings[name] == 2**40:  # right, and takes years
            settings[name] = 2
    x = np.asarray(draw_tensor(random).float() if random.random() < 0.7 else torch.rand(12, 16))
    y = np.arange(len(x) if x.ndim else 1) % 2
    method = random.choice(("fit", "fit", "partial_fit", "transform", "fit_transform"))

    def call() -> None:
        estimator: Any = kind(**{"random_state": 0, **settings})
        if method in ("fit", "partial_fit"):
            getattr(estimator, method)(copy.deepcopy(x), y)
        elif method == "transform":
            getattr(estimator, "transform", estimator.fit)(x)
        else:
            getattr(estimator, "fit_transform", estimator.fit)(x, y)

    return f"{kind.__name__}({shown([], settings)}).{method}({x.dtype} {x.shape})", call


FAMILIES = {
    "functional": (of_functional, 5),
    "modules": (of_modules, 5),
    "rules": (of_rules, 2),
    "networks": (of_networks, 2),
    "data": (of_data, 2),
    "readouts": (of_readouts, 2),
    "estimators": (of_estimators, 1),
}


def shown(given: list[Any], named: dict[str, Any]) -> str:
    words = [*map(one_shown, given), *(f"{name}={one_shown(value)}" for name, value in named.items())]
    return ", ".join(words)


def one_shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else repr(value)[:60]


def prepare(folder: Path) -> None:
    torch.manual_seed(0)


def draw(ready: None, random: random.Random, folder: Path) -> Case:
    family = random.choices([*FAMILIES], [weight for _, weight in FAMILIES.values()])[0]
    what, call = FAMILIES[family][0](random)
    return Case(what, partial(judged, call, family), family)


TORCH_SAYS = "type|implemented|with a bool tensor|Output size is too small"
"""Of a dtype that does not fit, and of maps that are smaller than the window of a pool."""


def judged(call: Callable[[], Any], family: str) -> Outcome:
    try:
        call()
    except (ValueError, TypeError) as error:
        if family == "estimators" and "validation.py" in where(error):  # scikit-learn's own words, of several lines
            return Outcome(Kind.LINE, str(error).splitlines()[0])
        wrong = bad_line(str(error))
        return Outcome(Kind.LINE, str(error)) if wrong is None else Outcome(Kind.TRACEBACK, f"{wrong}; {where(error)}")
    except (RuntimeError, IndexError) as error:
        if out_of_memory(error) or family in ("functional", "rules") or re.search(TORCH_SAYS, str(error)):
            return Outcome(Kind.LINE, str(error).splitlines()[0])
        raise
    return RIGHT


SURFACES = (
    Surface(
        "calls",
        "Hostile inputs",
        "Public functions, modules, rules, networks, readouts and estimators called with tensors of every shape and "
        "dtype, NaN and infinity, sizes 0, 1 and beyond 2^31. Right: a result; torch's own error where a dtype does "
        "not fit or maps are smaller than a pool's window, and in `functional` where a shape does not.",
        prepare,
        draw,
        cases=30_000,
        quick=100,
    ),
)
