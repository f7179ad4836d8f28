"""Votes of neighbours against a loop, outputs of blocks against the blocks, and what is drawn."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from torchhebb.errors import UserError
from torchhebb.evaluate import Run, evaluate
from torchhebb.evaluate.methods.subsample import evenly_spaced, evenly_spaced_images
from torchhebb.evaluate.questions.embeddings import Embeddings, block_outputs, embed, neighbours_accuracy

QUESTION = Embeddings(images=40, k=3, perplexity=5.0, positions=2, baselines=("own",))


def test_most_of_the_nearest_others_decide() -> None:
    random = np.random.RandomState(0)
    z, labels = random.randn(60, 4), random.randint(3, size=60)
    right = 0
    for row in range(60):
        distances = [float(np.linalg.norm(z[row] - z[other])) if other != row else np.inf for other in range(60)]
        near = labels[np.argsort(distances)[:5]].tolist()
        right += max(range(3), key=lambda label, near=near: (near.count(label), -label)) == labels[row]  # type: ignore[misc]
    assert neighbours_accuracy(z, labels, 5) == pytest.approx(100 * right / 60)


def test_classes_apart_are_found_apart() -> None:
    labels = torch.arange(60) % 3
    rows = torch.eye(80)[labels] * 20 + torch.randn(60, 80, generator=torch.Generator().manual_seed(0))
    found = embed(rows, labels, 0, k=4, perplexity=8.0)
    assert found["measures"]["neighbours_accuracy"] == 100.0 and found["measures"]["silhouette"] > 0.5
    assert 0.7 < found["measures"]["trustworthiness"] <= 1.0 and len(found["map"]) == 60
    mixed = embed(rows, labels[torch.randperm(60, generator=torch.Generator().manual_seed(1))], 0, k=4, perplexity=8.0)
    assert mixed["measures"]["neighbours_accuracy"] < 60 and mixed["measures"]["silhouette"] < 0.1


def test_outputs_are_those_of_the_blocks_averaged(run: Run) -> None:
    images = evenly_spaced_images(run.data.test, 7)
    assert torch.equal(images.images, run.data.test.images[evenly_spaced(7, 449)])
    network = run.network(0)
    found = block_outputs(network, images, run, 2)
    with torch.no_grad():
        first = network.block1(images.images / 255.0)
        second = network.block2(first)
    for name, output in (("block1", first), ("block2", second)):
        quarter = (2, output.shape[2] // 2)
        mean = output.unflatten(2, quarter).unflatten(4, quarter).mean((3, 5))
        torch.testing.assert_close(found[name], mean.flatten(1))
    torch.testing.assert_close(block_outputs(network, images, run, 99)["block2"], second.flatten(1))


def test_every_stage_is_measured_drawn_and_kept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    result = evaluate(QUESTION, run)
    measures = [measure.name for measure in result.measures]
    stages, quantities = (
        ("pixels", "own_block1", "own_block2"),
        ("neighbours_accuracy", "silhouette", "trustworthiness"),
    )
    assert measures == [f"{stage}_{quantity}" for stage in stages for quantity in quantities]
    assert all(len(measure.values) == 2 for measure in result.measures) and result.notes["images"] == 40
    text = (run.folder / "embeddings-maps.svg").read_text()
    pixels = result.measure("pixels_neighbours_accuracy").values[0]
    for words in ("SoftHebb", "pixels", "block 2", f"3 nearest: {pixels:.1f} %"):
        assert f"<!-- {words} -->" in text
    monkeypatch.setattr("torchhebb.evaluate.questions.embeddings.embed", None)
    monkeypatch.setattr("torchhebb.evaluate.questions.embeddings.block_outputs", None)
    assert evaluate(QUESTION, run).measures == result.measures


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"positions": 0}, "positions must be at least 1, got 0"),
        ({"k": 0}, "k must be at least 1, got 0"),
        ({"images": 7}, "images must be from 10 .for k = 3. to 449, got 7"),
        ({"images": 450}, "images must be from 10 .for k = 3. to 449, got 450"),
        ({"perplexity": 40.0}, "perplexity must be positive and below 40, the images, got 40"),
        ({"baselines": ("own", "own")}, "baselines must be different from each other, one at least"),
        ({"baselines": ("soft",)}, "baselines must be among own, .*, got 'soft'"),
    ],
)
def test_mistakes_are_named(settings: dict[str, object], message: str, run: Run) -> None:
    with pytest.raises(UserError, match=message):
        next(replace(QUESTION, **settings).run(run))  # type: ignore[arg-type]
