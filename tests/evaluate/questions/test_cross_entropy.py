"""The post-hoc curve on a tiny layer: where it starts, where it must end, and that no label was read on the way."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.evaluate.by_hand import curve
from tests.tiny import digits, equal, state
from torchhebb.data import Batches, Images
from torchhebb.errors import UserError
from torchhebb.evaluate import Run, evaluate
from torchhebb.evaluate.evaluator import Figure
from torchhebb.evaluate.methods.watch import at_rest, fit, samples_seen
from torchhebb.evaluate.questions.cross_entropy import CrossEntropy
from torchhebb.evaluate.statistics import mean_curve
from torchhebb.nn import Architecture, ConvBlock, LinearBlock, LinearReadout
from torchhebb.rules import SoftHebb
from torchhebb.runs.baselines import baseline
from torchhebb.train import Curve, Learning, Result, Supervised
from torchhebb.train.learn import learn_images
from torchhebb.train.supervised import backpropagation_model, fit_supervised

QUESTION = CrossEntropy(readout_epochs=8, points=6)


@pytest.fixture(scope="module")
def answer(layer: Run) -> Result:
    return evaluate(QUESTION, layer)


def loss_and_accuracy(features: nn.Module, readout: nn.Module, images: Images) -> tuple[float, float]:
    with torch.no_grad():
        logits = readout(features.eval()(images.images / 255.0))
    right = (logits.argmax(1) == images.labels).double().mean().item()
    return F.cross_entropy(logits, images.labels).item(), 100 * right


def finished_readout(run: Run, name: str, seed: int) -> LinearReadout:
    """The readout by hand: trained on the finished layer."""
    with torch.no_grad():
        features = baseline(run, seed, name)(run.data.train.images / 255.0)  # type: ignore[arg-type]
    plan = replace(run.recipe.readout, epochs=QUESTION.readout_epochs)
    readout = plan.fit(features, run.data.train.labels, 10, seed=seed).readout
    assert isinstance(readout, LinearReadout)
    return readout


@pytest.mark.parametrize("name", ["own", "hard"])
def test_the_curve_leads_from_the_random_weights_to_the_layer_of_the_readout(
    name: str, answer: Result, layer: Run
) -> None:
    for seed in (0, 1):
        trained = baseline(layer, seed, name)  # type: ignore[arg-type]
        readout = finished_readout(layer, name, seed)
        assert trained.architecture is not None
        before = loss_and_accuracy(trained.architecture.build(seed), readout, layer.data.test)
        after = loss_and_accuracy(trained, readout, layer.data.test)
        for when, (loss, accuracy) in (("before", before), ("after", after)):
            assert answer.measure(f"{name}_cross_entropy_{when}").values[seed] == pytest.approx(loss, rel=1e-4)
            assert answer.measure(f"{name}_accuracy_{when}").values[seed] == pytest.approx(accuracy)
        assert answer.measure(f"{name}_cross_entropy_fall").values[seed] == pytest.approx(
            before[0] - after[0], rel=1e-3
        )
    assert answer.notes["falls"][name] is True


def test_curves_are_means_over_seeds_at_the_points_of_the_pass(answer: Result) -> None:
    line = curve(answer, "test_cross_entropy own")
    images = 1348
    assert len(line.x) == QUESTION.points + 1 and line.x[0] == 0 and line.x[-1] == 2 * images
    assert line.x[3] == images and line.std is not None
    before, after = (answer.measure(f"own_cross_entropy_{when}").mean for when in ("before", "after"))
    assert line.y[0] == pytest.approx(before) and line.y[-1] == pytest.approx(after)
    assert curve(answer, "test_accuracy own").y[-1] == pytest.approx(answer.measure("own_accuracy_after").mean)
    assert curve(answer, "batch_cross_entropy backpropagation").x[-1] < images  # it sees them once


def test_batches_are_measured_just_before_they_are_learned(layer: Run) -> None:
    run = replace(layer, result=replace(layer.result, seeds=(0,)))
    every = CrossEntropy(baselines=("own",), readout_epochs=QUESTION.readout_epochs, points=170, images=40)
    found = {finding.name: finding for finding in every.run(run) if isinstance(finding, Curve)}
    line = found["batch_cross_entropy own"]
    assert len(line.x) == 170 and line.x[0] == 8  # 85 batches of 16 in each of two passes
    readout, train = finished_readout(layer, "own", 0), layer.data.train
    x, labels = next(Batches(train.images, 16, labels=train.labels, seed=0).epoch(0))
    network = layer.recipe.architecture.build(0).eval()
    assert line.y[0] == pytest.approx(F.cross_entropy(readout(network(x)), labels).item(), rel=1e-4)
    once = learn_images(layer.recipe.architecture.build(0), train, replace(layer.recipe.learning, epochs=1), seed=0)
    x, labels = next(Batches(train.images, 16, labels=train.labels, seed=0).epoch(1))
    assert line.x[85] == 1348 + 8 and line.x[-1] == 2 * 1348 - 2
    assert line.y[85] == pytest.approx(F.cross_entropy(readout(once(x)), labels).item(), rel=1e-4)
    assert min(line.y) < 0.8 * line.y[0]


def test_learning_again_reads_no_label(layer: Run) -> None:
    train = layer.data.train
    shuffled = Images(
        train.images, train.labels[torch.randperm(len(train), generator=torch.Generator().manual_seed(0))]
    )
    networks = []
    for images in (train, shuffled):
        model = nn.Sequential(layer.recipe.architecture.build(0), LinearReadout(30, 10))
        fit(model, images, layer.recipe.learning, lambda _: None, seed=0, precision="float32")
        networks.append(state(model[0]))
    assert equal(*networks)
    assert equal(networks[0], state(layer.network(0)))


def test_backpropagation_moves_the_layer_and_leaves_the_readout(answer: Result, layer: Run) -> None:
    readout = finished_readout(layer, "backpropagation", 0)
    kept = state(readout)
    architecture = baseline(layer, 0, "backpropagation").architecture
    assert architecture is not None
    network = architecture.build(0).requires_grad_(True)
    before = loss_and_accuracy(network, readout, layer.data.test)[0]
    fit_supervised(nn.Sequential(network, readout), layer.data.train, layer.recipe.supervised, seed=0)
    after = loss_and_accuracy(network, readout, layer.data.test)[0]
    assert equal(state(readout), kept) and after < before
    assert answer.measure("backpropagation_cross_entropy_before").values[0] == pytest.approx(before, rel=1e-4)
    assert answer.measure("backpropagation_cross_entropy_after").values[0] == pytest.approx(after, rel=1e-4)


def test_another_order_ends_elsewhere(layer: Run, answer: Result) -> None:
    run = replace(layer, result=replace(layer.result, seeds=(0,)))
    found = evaluate(replace(QUESTION, baselines=("own",), points=1, reorder=True), run)
    before, after = (answer.measure(f"own_cross_entropy_{when}").values[0] for when in ("before", "after"))
    assert found.measure("own_cross_entropy_before").values == pytest.approx((before,))
    assert found.measure("own_cross_entropy_after").values[0] != pytest.approx(after, rel=1e-6)


@pytest.mark.parametrize("order", ["joint", "greedy", "pipeline"])
def test_looking_changes_nothing_and_comes_before_the_first_and_after_every_step(order: str) -> None:
    blocks = (ConvBlock(4, 3, SoftHebb(1.0), init_radius=3.0), LinearBlock(6, SoftHebb(1.0), init_radius=3.0))
    architecture, plan = Architecture((1, 8, 8), blocks), Learning(batch_size=30, epochs=2, order=order)  # type: ignore[arg-type]
    images, steps = digits(100), list[int]()
    model = nn.Sequential(architecture.build(0))

    def look(step: int) -> None:
        steps.append(step)
        with at_rest(model):
            model(images.images[:2] / 255.0)

    fit(model, images, plan, look, seed=3, precision="float32")
    assert equal(state(model[0]), state(learn_images(architecture.build(0), images, plan, seed=3)))
    seen = samples_seen(100, plan, len(blocks))
    assert steps == list(range(len(seen))) and seen[4] == 100 and seen[5] == 130
    assert seen[-1] == (400 if order == "greedy" else 200)


def test_looking_leaves_a_supervised_training_as_it_is() -> None:
    architecture, plan = Architecture((1, 8, 8), (LinearBlock(6),)), Supervised(epochs=2, batch_size=30)
    watched, alone = (backpropagation_model(architecture, 10, 1) for _ in range(2))

    def look(_: int) -> None:
        with at_rest(watched):
            watched(digits(5).images / 255.0)

    fit(watched, digits(100), plan, look, seed=1, precision="float32")
    assert equal(state(watched), state(fit_supervised(alone, digits(100), plan, seed=1)))


def test_at_rest_restores_every_mode() -> None:
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2)).train()
    model[1].eval()
    with pytest.raises(KeyError), at_rest(model):
        assert not model[0].training and not torch.is_grad_enabled()
        raise KeyError
    assert model[0].training and not model[1].training and torch.is_grad_enabled()


def test_spread_is_mean_and_sample_deviation() -> None:
    line = mean_curve("a", "x", "y", [0, 1], [[1.0, 2.0], [3.0, 2.0]])
    assert line.y == (2.0, 2.0) and line.std == pytest.approx((2**0.5, 0.0))
    assert mean_curve("a", "x", "y", [0], [[1.0]]).std is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"baselines": ("random",)}, "baselines must be among own, .*, got 'random'"),
        ({"points": 0}, "points must be at least 1, got 0"),
        ({"readout_epochs": 0}, "readout_epochs must be at least 1, got 0"),
        ({"images": 0}, "images must be at least 1, got 0"),
    ],
)
def test_mistakes_are_named_before_anything_is_trained(
    settings: dict[str, object], message: str, layer: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchhebb.evaluate.questions.cross_entropy.baseline", None)
    with pytest.raises(UserError, match=message):
        next(CrossEntropy(**settings).run(layer))  # type: ignore[arg-type]


def test_the_picture_has_one_line_per_baseline(layer: Run) -> None:
    settings = CrossEntropy(baselines=("own", "backpropagation"), readout_epochs=2, points=4, images=50)
    (figure,) = (finding for finding in settings.run(layer) if isinstance(finding, Figure))
    panels = figure.picture.axes
    assert [axes.get_title() for axes in panels] == ["test cross-entropy, nats", "test accuracy, %"]
    assert [len(axes.containers) for axes in panels] == [2, 2]
    assert [text.get_text() for text in figure.picture.legends[0].get_texts()] == ["SoftHebb", "backpropagation"]
