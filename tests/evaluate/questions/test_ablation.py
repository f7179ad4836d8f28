"""The variants of a recipe, the networks of each depth, and the differences between them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from tests.tiny import digits, equal, few_digits, state
from torchhebb.config import to_json
from torchhebb.data import Store
from torchhebb.errors import UserError
from torchhebb.evaluate import Run, evaluate, open_run
from torchhebb.evaluate.methods.ablation_variants import (
    Variant,
    deepened,
    local_blocks,
    softhebb_blocks,
    start_from_softhebb,
    until,
    widened,
)
from torchhebb.evaluate.questions.ablation import Ablation, difference
from torchhebb.nn import Architecture, ConvBlock, Pool, SPHeReConvBlock
from torchhebb.readouts import Fitted, Ridge
from torchhebb.rules import SoftHebb
from torchhebb.runs import TrainOptions, run_recipe
from torchhebb.runs.networks import placed
from torchhebb.train import Learning, Measure, Readout, Recipe, Result
from torchhebb.train.learn import learn_images
from torchhebb.train.recipe import AdamW
from torchhebb.train.wilson import wilson

BLOCKS = (SPHeReConvBlock(4, projection=16, pool=Pool("max", 2, 2)), SPHeReConvBlock(8, projection=16, residual=True))
ARCHITECTURE = Architecture((1, 8, 8), BLOCKS, feature_pool=2)
LEARNING = Learning(50, 1, optimizer=AdamW(1e-2), schedule="cosine")
RIDGE = Ridge(strengths=(0.1,))
QUESTION = Ablation(
    projections=(8, 16),
    channel_factors=(0.5,),
    slopes=(0.0, 1.0),
    depths=(3, 1, 2),
    learning_images=200,
    ridge=RIDGE,
)


def local_run(folder: Path, store: Store, seeds: int = 2) -> Run:
    """Two blocks of local losses on the digits, one pass."""
    readout = Readout(epochs=2, batch_size=200, dropout=0.0, standardize=True, init_scale=0.0)
    recipe = Recipe("tiny-local", "digits", ARCHITECTURE, LEARNING, readout, baselines=(), seeds=seeds)
    run_recipe(recipe, TrainOptions(device="cpu", precision="float32"), folder=folder, store=store)
    return open_run(folder, store=store)


@pytest.fixture(scope="module")
def local(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    few = few_digits()
    run = local_run(tmp_path_factory.mktemp("runs") / "local", store)
    return replace(run, data=few)


@pytest.fixture(scope="module")
def answer(local: Run) -> Result:
    return evaluate(QUESTION, local)


def test_every_variant_is_compared_with_the_unchanged_network(answer: Result) -> None:
    single = {"structure", "orthogonality", "projection_8", "channels_x0.5", "slope_0", "slope_1", "softhebb_blocks"}
    single |= {"softhebb_start", "random"}
    deep = {f"{name}_{depth}" for name in ("depth", "random_depth") for depth in (1, 2, 3)}
    names = {f"{name}_test_accuracy" for name in single | deep | {"unchanged"}}
    names |= {f"{name}_difference" for name in single | deep} | {"depth_2_gain", "depth_3_gain"}
    assert {measure.name for measure in answer.measures} == names  # the recipe's own projection, 16, is left out
    unchanged = answer.measure("unchanged_test_accuracy")
    for name in single | deep:
        accuracy, points = answer.measure(f"{name}_test_accuracy"), answer.measure(f"{name}_difference")
        expected = [a - b for a, b in zip(accuracy.values, unchanged.values, strict=True)]
        assert points.values == pytest.approx(expected) and points.unit == "points"
        assert accuracy.interval == pytest.approx(wilson(accuracy.values, 100))
    assert len({answer.measure(f"{name}_test_accuracy").values for name in single}) > 6


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("structure", replace(ARCHITECTURE, blocks=tuple(replace(block, orthogonality=0.0) for block in BLOCKS))),
        (
            "orthogonality",
            replace(ARCHITECTURE, blocks=tuple(replace(b, structure=0.0, orthogonality=1.0) for b in BLOCKS)),
        ),
        ("projection_8", replace(ARCHITECTURE, blocks=tuple(replace(block, projection=8) for block in BLOCKS))),
        (
            "channels_x0.5",
            replace(ARCHITECTURE, blocks=(replace(BLOCKS[0], channels=2), replace(BLOCKS[1], channels=4))),
        ),
        ("slope_1", replace(ARCHITECTURE, blocks=tuple(replace(block, negative_slope=1.0) for block in BLOCKS))),
        ("depth", replace(ARCHITECTURE, blocks=(*BLOCKS, replace(BLOCKS[1], pool=None)))),
        ("unchanged", ARCHITECTURE),
    ],
)
def test_a_variant_is_the_recipes_architecture_with_one_change(
    name: str, architecture: Architecture, local: Run
) -> None:
    assert QUESTION.variants(local)[name].architecture == architecture


def test_a_depth_is_what_so_many_blocks_learn_alone(local: Run) -> None:
    """No gradient comes down, so that one deep network holds those of all smaller depths."""
    whole = QUESTION._learned(local, 1, "deep", QUESTION.variants(local)["depth"])
    images, x = local.data.train.select(drawn(300, 200)), local.data.test.images[:20] / 255.0
    for depth in (1, 2):
        alone = placed(replace(ARCHITECTURE, blocks=BLOCKS[:depth]).build(1), local.device)
        learn_images(alone, images, LEARNING, seed=1)
        with torch.no_grad():
            torch.testing.assert_close(until(whole, depth)(x), alone(x))


def test_accuracies_count_right_answers_of_every_depth(local: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readouts that always answer 3: the share of threes, whatever the features are."""

    monkeypatch.setattr(Ridge, "fit", lambda *_, **__: Fitted(Always(3)))
    monkeypatch.setattr(Run, "cached", lambda run, work, **key: work())
    found = {f.name: f.values for f in QUESTION.run(local) if isinstance(f, Measure)}
    threes = 100 * (local.data.test.labels == 3).double().mean().item()
    for name in ("unchanged", "structure", "random", "depth_1", "depth_3"):
        assert found[f"{name}_test_accuracy"] == pytest.approx((threes, threes))
    assert found["depth_2_gain"] == found["structure_difference"] == (0.0, 0.0)


