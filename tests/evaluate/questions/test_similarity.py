"""Matrices against loops, the order of the images, and what is measured at which stage."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.evaluate.questions.test_ablation import local_run
from torchhebb.data import Store
from torchhebb.errors import UserError
from torchhebb.evaluate import Run, evaluate
from torchhebb.evaluate.questions.similarity import (
    Similarity,
    calibrate_projections,
    class_separation,
    cosine_similarity,
    stages_of,
)
from torchhebb.functional import structure_loss
from torchhebb.runs.baselines import baseline
from torchhebb.train import Result

QUESTION = Similarity(images_per_class=4)


@pytest.fixture(scope="module")
def local(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return local_run(tmp_path_factory.mktemp("runs") / "local", store, seeds=1)


@pytest.fixture(scope="module")
def answer(local: Run) -> Result:
    return evaluate(QUESTION, local)


def shown(run: Run, per_class: int, classes: int = 10) -> tuple[Tensor, list[int]]:
    """The first images of every class, by a loop."""
    images, labels = [], []
    for label in range(classes):
        found = [i for i, y in enumerate(run.data.test.labels.tolist()) if y == label][:per_class]
        images += [run.data.test.images[i] / 255.0 for i in found]
        labels += [label] * per_class
    return torch.stack(images), labels


def cosine(a: Tensor, b: Tensor) -> float:
    return (torch.dot(a, b) / (a.norm() * b.norm())).item()


def test_measures_are_those_of_the_matrices(answer: Result, local: Run) -> None:
    x, labels = shown(local, 4)
    network = local.network(0)
    with torch.no_grad():
        first = network.block1(x)  # type: ignore[operator]
        stages = {
            "input": x,
            "block1_projection": network.block1.auxiliary(first),  # type: ignore[union-attr, operator]
            "block1_output": first,
            "block2_projection": network.block2.auxiliary(network.block2.body(first)),  # type: ignore[union-attr, operator]
            "block2_output": network.block2(first),  # type: ignore[operator]
        }
    grams = {name: [[cosine(a.flatten(), b.flatten()) for b in stage] for a in stage] for name, stage in stages.items()}
    pairs = [(i, j) for i in range(40) for j in range(40)]
    for name, gram in grams.items():
        within = [gram[i][j] for i, j in pairs if i != j and labels[i] == labels[j]]
        between = [gram[i][j] for i, j in pairs if labels[i] != labels[j]]
        separation = sum(within) / len(within) - sum(between) / len(between)
        assert answer.measure(f"own_{name}_class_separation").mean == pytest.approx(separation, abs=1e-4)
        if name != "input":
            loss = sum((gram[i][j] - grams["input"][i][j]) ** 2 for i, j in pairs) / 1600
            assert answer.measure(f"own_{name}_structure_loss").mean == pytest.approx(loss, abs=1e-4)
    loss = sum((grams["block2_projection"][i][j] - grams["block1_output"][i][j]) ** 2 for i, j in pairs) / 1600
    assert answer.measure("own_block2_projection_local_structure_loss").mean == pytest.approx(loss, abs=1e-4)
    assert len(answer.measures) == 2 * (5 + 4 + 2) and answer.notes["images"] == 40


def test_networks_share_the_input_and_differ_above_it(answer: Result, local: Run) -> None:
    def value(name: str) -> float:
        return answer.measure(name).mean

    assert value("own_input_class_separation") == value("random_input_class_separation") > 0
    assert value("own_block2_output_structure_loss") != value("random_block2_output_structure_loss")
    network, (x, _) = baseline(local, 0, "random"), shown(local, 4)
    calibrate_projections(network, local.data.train.images[:1000] / 255.0)
    stages = stages_of(network, x)
    loss = structure_loss(stages["block1_output"], stages["block2_projection"]).item()
    assert value("random_block2_projection_local_structure_loss") == pytest.approx(loss, abs=1e-6)


def test_the_projections_batch_norm_alone_is_calibrated(local: Run) -> None:
    network = local.recipe.architecture.build(3).eval()
    x = local.data.train.images[:200] / 255.0
    body = {name: tensor.clone() for name, tensor in network.state_dict().items() if ".auxiliary.1" not in name}
    calibrate_projections(network, x)
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in body.items())
    block = network.block2
    with torch.no_grad():
        entering = block.auxiliary[0](block.body(network.block1(x)))  # type: ignore[union-attr, index, operator]
    norm = block.auxiliary[1]  # type: ignore[union-attr, index]
    assert isinstance(norm, nn.BatchNorm2d) and not norm.training and norm.momentum == 0.1
    assert norm.running_mean is not None
    assert torch.allclose(norm.running_mean, entering.mean((0, 2, 3)), atol=1e-5)


def test_hebbian_blocks_have_no_projection(run: Run) -> None:
    found = evaluate(Similarity(images_per_class=2, classes=3, baselines=("own",)), run)
    stages = ("block1_output", "block2_output")
    names = {f"own_{stage}_{kind}" for stage in stages for kind in ("structure_loss", "class_separation")}
    assert {measure.name for measure in found.measures} == names | {"own_input_class_separation"}
    assert found.notes["images"] == 6 and all(len(measure.values) == 2 for measure in found.measures)
    stages_found = stages_of(run.network(0), shown(run, 2, 3)[0])
    assert list(stages_found) == ["input", "block1_output", "block2_output"]


def test_the_figure_has_one_row_per_network_and_one_scale(answer: Result, local: Run) -> None:
    text = (local.folder / "similarity-matrices.svg").read_text()
    for words in ("learned", "random weights", "input", "block 2, projection", "cosine similarity"):
        assert f"<!-- {words} -->" in text
    assert text.count("<image") >= 10


def test_separation_of_perfect_classes_is_one_and_of_none_is_nothing() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    perfect = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    assert class_separation(cosine_similarity(perfect), labels) == pytest.approx(1.0)
    assert class_separation(cosine_similarity(torch.ones(4, 2)), labels) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images_per_class": 1}, "images_per_class must be at least 2, got 1"),
        ({"images_per_class": 1000}, "images_per_class must be at most [0-9]+ for the test images here, got 1000"),
        ({"classes": 1}, "classes must be at least 2, got 1"),
        ({"baselines": ()}, "baselines must be different from each other, one at least"),
        ({"baselines": ("own", "own")}, "baselines must be different from each other, one at least"),
        ({"baselines": ("randon",)}, "baselines must be among own, .*, got 'randon'"),
    ],
)
def test_mistakes_are_named(settings: dict[str, object], message: str, run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        next(replace(Similarity(), **settings).run(run))  # type: ignore[arg-type]
