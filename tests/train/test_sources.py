"""Readouts on fresh features: without views the kept path's, with views other features each epoch, and resumable."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.data import made
from tests.tiny import digits, network
from torchhebb.data import Augment, Store, load_data
from torchhebb.errors import UserError
from torchhebb.readouts.adam import fit_source
from torchhebb.readouts.sources import KeptFeatures
from torchhebb.train import Learning, Readout
from torchhebb.train.checkpoint import Checkpoint
from torchhebb.train.features import extract_features
from torchhebb.train.learn import learn_images
from torchhebb.train.sources import FreshFeatures
from torchhebb.train.subset import subset_images, subset_key

CPU = torch.device("cpu")
PLAN = Readout(epochs=2, batch_size=16, lr=0.01)
IMAGES = digits(60)


def fresh(augment: Augment, seed: int = 0) -> FreshFeatures:
    return FreshFeatures(network().eval(), IMAGES, augment, PLAN.batch_size, seed, device=CPU)


@pytest.mark.parametrize("seed", [0, 3])
def test_without_views_it_is_the_readout_on_kept_features(seed: int):
    kept = PLAN.fit(extract_features(network(), IMAGES, device=CPU), IMAGES.labels, 10, seed=seed).readout
    live = fit_source(fresh(Augment(), seed), 10, PLAN, seed=seed)
    assert torch.allclose(live.weight, kept.weight, atol=1e-5) and torch.allclose(live.bias, kept.bias, atol=1e-5)


def test_every_epoch_has_views_of_its_own():
    views = fresh(Augment(1, True))
    first, again, second = (torch.cat([x for x, _ in views.epoch(number)]) for number in (0, 0, 1))
    assert torch.equal(first, again)
    order = [torch.cat([labels for _, labels in views.epoch(number)]) for number in (0, 1)]
    assert not torch.equal(*order)
    plain = torch.cat([x for x, _ in fresh(Augment()).epoch(0)])
    assert first.shape == plain.shape == second.shape and not torch.equal(first, plain)


def test_views_that_are_not_honoured_are_refused():
    features = torch.zeros(4, 3)
    with pytest.raises(UserError, match="readout.augment must be left out"):
        replace(PLAN, augment=Augment(flip=True)).fit(features, torch.zeros(4, dtype=torch.long), 2)
    with pytest.raises(UserError, match="leave out readout.augment"):
        Readout(standardize=True, augment=Augment(flip=True))


class Stop(Exception):
    pass


class Stopping(Checkpoint):
    """Saves whenever it may, and stops at the save of that number."""

    def __init__(self, folder: Path, at: int) -> None:
        super().__init__(folder, interval=0.0)
        self.left = at

    def save(self, *arguments: Any) -> None:
        super().save(*arguments)
        self.left -= 1
        if self.left == 0:
            raise Stop


@pytest.mark.parametrize("at", [2, 4, 6])
def test_a_stop_within_an_epoch_goes_on_exactly(tmp_path: Path, at: int):
    views = Augment(1, True)
    whole = fit_source(fresh(views), 10, PLAN)
    with pytest.raises(Stop):
        fit_source(fresh(views), 10, PLAN, resume=Stopping(tmp_path, at))
    resumed = Checkpoint(tmp_path, interval=1e9)
    assert resumed.position == ({"epoch": 1} if at == 4 else {"epoch": at // 4, "batch": at % 4})
    again = fit_source(fresh(views), 10, PLAN, resume=resumed)
    assert torch.equal(again.weight, whole.weight) and torch.equal(again.bias, whole.bias)


def test_kept_features_go_on_within_an_epoch():
    source = KeptFeatures(torch.arange(20.0).view(10, 2), torch.arange(10), 3, 0)
    whole, tail = ([(x.clone(), y) for x, y in source.epoch(1, start)] for start in (0, 2))
    assert len(tail) == 2 and all(torch.equal(a[0], b[0]) for a, b in zip(whole[2:], tail, strict=True))


# which images are learned from


def test_the_plan_names_the_images(tmp_path: Path):
    data = load_data("stl10", data_dir=made.stl10(tmp_path), store=Store(tmp_path / "store"))
    images, plan = subset_images(data, Learning(images="unlabelled", fraction=0.5), seed=1)
    assert data.unlabelled is not None and len(images) == 15 and plan == Learning()
    numbers = images.images[:, 1, 0, 0].tolist()
    assert numbers != sorted(numbers)[::-1] and len(set(numbers)) == 15
    other, _ = subset_images(data, Learning(images="unlabelled", fraction=0.5), seed=2)
    assert numbers != other.images[:, 1, 0, 0].tolist()
    everything, _ = subset_images(data, Learning(), seed=0)
    assert everything is data.train
    keys = {subset_key(data, p, s, "float32") for p in (Learning(), Learning(fraction=0.5)) for s in (0, 1)}
    assert len(keys) == 3 and subset_key(data, Learning(), 0, "float32") == f"{data.fingerprint} in float32"


@pytest.mark.parametrize(
    ("data", "plan", "message"),
    [("digits", Learning(images="unlabelled"), "learning.images must be train: digits has no unlabelled images")],
)
def test_images_that_are_not_there_are_named(data: str, plan: Learning, message: str):
    with pytest.raises(UserError, match=message):
        subset_images(load_data(data), plan, 0)


def test_images_that_were_not_chosen_are_refused():
    with pytest.raises(UserError, match="learning.images and fraction must be train and 1"):
        learn_images(network(), IMAGES, Learning(fraction=0.5))
    with pytest.raises(UserError, match="fraction must be above 0 and at most 1, got 0"):
        Learning(fraction=0.0)
