"""Every question about runs on a handful of images that are not square: an answer, or one line before any work."""

import random
from dataclasses import MISSING, fields, replace
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

import numpy as np

from tests.faults.campaign import Case, Surface
from tests.faults.recipes import OF_THE_NUMBERS
from tests.small_runs import POSTERIOR, QUESTIONS, SHORT
from tests.watch import Watch
from torchhebb.data import Source, Store, from_arrays
from torchhebb.errors import UserError
from torchhebb.evaluate import evaluate, get_evaluator, open_run
from torchhebb.kinds import declared_types
from torchhebb.nn import Architecture, ConvBlock, LinearBlock, Pool, SPHeReConvBlock, WhitenedBlock
from torchhebb.readouts import Ridge
from torchhebb.runs import TrainOptions, run_recipe
from torchhebb.train import Learning, Recipe, Supervised
from torchhebb.train.recipe import AdamW

SOURCES = {
    "wide": (15, (1, 6, 9), 3),
    "tall": (30, (3, 7, 4), 2),
    "flat": (40, (1, 1, 12), 4),
    "one-class": (8, (1, 8, 8), 1),
}
"""Images, their shape, classes."""

BLOCKS = {
    "conv": (ConvBlock(4, 3, padding_mode="zeros", init_radius=3.0), ConvBlock(6, 1, pool=Pool("max", 2, 2, 1))),
    "layer": (POSTERIOR,),
    "linear": (LinearBlock(5),),
    "local": (SPHeReConvBlock(4, projection=4, pool=None), SPHeReConvBlock(4, projection=4, pool=None)),
    "whitened": (WhitenedBlock(4, 1, remove_mean=False, init="normal"), WhitenedBlock(4, 1)),
}

WORK = ("steps", "queries", "updates", "warmup", "restarts", "epochs", "iterations", "passes", "timed", "transfer")
"""Parts of the names of settings that say how long a question takes; they keep their small values."""


def images(name: str) -> Source:
    count, (channels, height, width), classes = SOURCES[name]
    pixels = np.random.default_rng(0).integers(0, 256, (count, height, width, channels), np.uint8)
    return from_arrays(pixels[..., 0] if channels == 1 else pixels, np.arange(count) % classes)


def recipe(blocks: str, name: str) -> Recipe:
    optimizer: Any = {"optimizer": AdamW()} if blocks == "local" else {}
    return Recipe(
        f"{blocks}-{name}",
        "digits",
        Architecture(SOURCES[name][1], BLOCKS[blocks]),
        Learning(batch_size=5, **optimizer),
        SHORT if blocks != "whitened" else Ridge(holdout=0.4),
        baselines=() if blocks == "whitened" else ("random", "backpropagation"),
        supervised=Supervised(epochs=1, batch_size=5),
    )


def prepare(folder: Path) -> Path:
    return folder


def trained(folder: Path, name: str) -> Path:
    """The folder of a run such as conv-tall, which is trained when it is first asked about."""
    blocks, _, source = name.partition("-")
    if not (folder / name / "result.json").exists():
        options, store = TrainOptions(device="cpu", precision="float32"), Store(folder / "store")
        run_recipe(recipe(blocks, source), options, folder=folder / name, source=images(source), store=store)
    return folder / name


def draw(folder: Path, random: random.Random, own: Path) -> Case:
    asked, name, blocks = random.choice(QUESTIONS), random.choice([*SOURCES]), random.choice([*BLOCKS])
    settings = dict(asked.settings)
    kind = get_evaluator(asked.question)
    for setting in fields(kind):
        if random.random() < 0.25 and not any(part in setting.name for part in WORK):
            settings |= changed(kind, setting, random)
    words = ", ".join(f"{key}={value!r}" for key, value in settings.items())
    call = partial(answered, asked.question, settings, trained(folder, f"{blocks}-{name}"))
    return Case(f"{asked.question}({words}) of {blocks} on {name}", call, asked.question)


def changed(kind: Any, setting: Any, random: random.Random) -> dict[str, Any]:
    """A setting at its default, or, where it is a number, at one that is hard to satisfy."""
    default = setting.default if setting.default is not MISSING else setting.default_factory()
    declared = declared_types(kind)[setting.name]
    numbers = [inner for inner in (declared, *get_args(declared)) if inner in (int, float)]
    if int in numbers and random.random() < 0.7:
        value: Any = random.choice((1, 2, 3, 5, 12, 50, 1000))
        return {setting.name: (value,) if get_origin(declared) is tuple else value}
    if float in numbers and random.random() < 0.7:
        value = random.choice((0.01, 0.3, 0.9, 1.0, 5.0))
        return {setting.name: (value,) if get_origin(declared) is tuple else value}
    if NoneType in get_args(declared) and random.random() < 0.3:
        return {setting.name: None}
    return {setting.name: default}


def answered(question: str, settings: dict[str, Any], folder: Path) -> None:
    progress = Watch()
    run = open_run(folder, source=images(folder.name.partition("-")[2]), store=Store(folder.parent / "store"))
    run = replace(run, progress=progress)
    if question == "comparison":
        run = replace(run, recipe=replace(run.recipe, data="cifar10"))
    try:
        result = evaluate(get_evaluator(question)(**settings), run)
    except UserError as error:
        if progress.tasks and not any(words in str(error) for words in OF_THE_NUMBERS):
            raise RuntimeError(f"after {progress.tasks[-1].label!r} had begun: {error}") from error
        raise
    assert result.measures or result.curves or result.notes


SURFACES = (
    Surface(
        "questions",
        "Hostile inputs",
        "Every question, with settings drawn at random, about small runs on 8 to 40 images that are not square. Right: "
        "an answer; a refusal comes before any work.",
        prepare,
        draw,
        cases=2000,
        quick=4,
    ),
)
