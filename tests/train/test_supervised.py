"""The supervised loop: AdamW by hand, hooks that count, and a stop that leaves no trace."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.tiny import ARCHITECTURE, digits, equal, state, tiny_recipe
from tests.watch import Stop, stop_after
from torchhebb.data import Augment, Batches, Images, load_data
from torchhebb.errors import UserError
from torchhebb.nn import Architecture, ConvBlock, LinearReadout, Pool
from torchhebb.readouts.dropout import PackedDropout
from torchhebb.readouts.sources import epoch_seed
from torchhebb.rules import SoftHebb
from torchhebb.runs.training import run_recipe
from torchhebb.train import Supervised
from torchhebb.train.accuracy import model_accuracy
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.log import Log
from torchhebb.train.loop import At
from torchhebb.train.supervised import backpropagation_model, fit_supervised

IMAGES = digits(100)
PLAN = Supervised(epochs=3, batch_size=30, lr=0.01, weight_decay=0.1, cosine=False)


def model(seed: int = 0) -> nn.Sequential:
    return backpropagation_model(ARCHITECTURE, 10, seed)


def test_a_step_is_adamw_on_the_cross_entropy():
    by_hand = model()
    optimizer = torch.optim.AdamW(by_hand.parameters(), lr=0.01, weight_decay=0.1)
    batches = Batches(IMAGES.images, 30, labels=IMAGES.labels, seed=4)
    for epoch in range(3):
        for x, labels in batches.epoch(epoch):
            optimizer.zero_grad()
            F.cross_entropy(by_hand(x), labels).backward()
            optimizer.step()
    assert equal(state(fit_supervised(model(), IMAGES, PLAN, seed=4)), state(by_hand))


@pytest.mark.parametrize("views", [Augment(1), Augment(flip=True), Augment(crop_area=0.5), Augment()], ids=str)
def test_every_kind_of_view_is_taken(views: Augment, monkeypatch: pytest.MonkeyPatch):
    seen: list[Augment] = []

    def take(augment: Augment, x: Tensor, _generator: torch.Generator) -> Tensor:
        seen.append(augment)
        return x

    monkeypatch.setattr(Augment, "__call__", take)
    fit_supervised(model(), IMAGES, replace(PLAN, epochs=1, augment=views))
    assert seen == ([views] * 4 if views.active else [])


@pytest.mark.parametrize("rising", [0, 3])
def test_the_rate_rises_and_falls_by_a_half_cosine(rising: int):
    plan = Supervised(epochs=3, batch_size=30, lr=0.01, warmup=rising / 12)
    by_hand = model()
    optimizer = torch.optim.AdamW(by_hand.parameters(), lr=0.01, weight_decay=0.0)
    falls = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=12 - rising)
    batches = Batches(IMAGES.images, 30, labels=IMAGES.labels)
    for epoch in range(3):
        for step, (x, labels) in enumerate(batches.epoch(epoch), 4 * epoch + 1):
            if step <= rising:
                optimizer.param_groups[0]["lr"] = 0.01 * step / rising
            optimizer.zero_grad()
            F.cross_entropy(by_hand(x), labels).backward()
            optimizer.step()
            if step > rising:
                falls.step()
    for name, tensor in state(fit_supervised(model(), IMAGES, plan)).items():
        torch.testing.assert_close(tensor, by_hand.state_dict()[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("p", [0.5, 0.25])
def test_dropout_acts_on_what_the_last_layer_reads(p: float):
    plan = replace(PLAN, weight_decay=0.0, dropout=p)
    by_hand = model()
    optimizer = torch.optim.AdamW(by_hand.parameters(), lr=0.01, weight_decay=0.0)
    generator = torch.Generator()
    drop = PackedDropout(p, generator)
    batches = Batches(IMAGES.images, 30, labels=IMAGES.labels, seed=4)
    for epoch in range(3):
        for step, (x, labels) in enumerate(batches.epoch(epoch), 4 * epoch):
            optimizer.zero_grad()
            generator.manual_seed(epoch_seed(4, step))
            features = by_hand[1](by_hand[0](x))
            mask = drop(torch.ones_like(features))
            F.cross_entropy(by_hand[2](features * mask), labels).backward()
            optimizer.step()
    trained = fit_supervised(model(), IMAGES, plan, seed=4)
    for name, tensor in state(trained).items():
        torch.testing.assert_close(tensor, by_hand.state_dict()[name], rtol=1e-4, atol=1e-5)


def test_dropout_before_a_readout_that_is_no_linear_layer_of_torch():
    """As where a question trains a network under a readout that is kept."""
    taught = []
    for p in (0.0, 0.5):
        network, _, head = model()
        readout = LinearReadout(head.in_features, head.out_features)
        readout.weight.copy_(head.weight.detach())
        joined = nn.Sequential(network, readout)
        taught.append(state(fit_supervised(joined, IMAGES, replace(PLAN, epochs=1, dropout=p))))
    assert not equal(*taught)


def test_dropout_leaves_other_linear_layers_alone():
    two = nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.Softplus(), nn.Linear(20, 10))
    zeros: list[bool] = []
    for layer in (two[1], two[3]):
        layer.register_forward_hook(lambda _, inputs, __: zeros.append(bool((inputs[0] == 0).any())))
    bright = replace(IMAGES, images=torch.full_like(IMAGES.images, 200))
    fit_supervised(two, bright, replace(PLAN, epochs=1, dropout=0.5))
    assert zeros == [False, True] * 4


def test_dropout_without_a_linear_layer_is_refused():
    convolution = nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten())
    with pytest.raises(UserError, match=r"supervised.dropout must be 0: the model has no linear layer"):
        fit_supervised(convolution, IMAGES, replace(PLAN, dropout=0.5))


def test_a_look_between_steps_sees_no_dropout():
    watched = model()
    seen: list[bool] = []

    def look(_: int) -> None:
        x = torch.ones(2, watched[2].in_features)
        seen.append(torch.equal(watched.eval()[2](x), F.linear(x, watched[2].weight, watched[2].bias)))

    fit_supervised(watched, IMAGES, replace(PLAN, epochs=1, dropout=0.5), on_step=[At(range(1, 4), look)])
    assert seen == [True, True, True]


def test_no_dropout_is_left_in_a_trained_model():
    trained = fit_supervised(model(), IMAGES, replace(PLAN, epochs=1, dropout=0.5))
    for mode in (False, True):
        head = trained.train(mode)[2]
        x = torch.ones(2, head.in_features)
        assert torch.equal(head(x), F.linear(x, head.weight, head.bias))


def test_the_gradient_reaches_every_block():
    start = state(model())
    after = state(fit_supervised(model(), IMAGES, PLAN))
    assert all(not torch.equal(start[name], after[name]) for name in start)


def test_perturbed_inputs_and_penalties_take_part():
    seen: list[int] = []

    def dark(_: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
        seen.append(len(labels))
        return torch.zeros_like(x)

    plan = Supervised(epochs=1, batch_size=30)
    dimmed = fit_supervised(model(), IMAGES, plan, perturb=dark)
    assert seen == [30, 30, 30, 10]
    assert torch.equal(dimmed[0].block1.norm.running_mean, torch.zeros(1))
    held = fit_supervised(model(), IMAGES, plan, penalty=lambda m: 1e4 * m[2].weight.square().sum())
    free = fit_supervised(model(), IMAGES, plan)
    assert held[2].weight.norm() < free[2].weight.norm()


@pytest.mark.parametrize(("steps", "dropout"), [(1, 0.0), (4, 0.5), (6, 0.0), (6, 0.5)])
def test_a_stopped_run_goes_on_exactly(tmp_path: Path, steps: int, dropout: float):
    plan = Supervised(epochs=3, batch_size=30, augment=Augment(crop_padding=1, flip=True), dropout=dropout)

    def checkpoint(name: str) -> Checkpoint:
        return Checkpoint(tmp_path / name, log=Log(tmp_path / name / "metrics.jsonl"), interval=0.0)

    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = fit_supervised(model(), IMAGES, plan, checkpoint=checkpoint("whole"))
    with pytest.raises(Stop):
        fit_supervised(model(), IMAGES, plan, checkpoint=checkpoint("parts"), progress=stop_after(steps + 1))
    again = fit_supervised(model(7), IMAGES, plan, checkpoint=checkpoint("parts"))
    assert equal(state(whole), state(again))
    lines = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "parts")]
    assert lines[0] == lines[1] and lines[0].count("\n") == 3


def test_backpropagation_learns_the_digits(tmp_path: Path):
    recipe: Any = tiny_recipe(baselines=("backpropagation",), supervised=Supervised(epochs=8, batch_size=32, lr=0.01))
    result = run_recipe(recipe, folder=tmp_path / "run")
    assert result.measure("backpropagation_test_accuracy").mean > 93.0


def test_a_rule_that_rectifies_leaves_no_trace_in_the_network_for_gradients():
    first, second = ARCHITECTURE.blocks
    rectified = replace(ARCHITECTURE, blocks=(first, replace(second, rule=SoftHebb(0.65, rectify=True))))
    one, other = backpropagation_model(rectified, 10, 3).eval(), model(3).eval()
    x = IMAGES.images / 255.0
    assert equal(state(one), state(other)) and torch.equal(one(x), other(x))
    below = one[0].block1(x)
    u = F.conv2d(F.pad(one[0].block2.norm(below), (1, 1, 1, 1), mode="reflect"), one[0].block2.layer.weight)
    assert torch.equal(one[0].block2(below), F.max_pool2d(u.relu(), 4, 2, 1))


def test_pytorchs_first_weights_are_those_of_its_own_layers_in_their_range():
    he, pytorch = backpropagation_model(ARCHITECTURE, 10, 3), backpropagation_model(ARCHITECTURE, 10, 3, "pytorch")
    for block in pytorch[0].children():
        weight, fan_in = block.layer.weight, block.layer.weight[0].numel()
        plain = nn.Conv2d(weight.shape[1], 2000, weight.shape[2:]).weight
        assert weight.requires_grad and weight.min() < 0 < weight.max()
        assert 0.9 * plain.abs().max() < weight.abs().max() <= 1.001 * plain.abs().max()
        assert weight.std().item() == pytest.approx((3 * fan_in) ** -0.5, rel=0.15)
    assert equal(state(he[2]), state(pytorch[2])), "the linear layer has PyTorch's initial weights either way"
    drawn = [layer.weight.flatten()[:20] / layer.weight.abs().max() for layer in (pytorch[0].block1.layer, pytorch[2])]
    assert (drawn[0] - drawn[1]).abs().max() > 0.3, "layers do not share their random numbers"
    again = backpropagation_model(ARCHITECTURE, 10, 3, "pytorch")
    assert equal(state(pytorch), state(again)) and not equal(
        state(again), state(backpropagation_model(ARCHITECTURE, 10, 4, "pytorch"))
    )


def test_weights_in_groups_start_at_the_fan_in_of_a_group():
    block = ConvBlock(384, 1, groups=4, pool=Pool("max", 2, 2))
    grouped = backpropagation_model(Architecture((64, 8, 8), (block,)), 10)
    weight = grouped[0].block1.layer.weight
    assert weight.shape == (384, 16, 1, 1) and weight.requires_grad
    assert weight.std().item() == pytest.approx((2 / 16) ** 0.5, rel=0.03)
    fit_supervised(grouped, Images(torch.randint(0, 256, (20, 64, 8, 8), dtype=torch.uint8), IMAGES.labels[:20]), PLAN)


def test_accuracy_counts_right_answers():
    data = load_data("digits").test
    constant = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with torch.no_grad():
        constant[1].weight.zero_()
        constant[1].bias.copy_(torch.arange(10.0).flip(0))
    expected = 100.0 * (data.labels == 0).double().mean().item()
    assert model_accuracy(constant, data) == pytest.approx(expected)
