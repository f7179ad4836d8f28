"""The cheap readout: what it reads, and by what it answers."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from torchhebb.data import Images
from torchhebb.errors import UserError
from torchhebb.evaluate import Run
from torchhebb.evaluate.probe import Probe
from torchhebb.readouts import Logistic, Ridge
from torchhebb.readouts.base import percent_correct, predict_logits


def part(images: Images, count: int) -> Images:
    """The images that a bound leaves."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:count]
    return images.select(order.sort().values)


def test_maps_are_averaged_by_position(run: Run) -> None:
    network, few = run.network(0), part(run.data.train, 20)
    with torch.no_grad():
        maps = network(few.images / 255.0)
    assert maps.shape == (20, 8, 4, 4)
    by_hand = torch.stack([maps[:, :, r : r + 2, c : c + 2].mean((2, 3)) for r in (0, 2) for c in (0, 2)], 2)
    torch.testing.assert_close(Probe(pool=2).features(network, few, run), by_hand.flatten(1))
    for pool in (None, 4, 9):  # nothing to average
        torch.testing.assert_close(Probe(pool=pool).features(network, few, run), maps.flatten(1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pool": 0}, "pool must be at least 1, got 0"),
        ({"holdout": 0.0}, "holdout must be between 0 and 1, got 0.0"),
        ({"holdout": 1.0}, "holdout must be between 0 and 1, got 1.0"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"images": 0}, "images must be at least 1, got 0"),
        ({"readout": "svm"}, "readout must be one of ridge, logistic, recipe, got 'svm'"),
    ],
)
def test_mistakes_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Probe(**settings)


@pytest.mark.parametrize("readout", ["ridge", "logistic", "recipe"])
def test_the_readout_is_the_one_that_was_asked_for(readout: str, run: Run) -> None:
    train, network = part(run.data.train, 150), run.network(1)
    probe = Probe(readout=readout, pool=1, holdout=0.3, epochs=2, images=150)  # type: ignore[arg-type]
    with torch.no_grad():
        fitted, tested = (network(images.images / 255.0).mean((2, 3)) for images in (train, run.data.test))
    if readout == "recipe":
        plan = replace(run.recipe.readout, epochs=2)
        expected = plan.fit(fitted, train.labels, 10, seed=1).readout
    else:
        plan = {"ridge": Ridge(holdout=0.3), "logistic": Logistic(holdout=0.3)}[readout]  # type: ignore[assignment]
        expected = plan.fit(fitted, train.labels, 10, seed=1).readout  # type: ignore[attr-defined]
    by_hand = percent_correct(predict_logits(expected, tested), run.data.test.labels)
    assert probe.score(network, run.data.train, run.data.test, run, 1) == pytest.approx(by_hand, abs=0.3)
