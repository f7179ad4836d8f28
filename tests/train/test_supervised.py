"""The supervised loop: AdamW by hand, hooks that count, and a stop that leaves no trace."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.tiny import ARCHITECTURE, digits, equal, state, tiny_recipe
from torchhebb.data import Augment, Batches, load_data
from torchhebb.progress import Silent
from torchhebb.train import Supervised
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.log import Log
from torchhebb.train.run import run_recipe
from torchhebb.train.supervised import backpropagation_model, fit_supervised, supervised_accuracy

IMAGES = digits(100)
PLAN = Supervised(epochs=3, batch_size=30, lr=0.01, weight_decay=0.1, cosine=False)


class StopAt(Silent):
    """Ends the work after some steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def advance(self, n: int) -> None:
        self.left -= n
        if self.left <= 0:
            raise InterruptedError


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


def test_the_rate_falls_by_a_half_cosine():
    plan = Supervised(epochs=3, batch_size=30, lr=0.01)
    by_hand = model()
    optimizer = torch.optim.AdamW(by_hand.parameters(), lr=0.01, weight_decay=0.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=12)
    batches = Batches(IMAGES.images, 30, labels=IMAGES.labels)
    for epoch in range(3):
        for x, labels in batches.epoch(epoch):
            optimizer.zero_grad()
            F.cross_entropy(by_hand(x), labels).backward()
            optimizer.step()
            scheduler.step()
    for name, tensor in state(fit_supervised(model(), IMAGES, plan)).items():
        torch.testing.assert_close(tensor, by_hand.state_dict()[name], rtol=1e-4, atol=1e-5)


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


@pytest.mark.parametrize("steps", [1, 4, 6])
def test_a_stopped_run_goes_on_exactly(tmp_path: Path, steps: int):
    plan = Supervised(epochs=3, batch_size=30, augment=Augment(crop_padding=1, flip=True))

    def checkpoint(name: str) -> Checkpoint:
        return Checkpoint(tmp_path / name, log=Log(tmp_path / name / "metrics.jsonl"), interval=0.0)

    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = fit_supervised(model(), IMAGES, plan, checkpoint=checkpoint("whole"))
    with pytest.raises(InterruptedError):
        fit_supervised(model(), IMAGES, plan, checkpoint=checkpoint("parts"), progress=StopAt(steps + 1))
    again = fit_supervised(model(7), IMAGES, plan, checkpoint=checkpoint("parts"))
    assert equal(state(whole), state(again))
    lines = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "parts")]
    assert lines[0] == lines[1] and lines[0].count("\n") == 3


def test_backpropagation_learns_the_digits(tmp_path: Path):
    recipe: Any = tiny_recipe(baselines=("backpropagation",), supervised=Supervised(epochs=8, batch_size=32, lr=0.01))
    result = run_recipe(recipe, folder=tmp_path / "run")
    assert result.measure("backpropagation_test_accuracy").mean > 93.0


def test_accuracy_counts_right_answers():
    data = load_data("digits").test
    constant = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with torch.no_grad():
        constant[1].weight.zero_()
        constant[1].bias.copy_(torch.arange(10.0).flip(0))
    expected = 100.0 * (data.labels == 0).double().mean().item()
    assert supervised_accuracy(constant, data) == pytest.approx(expected)