class Always(torch.nn.Module):
    """One answer to all features."""

    def __init__(self, answer: int) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.one_hot(torch.full((len(x),), self.answer), 10).float()


def drawn(count: int, wanted: int) -> torch.Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:wanted].sort().values


def test_with_the_recipes_plan_the_unchanged_network_is_the_runs_own(
    local: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchhebb.evaluate.questions.ablation.learn_run", None)
    whole = open_run(local.folder, store=local.store)
    found = next(Ablation(changes=(), readout="trained").run(whole))
    assert isinstance(found, Measure) and found.name == "unchanged_test_accuracy"
    assert found.values == whole.result.measure("test_accuracy").values


def test_random_weights_are_calibrated_and_nothing_more(answer: Result, local: Run) -> None:
    assert answer.measure("random_test_accuracy").values == answer.measure("random_depth_2_test_accuracy").values
    drawn_network = ARCHITECTURE.build(1)
    found = QUESTION._learned(local, 1, "random", Variant("", ARCHITECTURE, "random"))
    for (name, weight), other in zip(found.named_parameters(), drawn_network.parameters(), strict=True):
        assert torch.equal(weight, other), name
    x = local.data.train.select(drawn(300, 200)).images / 255.0
    with torch.no_grad():
        maps = drawn_network.get_submodule("block1.body.conv")(x)
    mean = found.get_buffer("block1.body.norm.running_mean")
    torch.testing.assert_close(mean, maps.mean((0, 2, 3)), atol=1e-4, rtol=1e-3)


def test_the_curves_and_gains_follow_the_depth(answer: Result) -> None:
    for name in ("depth", "random_depth"):
        (line,) = (curve for curve in answer.curves if curve.name == name)
        assert line.x == (1, 2, 3) and line.std is not None
        assert line.y == pytest.approx([answer.measure(f"{name}_{depth}_test_accuracy").mean for depth in line.x])
    means = [answer.measure(f"depth_{depth}_test_accuracy").mean for depth in (1, 2, 3)]
    pays = 1
    for depth in (2, 3):
        gain = answer.measure(f"depth_{depth}_gain")
        assert gain.mean == pytest.approx(means[depth - 1] - means[depth - 2]) and gain.interval is not None
        if pays == depth - 1 and gain.interval[0] > 0:
            pays = depth
    assert answer.notes["depth_pays_until"] == pays


def test_the_figure_shows_all(answer: Result, local: Run) -> None:
    text = (local.folder / "ablation-variants.svg").read_text()
    for words in ("structure alone", "projection to 8", "relu", "no activation", "in SoftHebb's blocks", "blocks"):
        assert f"<!-- {words} -->" in text


def test_a_piece_is_not_learned_twice(local: Run, answer: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchhebb.evaluate.questions.ablation.learn_run", None)
    assert evaluate(QUESTION, local).measures == answer.measures


def test_kept_answers_have_the_key_of_earlier_versions() -> None:
    """The name of a variant's class is a part of the key under which its answers are kept."""
    assert to_json(Variant("", ARCHITECTURE))["type"] == "Variant"


def test_a_difference_is_paired_image_by_image() -> None:
    right = torch.tensor([[True, True, False, False], [True, False, False, True]])
    other = torch.tensor([[False, True, False, False], [True, False, False, False]])
    found = difference("more", right, other)
    assert found.values == (25.0, 25.0)
    of_image = torch.tensor([50.0, 0.0, 0.0, 50.0])
    half = 1.959964 * of_image.std().item() / 2
    assert found.interval == pytest.approx((25 - half, 25 + half), rel=1e-6)


def test_deeper_blocks_keep_the_size_of_the_maps_and_the_first_weights() -> None:
    base, deep = ARCHITECTURE, deepened(ARCHITECTURE, 4)
    assert deepened(base, 2) == base and deepened(base, 1).blocks == BLOCKS[:1]
    assert [block.pool for block in local_blocks(deep)[2:]] == [None, None]  # type: ignore[attr-defined]
    assert local_blocks(deep)[3] == replace(BLOCKS[1], pool=None)
    one, other = base.build(3).eval(), deep.build(3).eval()
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(until(other, 2)(x), one(x)) and not torch.equal(other(x), one(x))
    assert deep.build(0).eval()[:4](x).shape == base.build(0).eval()[:2](x).shape == (2, 8, 2, 2)
    assert [block.channels for block in local_blocks(widened(base, 0.1))] == [1, 1]  # type: ignore[attr-defined]


def test_softhebbs_blocks_learn_by_the_same_loss() -> None:
    network = softhebb_blocks(ARCHITECTURE, seed=5)
    assert equal(state(network), state(softhebb_blocks(ARCHITECTURE, seed=5)))
    first, second = network.block1, network.block2  # type: ignore[union-attr]
    assert [name for name, _ in first.body.named_children()] == ["norm", "layer", "activation", "pool", "power"]  # type: ignore[union-attr]
    assert first.body.layer.kernel_size == (5, 5) and second.body.layer.kernel_size == (3, 3)  # type: ignore[union-attr]
    assert first.body.layer.bias is None and first.body.power.power == 0.7  # type: ignore[union-attr]
    assert first.loss == ARCHITECTURE.build().block1.loss and not second.residual  # type: ignore[union-attr]
    before = state(network)
    learn_images(network, digits(100), LEARNING)
    after = state(network)
    assert all(after[name].isfinite().all() for name in after)
    for name in ("block1.body.layer.weight", "block2.body.layer.weight", "block1.auxiliary.5.weight"):
        assert not torch.equal(before[name], after[name])
    pooled = softhebb_blocks(replace(ARCHITECTURE, blocks=(replace(BLOCKS[0], pool=None), *BLOCKS, BLOCKS[1])))
    assert not hasattr(pooled.block1.body, "pool")  # type: ignore[union-attr]
    assert isinstance(pooled.block3.body.pool, torch.nn.AvgPool2d)  # type: ignore[union-attr]


def test_the_start_is_softhebbs_directions_at_the_radius_of_drawn_weights() -> None:
    network, images = ARCHITECTURE.build(2), digits(60)
    before = state(network)
    start_from_softhebb(network, images, seed=2, task="start")
    soft = Variant("", ARCHITECTURE).build(2)
    start_from_softhebb(soft, images, seed=2, task="start")
    assert equal(state(network), state(soft))
    for number in (1, 2):
        weight = network.get_parameter(f"block{number}.body.conv.weight")
        assert weight.flatten(1).norm(dim=1) == pytest.approx(3**-0.5)
        assert torch.equal(
            network.get_parameter(f"block{number}.body.conv.bias"), before[f"block{number}.body.conv.bias"]
        )
    blocks = (
        ConvBlock(4, 3, SoftHebb(1.0), power=0.7, pool=BLOCKS[0].pool, lr=0.08),
        ConvBlock(8, 3, SoftHebb(0.65), power=1.4, pool=BLOCKS[1].pool, lr=0.005),
    )
    hebbian = replace(ARCHITECTURE, blocks=blocks).build(2)
    learn_images(hebbian, images, Learning(), seed=2)
    cosine = F.cosine_similarity(
        hebbian.get_parameter("block1.layer.weight").flatten(1),
        network.get_parameter("block1.body.conv.weight").flatten(1),
    )
    assert cosine.min() > 0.9999


def test_a_run_without_local_losses_is_refused(run: Run) -> None:
    with pytest.raises(UserError, match="block1 does not learn by a local loss"):
        next(Ablation().run(run))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"changes": ("sturcture",)}, "changes must be among structure, .*, got 'sturcture'"),
        ({"depths": (0, 1)}, r"depths must be at least 1 each, got \(0, 1\)"),
        ({"projections": (0,)}, r"projections must be at least 1 each, got \(0,\)"),
        ({"channel_factors": (0.0,)}, r"channel_factors must be above 0, each once, got \(0.0,\)"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"learning_images": 0}, "learning_images must be at least 1, got 0"),
    ],
)
def test_mistakes_are_named_before_anything_is_learned(
    settings: dict[str, object], message: str, local: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchhebb.evaluate.questions.ablation.learn_run", None)
    with pytest.raises(UserError, match=message):
        next(Ablation(**settings).run(local))  # type: ignore[arg-type]


def test_a_variant_that_does_not_fit_the_images_is_named(local: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    small = replace(ARCHITECTURE, input_shape=(1, 2, 2), blocks=(replace(BLOCKS[0], pool=None),))  # 5x5 needs more
    monkeypatch.setattr("torchhebb.evaluate.questions.ablation.learn_run", None)
    odd = replace(local, recipe=replace(local.recipe, architecture=small))
    with pytest.raises(UserError, match="the variant softhebb_blocks cannot be built"):
        next(Ablation(changes=("softhebb_blocks",)).run(odd))
