"""SoftHebb-2023's recipes: those that were measured stay what they were, and each network is the paper's."""

import re
from dataclasses import replace
from math import prod
from pathlib import Path

import pytest
import torch

from torchhebb import load
from torchhebb.config import from_json, to_json
from torchhebb.data import Augment, Data, Images, Store
from torchhebb.nn import Architecture, ConvBlock, LinearBlock, Pool
from torchhebb.recipes import get_recipe, softhebb2023
from torchhebb.recipes.softhebb2023 import depth3
from torchhebb.recipes.softhebb2023_published import BY_DEPTH
from torchhebb.rules import BCM, Foldiak, HardHebb, OjaSubspace, RankedHebb, Rule, Sanger, SoftHebb
from torchhebb.runs import TrainOptions, run_recipe
from torchhebb.train import Learning, Readout, Recipe, Supervised

FUNCTIONS = {function().name: function for function in softhebb2023.RECIPES}
RECIPES = {name: function() for name, function in FUNCTIONS.items()}

MAX, AVG = Pool("max", 4, 2, 1), Pool("avg", 4, 2, 1)
SOFT1, SOFT2, SOFT3 = SoftHebb(1.0), SoftHebb(0.65), SoftHebb(0.25)
RECTIFIED = SoftHebb(0.65, rectify=True)
HEBBIAN = tuple(replace(rule, anti_hebbian=False) for rule in (SOFT1, SOFT2, SOFT3, RECTIFIED))


def one(rule: Rule = SOFT1) -> tuple[ConvBlock, ...]:
    return (ConvBlock(96, 5, rule, 0.7, AVG, lr=0.08, lr_power=0.5),)


def two(first: Rule = SOFT1, second: Rule = RECTIFIED, power: float = 0.5, **lr: float) -> tuple[ConvBlock, ...]:
    below = replace(one(first)[0], lr_power=power, **lr)
    return (below, ConvBlock(384, 3, second, 1.4, MAX, **{"lr": 0.005, "lr_power": power, **lr}))


def three(*rules: Rule, power: float = 0.5, **lr: float) -> tuple[ConvBlock, ...]:
    first, second, third = rules or (SOFT1, SOFT2, SOFT3)
    return (
        ConvBlock(96, 5, first, 0.7, MAX, **{"lr": 0.08, "lr_power": power, **lr}),
        ConvBlock(384, 3, second, 1.4, MAX, **{"lr": 0.005, "lr_power": power, **lr}),
        ConvBlock(1536, 3, third, 1.0, Pool("avg", 2, 2), **{"lr": 0.01, "lr_power": power, **lr}),
    )


HARD, RANKED = HardHebb(), RankedHebb(rank=2, delta=0.1)
RATES = {"power": 0.75, "lr": 0.05}
MEASURED: dict[str, tuple[tuple[ConvBlock, ...], tuple[str, ...], float | None]] = {
    "cifar10": (three(), ("random",), 80.31),
    "cifar10-hard": (three(HARD, HARD, HARD, **RATES), (), 60.3),
    "cifar10-ranked": (three(RANKED, RANKED, RANKED), (), None),
    "cifar10-hebbian": (three(*HEBBIAN[:3]), (), None),
    "cifar10-depth1": (one(), ("random",), 71.10),
    "cifar10-depth1-hard": (one(HARD), (), 62.7),
    "cifar10-depth1-ranked": (one(RANKED), (), None),
    "cifar10-depth1-hebbian": (one(HEBBIAN[0]), (), None),
    "cifar10-depth2": (two(), ("random",), 77.70),
    "cifar10-depth2-hard": (two(HARD, HARD, **RATES), (), 60.1),
    "cifar10-depth2-ranked": (two(RANKED, RANKED), (), None),
    "cifar10-depth2-hebbian": (two(HEBBIAN[0], HEBBIAN[3]), (), None),
}
"""Blocks, baselines and published accuracy of what stands in results/ or is on its way there, written out."""


@pytest.mark.parametrize("name", MEASURED)
def test_what_was_measured_stays_what_it_was(name: str):
    blocks, baselines, published = MEASURED[name]
    expected = Recipe(
        f"softhebb2023-{name}",
        "cifar10",
        Architecture((3, 32, 32), blocks, mean=None, std=None, unit_norm=False, feature_pool=None),
        Learning(batch_size=10, epochs=1, order="joint", schedule="constant"),
        Readout(50, 64, 1e-3, 0.5, (0.2, 0.35, 0.5, 0.6, 0.7, 0.8, 0.9), 0.1105, standardize=False, online=False),
        baselines,  # type: ignore[arg-type]
        Supervised(12, 64, 2e-3, 0.0, cosine=True, warmup=0.2, dropout=0.5),
        seeds=1,
        published=published,
    )
    assert get_recipe(f"softhebb2023-{name}") == expected
    for block in expected.architecture.blocks:
        assert isinstance(block, ConvBlock)
        assert (block.init, block.init_radius, block.normalize, block.padding_mode) == ("normal", 25.0, True, "reflect")


