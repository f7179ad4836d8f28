"""How the settings of backpropagation are chosen: on training images, all alike."""

import sys

import pytest
import torch

from benchmarks.harness import FOLDER

sys.path.insert(0, str(FOLDER))

from benchmarks import choose_supervised as module
from torchhebb.data import Images, load_data
from torchhebb.train import Supervised


def test_rates_are_judged_on_training_images_that_they_have_not_seen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fitted, judged = [], []

    def fit(model: object, images: Images, plan: object, **_: object) -> None:
        fitted.append((images, plan))

    def accuracy(model: object, images: Images) -> float:
        judged.append(images)
        return 50.0

    monkeypatch.setattr(module, "fit_supervised", fit)
    monkeypatch.setattr(module, "model_accuracy", accuracy)
    module.main(module.Settings("softhebb2023-digits", (0.25, 0.5), decays=(0.1,), epochs=3, images=100, held_out=50))
    assert [plan for _, plan in fitted] == [
        Supervised(3, 64, lr=rate, warmup=0.2, dropout=0.5, weight_decay=0.1) for rate in (0.25, 0.5)
    ]
    rows = {tuple(row.tolist()) for row in load_data("digits").train.images.flatten(1)}
    for (learned, _), held in zip(fitted, judged, strict=True):
        assert (len(learned), len(held)) == (100, 50)
        assert all(tuple(row.tolist()) in rows for row in torch.cat([learned.images, held.images]).flatten(1))
    said = capsys.readouterr().out
    assert "rate 0.25, warmup 0.2, dropout 0.5, decay 0.1: 50.00 % held out" in said and said.count("held out") == 2
