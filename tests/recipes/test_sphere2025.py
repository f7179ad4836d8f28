"""SPHeRe's recipes hold the paper's numbers, and a readout may learn beside their blocks."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.tiny import digits, equal, few_digits, state
from tests.watch import Stop, stop_after
from torchhebb.config import from_json, to_json
from torchhebb.data import Batches, Images
from torchhebb.errors import UserError
from torchhebb.evaluate import get_evaluator
from torchhebb.nn import Architecture, Network, SPHeReConvBlock, Tap, learn
from torchhebb.recipes import sphere2025
from torchhebb.runs import TrainOptions, run_recipe
from torchhebb.train import Learning, Readout, Recipe
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.learn import learn_images
from torchhebb.train.online import OnlineReadout
from torchhebb.train.recipe import AdamW

RECIPES = {function().name: function() for function in sphere2025.RECIPES}
PUBLISHED = ("sphere2025-cifar10", "sphere2025-cifar100", "sphere2025-tiny-imagenet")
LOCAL = [name for name in RECIPES if "softhebb" not in name]

PLAN = Learning(batch_size=50, epochs=3, optimizer=AdamW(0.01, 0.05), schedule="cosine", final_lr_fraction=1e-3)
ARCHITECTURE = Architecture(
    (1, 8, 8), (SPHeReConvBlock(4, projection=6), SPHeReConvBlock(8, projection=6, residual=True)), feature_pool=2
)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_network_and_plan(name: str):
    recipe = RECIPES[name]
    blocks = recipe.architecture.blocks
    assert blocks == (SPHeReConvBlock(384), SPHeReConvBlock(768), SPHeReConvBlock(1536, residual=True))
    assert all(isinstance(block, SPHeReConvBlock) and block.projection == 256 for block in blocks)
    plan, baseline = recipe.learning, recipe.supervised
    assert (plan.batch_size, plan.epochs, plan.optimizer) == (128, 100, AdamW(1e-3, 0.05))
    assert plan.schedule == "cosine" and 1e-3 * plan.lr_factor(1.0) == pytest.approx(1e-6)
    assert (baseline.batch_size, baseline.epochs, baseline.lr, baseline.weight_decay) == (128, 100, 1e-3, 0.05)
    assert baseline.cosine and not baseline.augment.flip and baseline.augment.crop_padding == 0
    assert "backpropagation" in recipe.baselines and recipe.readout.online  # type: ignore[attr-defined]


def test_inputs_are_standardised_as_published():
    for name in ("sphere2025-cifar10", "sphere2025-cifar100"):
        architecture = RECIPES[name].architecture
        assert architecture.mean == (0.4914, 0.4822, 0.4465) and architecture.std == (0.2470, 0.2434, 0.2616)
    tiny = RECIPES["sphere2025-tiny-imagenet"].architecture
    assert tiny.mean is not None and tiny.std is not None and tiny.input_shape == (3, 64, 64)
    assert [255 * value for value in tiny.mean] == pytest.approx([122.48, 114.28, 101.40], abs=0.02)
    assert [255 * value for value in tiny.std] == pytest.approx([70.49, 68.57, 71.81], abs=0.02)


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 64, 64)])
def test_features_are_sixteen_positions_of_the_last_block(shape: tuple[int, int, int]):
    network = sphere2025.network(sphere2025.NARROW, shape).build().eval()
    assert network(torch.rand(2, *shape)).shape == (2, 192, 4, 4)


def test_the_last_block_alone_has_a_residual_whatever_the_widths():
    blocks = sphere2025.network((8, 8, 8)).blocks
    assert [block.residual for block in blocks] == [False, False, True]  # type: ignore[attr-defined]


@pytest.mark.parametrize("data", ["cifar10", "cifar10-narrow", "cifar100-narrow", "digits"])
def test_softhebb_has_the_same_widths(data: str):
    local, hebbian = RECIPES[f"sphere2025-{data}"], RECIPES[f"sphere2025-{data}-softhebb"]
    assert local.data == hebbian.data and local.architecture.input_shape == hebbian.architecture.input_shape
    widths = [[block.channels for block in recipe.architecture.blocks] for recipe in (local, hebbian)]  # type: ignore[attr-defined]
    assert widths[0] == widths[1]
    if data != "cifar10":
        x = torch.rand(2, *local.architecture.input_shape)
        assert local.architecture.build().eval()(x).shape == hebbian.architecture.build().eval()(x).shape


@pytest.mark.parametrize("name", list(RECIPES))
def test_recipes_survive_json(name: str):
    assert from_json(Recipe, to_json(RECIPES[name])) == RECIPES[name]


def test_items_name_recipes_and_evaluators():
    for item in sphere2025.EXPERIMENTS:
        assert item.recipe in RECIPES
        get_evaluator(item.question)(**item.settings)
    costs = [item.training_seconds + item.seconds for item in sphere2025.EXPERIMENTS if not item.full]
    assert costs == sorted(costs) and costs[-1] < 1800


def test_a_run_of_the_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data = few_digits()
    monkeypatch.setattr("torchhebb.runs.training.load_data", lambda *_, **__: data)
    recipe = RECIPES["sphere2025-digits"]
    recipe = replace(
        recipe,
        seeds=1,
        published=81.18,
        learning=replace(recipe.learning, epochs=8),
        readout=replace(recipe.readout, epochs=10),
        supervised=replace(recipe.supervised, epochs=1),
    )
    result = run_recipe(recipe, TrainOptions(precision="float32"), folder=tmp_path)
    names = {f"{name}test_accuracy" for name in ("", "online_", "random_", "backpropagation_")}
    assert {measure.name for measure in result.measures} == names
    beside = {measure.name: measure.published for measure in result.measures if measure.published is not None}
    assert beside == {"online_test_accuracy": 81.18}, "the authors' readout learns beside the blocks"
    assert result.measure("test_accuracy").mean > 70 and result.measure("online_test_accuracy").mean > 30
    assert (tmp_path / "online.safetensors").exists()


# a readout that learns beside the blocks


def together(images: Images, plan: Learning = PLAN, **options: object) -> tuple[Network, OnlineReadout]:
    network = ARCHITECTURE.build()
    assert isinstance(plan.optimizer, AdamW)
    online = OnlineReadout(network, (1, 8, 8), 10, plan.optimizer, seed=3)
    return learn_images(network, images, plan, online=online, **options), online  # type: ignore[arg-type]


def test_the_online_readout_is_adamw_on_detached_features():
    images = digits(100)
    network, online = together(images)
    blocks = ARCHITECTURE.build()
    assert isinstance(PLAN.optimizer, AdamW)
    head = OnlineReadout(blocks, (1, 8, 8), 10, PLAN.optimizer, seed=3).readout.requires_grad_(True)
    assert head.weight.abs().max() <= 32**-0.5 and head.weight.std().item() == pytest.approx((3 * 32) ** -0.5, rel=0.1)
    models = (blocks.train(), head)
    optimizers = [torch.optim.AdamW(model.parameters(), 0.01, weight_decay=0.05, fused=True) for model in models]
    batches, step = Batches(images.images, 50, labels=images.labels), 0
    for epoch in range(3):
        for x, labels in batches.epoch(epoch):
            F.cross_entropy(head(learn(blocks, x)), labels).backward()
            for optimizer in optimizers:
                optimizer.param_groups[0]["lr"] = 0.01 * PLAN.lr_factor(step / 6)
                optimizer.step()
                optimizer.zero_grad()
            step += 1
    assert equal(state(network), state(blocks)) and equal(state(online.readout), state(head))


def test_labels_reach_the_online_readout_alone():
    images = digits(100)
    shuffled = Images(images.images, images.labels.flip(0))
    (one, readout), (other, other_readout) = together(images), together(shuffled)
    alone = learn_images(ARCHITECTURE.build(), images, PLAN)
    assert equal(state(one), state(other)) and equal(state(one), state(alone))
    assert not equal(state(readout.readout), state(other_readout.readout))
    assert not any(parameter.requires_grad for parameter in readout.readout.parameters())


def test_a_stopped_pass_goes_on_exactly_with_its_readout(tmp_path: Path):
    images = digits(100)
    whole, readout = together(images)
    with pytest.raises(Stop):
        together(images, checkpoint=Checkpoint(tmp_path, interval=0.0), progress=stop_after(220))
    again, again_readout = together(images, checkpoint=Checkpoint(tmp_path, interval=0.0))
    assert equal(state(whole), state(again))
    assert equal(state(readout.readout), state(again_readout.readout))


@pytest.mark.parametrize("plan", [Learning(), replace(PLAN, order="greedy")])
def test_an_online_readout_needs_a_joint_pass_by_adamw(plan: Learning):
    with pytest.raises(
        UserError, match="readout.online needs learning.order joint or pipeline and learning.optimizer AdamW"
    ):
        Recipe("sphere2025-x", "digits", ARCHITECTURE, plan, Readout(online=True))


@pytest.mark.parametrize("changes", [{"taps": (Tap(1, 2),)}, {"flip_average": True}])
def test_an_online_readout_reads_the_last_block(changes: dict[str, Any]):
    recipe = Recipe("sphere2025-x", "digits", ARCHITECTURE, PLAN, Readout(online=True))
    with pytest.raises(UserError, match="readout.online reads the last block: leave out architecture.taps"):
        replace(recipe, architecture=replace(ARCHITECTURE, feature_pool=None, **changes))


def test_random_weights_are_calibrated_here_too():
    from torchhebb.train.calibrate import calibrate

    network = calibrate(ARCHITECTURE.build(), digits(200))
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 4
    assert all(norm.running_mean is not None and norm.running_mean.abs().sum() > 0 for norm in (norms[0], norms[2]))