@pytest.mark.parametrize(
    ("name", "rule"), [("sanger", Sanger()), ("subspace", OjaSubspace()), ("foldiak", Foldiak(1e-3)), ("bcm", BCM())]
)
@pytest.mark.parametrize("depth", ["-depth1", "-depth2", ""])
def test_the_rules_of_the_peers_learn_on_the_same_blocks(name: str, rule: Rule, depth: str):
    plain, recipe = RECIPES[f"softhebb2023-cifar10{depth}"], RECIPES[f"softhebb2023-cifar10{depth}-{name}"]
    assert (recipe.readout, recipe.learning, recipe.published) == (plain.readout, plain.learning, None)
    constant = {"init_radius": 1.0, "lr_power": 0.0}
    changed = {"bcm": constant, "foldiak": {**constant, "lr": 1e-3}}.get(name, {})
    expected = [replace(block, rule=rule, **changed) for block in plain.architecture.blocks]  # type: ignore[arg-type]
    assert [*recipe.architecture.blocks] == expected


def test_every_data_set_has_its_depths():
    depths = {"cifar10": 3, "cifar100": 3, "stl10": 4, "imagenette": 5, "imagenet": 5}
    for data, deepest in depths.items():
        for depth in range(1, deepest + 1):
            recipe = RECIPES[f"softhebb2023-{data}" + ("" if depth == deepest else f"-depth{depth}")]
            assert recipe.data == data and len(recipe.architecture.blocks) == depth
            assert recipe.published == BY_DEPTH[data][depth].softhebb
            beside = BY_DEPTH[data][depth]
            assert recipe.published_for("random_test_accuracy") == beside.random
            assert recipe.published_for("uncalibrated_test_accuracy") == beside.random
            assert recipe.published_for("backpropagation_test_accuracy") == beside.backpropagation
    for name, data in (("mnist", "mnist"), ("fashion-mnist", "fashion_mnist")):
        recipe = RECIPES[f"softhebb2023-{name}"]
        assert recipe.architecture == depth3((1, 28, 28)) and recipe.data == data
        assert recipe.learning == Learning(batch_size=32)


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
@pytest.mark.parametrize("depth", ["-depth1", "-depth2", ""])
def test_what_stands_beside_it_keeps_data_and_readout(data: str, depth: str):
    name = f"softhebb2023-{data}{depth}"
    plain = RECIPES[name]
    rules = {
        variant: {type(block.rule) for block in RECIPES[f"{name}-{variant}"].architecture.blocks}  # type: ignore[union-attr]
        for variant in ("hard", "ranked", "hebbian", "random")
    }
    assert rules.pop("hard") == {HardHebb} and rules.pop("ranked") == {RankedHebb}
    assert all(kinds == {SoftHebb} for kinds in rules.values())
    for variant in ("hard", "ranked", "hebbian", "random"):
        other = RECIPES[f"{name}-{variant}"]
        assert (other.data, other.readout, other.seeds) == (plain.data, plain.readout, plain.seeds)
        assert other.learning == replace(plain.learning, epochs=0 if variant == "random" else 1)
        for mine, theirs in zip(other.architecture.blocks, plain.architecture.blocks, strict=True):
            assert isinstance(mine, ConvBlock) and isinstance(theirs, ConvBlock)
            assert replace(mine, rule=theirs.rule, lr=theirs.lr, lr_power=theirs.lr_power) == theirs
    printed = BY_DEPTH[data][len(plain.architecture.blocks)]
    assert RECIPES[f"{name}-hard"].published == printed.hard
    assert RECIPES[f"{name}-random"].published == printed.random


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("cifar10-depth1", (96, 16, 16)),
        ("cifar10-depth2", (384, 8, 8)),
        ("cifar10", (1536, 4, 4)),
        ("cifar10-grouped", (1536, 4, 4)),
        ("cifar10-hard-network", (1536, 2, 2)),
        ("cifar10-width1", (96, 4, 4)),
        ("cifar10-width2", (384, 4, 4)),
        ("cifar10-depth1-neurons48", (48, 16, 16)),
        ("cifar10-depth1-neurons192", (192, 16, 16)),
        ("cifar10-depth2-linear", (2000,)),
        ("mnist", (1536, 3, 3)),
        ("stl10-depth1", (96, 48, 48)),
        ("stl10-depth2", (384, 24, 24)),
        ("stl10-depth3", (1536, 12, 12)),
        ("stl10", (6144, 6, 6)),
        ("imagenette-depth1", (48, 80, 80)),
        ("imagenet-depth4", (3072, 10, 10)),
        ("imagenet", (12288, 5, 5)),
    ],
)
def test_features_have_the_papers_shape(name: str, shape: tuple[int, ...]):
    """On a network of a 48th of the neurons, which its maps do not depend on."""
    architecture = RECIPES[f"softhebb2023-{name}"].architecture
    few = tuple(
        replace(block, features=block.features // 40)
        if isinstance(block, LinearBlock)
        else replace(block, channels=block.channels // 48, groups=1)
        for block in architecture.blocks
        if isinstance(block, LinearBlock | ConvBlock)
    )
    network = replace(architecture, blocks=few).build().eval()
    found = network(torch.rand(1, *architecture.input_shape)).shape[1:]
    last = architecture.blocks[-1]
    width = last.features if isinstance(last, LinearBlock) else last.channels  # type: ignore[attr-defined]
    assert (width, *found[1:]) == shape
    if name.startswith("cifar10") and len(shape) == 3 and not re.search("width|neurons|hard-network", name):
        assert prod(shape) == 24_576


def settings(name: str) -> list[tuple[object, ...]]:
    blocks = RECIPES[f"softhebb2023-{name}"].architecture.blocks
    return [
        (b.channels, b.kernel_size, b.rule.inverse_temperature, b.lr, b.lr_power, b.power, b.pool)  # type: ignore[attr-defined]
        for b in blocks
    ]


def test_the_networks_of_larger_images_are_the_papers():
    halve = Pool("avg", 2, 2)
    assert settings("stl10-depth3") == [
        (96, 5, 1.0, 0.08, 0.5, 0.7, AVG),
        (384, 3, 0.65, 0.005, 0.5, 1.4, MAX),
        (1536, 3, 0.45, 0.01, 0.5, 1.0, AVG),
    ]
    assert settings("stl10") == [
        (96, 5, 1.0, 0.08, 0.5, 0.7, AVG),
        (384, 3, 0.65, 0.005, 0.5, 0.7, MAX),
        (1536, 3, 0.45, 0.01, 0.5, 1.4, AVG),
        (6144, 3, 0.25, 0.01, 0.5, 1.0, halve),
    ]
    deepest = [
        (48, 5, 1.1, 0.08, 0.75, 0.7, MAX),
        (192, 3, 0.7, 0.01, 0.75, 0.7, MAX),
        (768, 3, 0.5, 0.01, 0.75, 0.7, MAX),
        (3072, 3, 0.4, 0.01, 0.75, 1.4, MAX),
        (12288, 3, 0.25, 0.01, 0.75, 1.0, halve),
    ]
    assert settings("imagenet") == settings("imagenette") == deepest
    for depth in range(1, 5):
        assert settings(f"imagenette-depth{depth}") == deepest[:depth]


def test_plans_of_larger_images():
    dropouts = {1: 0.5, 2: 0.5, 3: 0.4, 4: 0.5}
    for depth, dropout in dropouts.items():
        recipe = RECIPES["softhebb2023-stl10" + ("" if depth == 4 else f"-depth{depth}")]
        readout = recipe.readout
        assert (recipe.learning.batch_size, readout.epochs, readout.batch_size) == (32, 100, 64)  # type: ignore[attr-defined]
        assert readout.dropout == dropout and readout.augment == Augment(crop_padding=4, flip=True)  # type: ignore[attr-defined]
        assert recipe.learning.images == "unlabelled" and recipe.learning.fraction == 1.0
    for data in ("imagenette", "imagenet"):
        recipe = RECIPES[f"softhebb2023-{data}"]
        assert (recipe.learning.batch_size, recipe.readout.epochs, recipe.readout.batch_size) == (10, 200, 32)  # type: ignore[attr-defined]
        assert recipe.learning.fraction == (0.1 if data == "imagenet" else 1.0) and recipe.learning.images == "train"
        assert recipe.readout.augment.flip and 0 < recipe.readout.augment.crop_area < 1  # type: ignore[attr-defined]
        assert recipe.architecture.mean == (0.485, 0.456, 0.406) and recipe.architecture.std == (0.229, 0.224, 0.225)


def test_the_grouped_layer_is_that_of_the_papers_backpropagation():
    recipe = RECIPES["softhebb2023-cifar10-grouped"]
    last = recipe.architecture.blocks[-1]
    assert isinstance(last, ConvBlock)
    assert (last.channels, last.kernel_size, last.groups, last.pool) == (1536, 1, 192, Pool("max", 2, 2))
    assert recipe.architecture.blocks[:2] == RECIPES["softhebb2023-cifar10"].architecture.blocks[:2]
    assert recipe.published is None and recipe.published_for("backpropagation_test_accuracy") == 84.0
    assert recipe.supervised == RECIPES["softhebb2023-cifar10"].supervised


def test_the_hard_network_is_the_papers():
    recipe = RECIPES["softhebb2023-cifar10-hard-network"]
    found = [
        (b.channels, b.kernel_size, b.padding, b.rule, b.lr, b.lr_power, b.power, b.pool)  # type: ignore[attr-defined]
        for b in recipe.architecture.blocks
    ]
    plan = (HardHebb(), 0.05, 0.75, 1.0)
    assert found == [(96, 5, 1, *plan, MAX), (384, 3, None, *plan, MAX), (1536, 3, 0, *plan, Pool("max", 2, 2))]
    assert recipe.published == 60.3 == RECIPES["softhebb2023-cifar10-hard"].published
    assert recipe.baselines == ("random",) and recipe.published_for("random_test_accuracy") is None
    assert recipe.readout == RECIPES["softhebb2023-cifar10"].readout


def test_what_the_released_code_does_otherwise_has_recipes_of_its_own():
    plan = RECIPES["softhebb2023-cifar10-released"].readout
    assert isinstance(plan, Readout)
    halved = [epoch for epoch in range(50) for share in plan.halve_at if epoch - 1 < share * 50 <= epoch]
    assert halved == [int(share * 50) for share in (0.2, 0.35, 0.5, 0.6, 0.7, 0.8, 0.9)] and halved[1] == 17
    second = RECIPES["softhebb2023-cifar10-depth2-hard-network"].architecture.blocks
    assert second == RECIPES["softhebb2023-cifar10-hard-network"].architecture.blocks[:2]
    deep = RECIPES["softhebb2023-imagenette-hard-network"].architecture
    assert [(b.channels, b.kernel_size, b.groups, b.lr) for b in deep.blocks] == [  # type: ignore[attr-defined]
        (48, 7, 1, 0.05),
        (192, 5, 1, 0.03),
        (768, 3, 1, 0.02),
        (3072, 3, 1, 0.01),
        (12288, 1, 768, 0.02),
    ]
    assert RECIPES["softhebb2023-stl10-depth2-released"].architecture.blocks == (
        RECIPES["softhebb2023-cifar10-depth2"].architecture.blocks
    )
    third = RECIPES["softhebb2023-imagenette-depth3-released"].architecture
    assert third.blocks == RECIPES["softhebb2023-cifar10"].architecture.blocks and third.input_shape == (3, 160, 160)
    assert RECIPES["softhebb2023-imagenet-released"].learning.augment.crop_area == 0.08
    released, first = RECIPES["softhebb2023-cifar10-depth1-released"], RECIPES["softhebb2023-cifar10-depth1"]
    taught, read = released.supervised, released.readout
    assert read == plan and (taught.epochs, taught.dropout, taught.weight_decay, taught.init) == (
        50,
        0.5,
        0.0,
        "pytorch",
    )
    assert replace(released, name=first.name, readout=first.readout, supervised=first.supervised) == first
    rates = [taught.lr_at(epoch, 50) for epoch in range(50)]
    halved = [epoch for epoch in range(1, 50) if rates[epoch] == rates[epoch - 1] / 2]
    assert rates[0] == read.lr and halved == [10, 17, 25, 30, 35, 40, 45] and len(set(rates)) == 8


def test_networks_that_the_paper_varies():
    assert RECIPES["softhebb2023-cifar10-width1"].published == 66.4
    assert RECIPES["softhebb2023-cifar10-width2"].published == 73.9
    for name, published in {"cifar10-depth1": 43.9, "cifar10-depth2": 32.9, "stl10-depth1": 36.9}.items():
        recipe = RECIPES[f"softhebb2023-{name}-linear"]
        assert recipe.published == published and recipe.published_for("random_test_accuracy") is None
        assert all(isinstance(block, LinearBlock) for block in recipe.architecture.blocks)
        assert f"-depth{len(recipe.architecture.blocks)}" in name
    for count in (48, 192):
        recipe = RECIPES[f"softhebb2023-cifar10-depth1-neurons{count}"]
        block = RECIPES["softhebb2023-cifar10-depth1"].architecture.blocks[0]
        assert recipe.architecture.blocks == (replace(block, channels=count),) and recipe.published is None  # type: ignore[call-arg]


def test_names_are_unique_and_say_what_they_are():
    assert len(RECIPES) == len(softhebb2023.RECIPES)
    data = "digits|mnist|fashion-mnist|cifar10|cifar100|stl10|imagenette|imagenet"
    variant = (
        "best|hard(-network)?|sanger|subspace|foldiak|bcm|ranked|hebbian|random|grouped|flip-average|linear|width[12]|"
        "neurons(48|192)|released"
    )
    for name, function in FUNCTIONS.items():
        assert re.fullmatch(rf"softhebb2023-({data})(-depth\d)?(-({variant}))?", name), name
        first = (function.__doc__ or "").split("\n")[0]
        assert first.endswith(".") and len(first) < 130, f"`torchhebb list` shows the first line of {name}: {first}"
        copy = from_json(Recipe, to_json(RECIPES[name]))
        assert copy == RECIPES[name] and copy.published_beside == RECIPES[name].published_beside


@pytest.mark.parametrize(
    ("name", "epochs"),
    [("cifar10-depth2", 12), ("cifar100", 12), ("stl10", 100), ("imagenette-depth4", 200), ("mnist", 12)],
)
def test_backpropagation_has_the_readouts_batches_views_and_dropout_and_one_cycle(name: str, epochs: int):
    recipe = RECIPES[f"softhebb2023-{name}"]
    plan, readout = recipe.supervised, recipe.readout
    assert isinstance(readout, Readout)
    given = {"dropout": readout.dropout, "augment": readout.augment}
    assert plan == Supervised(epochs, readout.batch_size, 2e-3, warmup=0.2, **given)  # type: ignore[arg-type]


def narrow(recipe: Recipe, factor: int) -> Recipe:
    """The recipe with a part of its neurons, as short as it gets, on the training images as they are."""
    blocks = tuple(
        replace(block, features=block.features // factor)
        if isinstance(block, LinearBlock)
        else replace(block, channels=block.channels // factor, groups=max(1, block.groups // factor))
        for block in recipe.architecture.blocks
        if isinstance(block, LinearBlock | ConvBlock)
    )
    return replace(
        recipe,
        architecture=replace(recipe.architecture, blocks=blocks),
        learning=replace(recipe.learning, images="train", fraction=1.0),
        readout=replace(recipe.readout, epochs=1, augment=Augment()),
        supervised=replace(recipe.supervised, epochs=1),
    )


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("cifar10-grouped", "random"),
        ("cifar10-random", "random"),
        ("cifar10-depth2-linear", "random"),
        ("cifar10-width1", "uncalibrated"),
        ("cifar100-depth2-hard", None),
        ("mnist-hebbian", None),
        ("stl10", "random"),
        ("imagenette", "random"),
    ],
)
def test_recipes_run(name: str, beside: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    recipe = narrow(RECIPES[f"softhebb2023-{name}"], 24)
    generator = torch.Generator().manual_seed(0)
    shape = (20, *recipe.architecture.input_shape)
    noise = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    images = Images(noise, torch.arange(20) % 10)
    data = Data(recipe.data, images, images, tuple("abcdefghij"), "noise")
    monkeypatch.setattr("torchhebb.runs.training.load_data", lambda *_, **__: data)
    options = TrainOptions(device="cpu", precision="float32")
    result = run_recipe(recipe, options, folder=tmp_path / "run", store=Store(tmp_path / "store"))
    measures = {measure.name: measure for measure in result.measures}
    assert measures.keys() >= {"test_accuracy", *([f"{beside}_test_accuracy"] if beside else [])}
    assert measures["test_accuracy"].published == RECIPES[f"softhebb2023-{name}"].published
    network = load(tmp_path / "run" / "model.safetensors")
    start = dict(recipe.architecture.build(0).named_parameters())
    for layer, weight in network.named_parameters():
        assert torch.isfinite(weight).all()
        assert torch.equal(weight, start[layer]) == (recipe.learning.epochs == 0), f"{layer} learns in one pass"


def test_what_the_best_is_compared_with_has_its_views():
    recipe, plain = RECIPES["softhebb2023-cifar10-flip-average"], RECIPES["softhebb2023-cifar10"]
    assert recipe.architecture == replace(plain.architecture, flip_average=True)
    assert recipe.architecture.flip_average == RECIPES["softhebb2023-cifar10-best"].architecture.flip_average
    assert recipe.supervised == plain.supervised
    assert recipe.published is None and recipe.published_beside.backpropagation is None
