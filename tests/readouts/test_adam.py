"""The linear readout by Adam: its fused steps are those of autograd and torch's Adam on the same masks."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from tests.tiny import digits, equal, network, state
from tests.watch import Stop, stop_after
from torchhebb.nn import LinearReadout
from torchhebb.readouts.base import predict_logits
from torchhebb.readouts.dropout import PackedDropout
from torchhebb.train import Readout
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.features import extract_features
from torchhebb.train.log import Log, read_log

PLAN = Readout(epochs=4, batch_size=16, lr=0.01)


def problem(samples: int = 70, width: int = 33, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Features around one centre for each class."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(classes, (samples,), generator=generator)
    centres = torch.randn(classes, width, generator=generator)
    return centres[labels] + 0.5 * torch.randn(samples, width, generator=generator), labels


class Recording(PackedDropout):
    """Keeps what each batch was before and after its mask."""

    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        before = x.clone()
        out = super().__call__(x)
        self.seen.append((before, out.clone()))
        return out


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[torch.Tensor, torch.Tensor]]:
    monkeypatch.setattr(Recording, "seen", [])
    monkeypatch.setattr("torchhebb.readouts.adam.PackedDropout", Recording)
    return Recording.seen


def rows_of(batch: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """Which samples a batch holds: no two of them are equal."""
    found = (batch.unsqueeze(1) == features).all(2)
    assert (found.sum(1) == 1).all()
    return found.int().argmax(1)


def by_autograd(
    start: LinearReadout, batches: list[tuple[torch.Tensor, torch.Tensor]], plan: Readout
) -> tuple[torch.Tensor, torch.Tensor, list[float]]:
    """Weight, bias and mean loss of each epoch: cross-entropy, backward, Adam, the rate halved as the plan says."""
    weight = start.weight.detach().clone().requires_grad_()
    bias = start.bias.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([weight, bias])
    per_epoch = len(batches) // plan.epochs
    losses = []
    for epoch in range(plan.epochs):
        halvings = len([share for share in plan.halve_at if epoch >= share * plan.epochs])
        optimizer.param_groups[0]["lr"] = plan.lr / 2**halvings
        total, samples = 0.0, 0
        for x, labels in batches[epoch * per_epoch : (epoch + 1) * per_epoch]:
            optimizer.zero_grad()
            loss = F.cross_entropy(F.linear(x, weight, bias), labels)
            loss.backward()
            optimizer.step()
            total, samples = total + loss.item() * len(x), samples + len(x)
        losses.append(total / samples)
    return weight.detach(), bias.detach(), losses


@pytest.mark.parametrize("dropout", [0.5, 0.4, 0.0])
@pytest.mark.parametrize("samples", [64, 70])
def test_a_step_is_autograd_and_adam_on_the_same_masks(
    tmp_path: Path, recorded: list[tuple[torch.Tensor, torch.Tensor]], dropout: float, samples: int
):
    features, labels = problem(samples)
    plan = replace(PLAN, dropout=dropout, epochs=6, halve_at=(0.3, 0.5))
    checkpoint = Checkpoint(tmp_path, log=Log(tmp_path / "metrics.jsonl"))
    readout = plan.fit(features, labels, 5, seed=2, resume=checkpoint).readout
    rows = [rows_of(before, features) for before, _ in recorded]
    per_epoch = len(rows) // plan.epochs
    for epoch in range(plan.epochs):
        order = torch.cat(rows[epoch * per_epoch : (epoch + 1) * per_epoch])
        assert torch.equal(order.sort().values, torch.arange(samples)), "each sample once an epoch"
        assert not torch.equal(order, torch.arange(samples)), "in another order"
    batches = [(after, labels[index]) for (_, after), index in zip(recorded, rows, strict=True)]
    start = (replace(plan, epochs=0)).fit(features, labels, 5, seed=2).readout
    weight, bias, losses = by_autograd(start, batches, plan)
    torch.testing.assert_close(readout.weight, weight, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(readout.bias, bias, rtol=1e-4, atol=1e-5)
    logged = read_log(tmp_path / "metrics.jsonl")
    assert [line["epoch"] for line in logged] == list(range(1, 7))
    assert [line["loss"] for line in logged] == pytest.approx(losses, rel=1e-4)


def test_every_epoch_draws_masks_and_orders_of_its_own(recorded: list[tuple[torch.Tensor, torch.Tensor]]):
    features, labels = problem()
    replace(PLAN, batch_size=70, epochs=3).fit(features, labels, 5)
    masks = []
    for before, after in recorded:
        mask = torch.empty_like(after)
        mask[rows_of(before, features)] = (after != 0).float()
        masks.append(mask)
    assert not any(torch.equal(masks[0], other) for other in masks[1:])


def test_weights_start_uniform_and_the_bias_at_zero():
    features, labels = problem(width=2000)
    readout = (replace(PLAN, epochs=0, init_scale=0.3)).fit(features, labels, 5).readout
    assert readout.weight.min() >= 0 and readout.weight.max() < 0.3
    assert abs(readout.weight.mean().item() - 0.15) < 0.005
    assert torch.equal(readout.bias, torch.zeros(5))


def test_the_seed_decides():
    features, labels = problem()
    one, same, other = (state(PLAN.fit(features, labels, 5, seed=seed).readout) for seed in (1, 1, 2))
    assert equal(one, same) and not equal(one, other)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_standardising_is_folded_into_the_readout(dropout: float):
    features, labels = problem()
    features = features * torch.logspace(-2, 2, 33) + 7.0
    features[:, 4] = 3.0
    plan = replace(PLAN, dropout=dropout, standardize=True)
    mean, std = features.double().mean(0), features.double().std(0, correction=0)
    std[4] = 1.0
    scaled = ((features.double() - mean) / std).float()
    readout = plan.fit(features, labels, 5).readout
    plain = (replace(plan, standardize=False)).fit(scaled, labels, 5).readout
    torch.testing.assert_close(readout(features), plain(scaled), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(readout.weight.double() * std, plain.weight.double(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("standardize", [False, True])
def test_features_and_the_network_below_are_left_untouched(standardize: bool):
    model = network().eval()
    before = state(model)
    features = extract_features(model, digits(80), device=torch.device("cpu"))
    kept = features.clone()
    readout = (replace(PLAN, standardize=standardize)).fit(features, digits(80).labels, 10).readout
    assert torch.equal(features, kept) and equal(before, state(model))
    assert all(parameter.grad is None for parameter in [*model.parameters(), *readout.parameters()])
    assert not readout.training


def test_it_learns_what_is_there_to_learn():
    features, labels = problem(400)
    readout = (replace(PLAN, epochs=20)).fit(features, labels, 5).readout
    assert (predict_logits(readout, features).argmax(1) == labels).float().mean() > 0.95


def test_bfloat16_features_are_computed_in_float32():
    features, labels = problem()
    half = features.to(torch.bfloat16)
    assert equal(state(PLAN.fit(half, labels, 5).readout), state(PLAN.fit(half.float(), labels, 5).readout))


def test_logits_come_batch_by_batch():
    features, labels = problem()
    readout = PLAN.fit(features, labels, 5).readout
    torch.testing.assert_close(predict_logits(readout, features, batch_size=9), readout(features))
    assert predict_logits(readout, features.to(torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize("stop", [1, 3])
@pytest.mark.parametrize("standardize", [False, True])
def test_a_fit_that_was_stopped_goes_on_exactly(tmp_path: Path, stop: int, standardize: bool):
    features, labels = problem()
    plan = replace(PLAN, standardize=standardize)
    whole = plan.fit(features, labels, 5).readout
    log = Log(tmp_path / "metrics.jsonl")
    with pytest.raises(Stop):
        plan.fit(features, labels, 5, resume=Checkpoint(tmp_path, log=log, interval=0.0), progress=stop_after(stop + 1))
    again = plan.fit(features, labels, 5, resume=Checkpoint(tmp_path, log=log, interval=0.0)).readout
    assert equal(state(whole), state(again))
    assert [line["epoch"] for line in read_log(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]
