"""What cannot be learned or read out is said before learning begins; what can be learned to the end is."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from torchhebb.data import Source, Store, from_arrays, load_data
from torchhebb.errors import UserError
from torchhebb.nn import Architecture, Block, ConvBlock, LinearBlock, PatchWhitening, SPHeReConvBlock, WhitenedBlock
from torchhebb.readouts import Labels, Neighbors, ReadoutPlan, Ridge, WideRidge
from torchhebb.rules import BCM
from torchhebb.runs import TrainOptions, run_recipe
from torchhebb.train import Learning, Readout, Recipe, Supervised
from torchhebb.train.fitting import check_fit
from torchhebb.train.recipe import AdamW

OPTIONS = TrainOptions(device="cpu", precision="float32")
SHORT = Readout(epochs=1)


def images(count: int, *shape: int, classes: int = 2) -> Source:
    pixels = np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)
    return from_arrays(pixels, np.arange(count) % classes)


def recipe(*blocks: Block, shape: tuple[int, int, int] = (1, 4, 4), **settings: Any) -> Recipe:
    plan = {"learning": Learning(batch_size=5), "readout": SHORT, "baselines": (), **settings}
    return Recipe("fits", "digits", Architecture(shape, blocks), **plan)


SPHERE = SPHeReConvBlock(4, projection=4, pool=None)
ADAM = Learning(batch_size=5, optimizer=AdamW())
ONE = Learning(batch_size=1)


@pytest.mark.parametrize(
    ("recipe", "shape"),
    [
        (recipe(LinearBlock(4)), (4, 4)),
        (recipe(ConvBlock(4, 1), shape=(1, 1, 1)), (1, 1)),
        (recipe(SPHERE, shape=(1, 1, 1), learning=ADAM), (1, 1)),
        (recipe(LinearBlock(4), baselines=("backpropagation",), supervised=Supervised(1, 5)), (4, 4)),
    ],
    ids=["linear", "1x1", "sphere", "backpropagation"],
)
@pytest.mark.parametrize("order", ["joint", "greedy", "pipeline"])
def test_a_last_batch_of_one_image_is_learned(recipe: Recipe, shape: tuple[int, int], order: Any, tmp_path: Path):
    """13 images of which 11 are for training, in batches of 5."""
    recipe = replace(recipe, learning=replace(recipe.learning, order=order))
    result = run_recipe(recipe, OPTIONS, folder=tmp_path / "run", source=images(14, *shape), store=Store(tmp_path))
    assert len(load_data(images(14, *shape), store=Store(tmp_path)).train) % 5 == 1
    assert all(np.isfinite(value) for measure in result.measures for value in measure.values)


def test_greedy_passes_over_the_outputs_of_a_linear_block(tmp_path: Path):
    plan = Learning(batch_size=5, epochs=2, order="greedy")
    run_recipe(
        recipe(LinearBlock(4), LinearBlock(3), learning=plan),
        OPTIONS,
        folder=tmp_path / "run",
        source=images(20, 4, 4),
        store=Store(tmp_path),
    )


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (recipe(LinearBlock(4), learning=ONE), "learning.batch_size must be at least 2 for block1, whose batch norm"),
        (recipe(ConvBlock(4, 3, stride=9), ConvBlock(4, 1), learning=ONE), "at least 2 for block2, whose"),
        (recipe(SPHERE, learning=replace(ADAM, batch_size=1)), "block1, which compares the images of a batch"),
        (
            recipe(LinearBlock(4), baselines=("backpropagation",), supervised=Supervised(batch_size=1)),
            "supervised.batch_size must be at least 2 for block1",
        ),
        (recipe(LinearBlock(40, init="patches")), "block1.init must be normal or uniform"),
        (recipe(ConvBlock(300, 3, init="patches"), learning=Learning(samples=2)), "of 300 neurons .* 2 images have 32"),
        (recipe(LinearBlock(4), readout=Neighbors(k=(50,))), "k must be at most 1[0-9], the training images"),
        (recipe(ConvBlock(4, 3), readout=Labels()), "Labels needs features of one number a neuron"),
        (recipe(WhitenedBlock(4, 1, components=3)), "cannot be built: components must lie from 1 to 1"),
        (recipe(WhitenedBlock(4, 1)), "remove_mean must be False for patches of one number"),
        (recipe(LinearBlock(4), ConvBlock(4, 3)), "cannot be built"),
        (recipe(ConvBlock(4, 3, padding=7)), "cannot be built: reflect padding .* must fit x"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_before_learning(recipe: Recipe, words: str, tmp_path: Path):
    store = Store(tmp_path / "store")
    with pytest.raises(UserError, match=words) as error:
        check_fit(recipe, load_data(images(20, 4, 4), store=store))
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=words):
        run_recipe(recipe, OPTIONS, folder=tmp_path / "run", source=images(20, 4, 4), store=store)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: recipe(WhitenedBlock(4, 1), baselines=("backpropagation",)), "leave out backpropagation: block1"),
        (lambda: Architecture((1, 4, 4), (LinearBlock(4),), feature_pool=1), "feature_pool must be None"),
        (lambda: ConvBlock(4, 3, groups=2, init="patches"), "groups must be 1 where init is patches, got 2"),
        (lambda: ConvBlock(4, 3, BCM(), groups=2), "groups must be 1 for BCM"),
        (lambda: SPHeReConvBlock(4, kernel_size=2), "kernel_size must be odd"),
        (lambda: WhitenedBlock(4, 3, lateral=True, components=2), "components must be None where lateral is True"),
        (lambda: WhitenedBlock(4, 2, project=2, components=9), "components must be at most 8"),
    ],
)
def test_what_no_data_can_mend_is_said_at_construction(make: Any, words: str):
    with pytest.raises(UserError, match=words):
        make()


@pytest.mark.parametrize("lateral", [False, True])
def test_inputs_that_do_not_vary_are_not_whitened(lateral: bool):
    whiten = PatchWhitening(2, 1, shrinkage=0.0, lateral=lateral)
    with pytest.raises(UserError, match="vary in fewer than 2 directions: raise its shrinkage"):
        whiten.init_from_data(torch.ones(4, 2, 3, 3), torch.Generator())


@pytest.mark.parametrize("plan", [Ridge(), WideRidge(), Neighbors(k=(1,))], ids=lambda plan: type(plan).__name__)
def test_of_few_images_one_is_held_out(plan: ReadoutPlan):
    features, labels = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 1, 1])
    plan.check_samples(labels, (3,))
    assert plan.fit(features, labels, 2).readout(features).shape == (4, 2)
    with pytest.raises(UserError, match="needs more than 2, one a class"):
        plan.check_samples(labels[:2], (3,))
