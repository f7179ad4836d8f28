"""Continual learning: metrics by hand, laws of methods and readouts, and a stop that leaves no trace.

Long because every method and readout obeys laws of its own, all on one tiny run.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.tiny import few_digits, network
from tests.watch import Stop, Task, Watch
from torchhebb.data import Images
from torchhebb.data.tasks import join, split_classes
from torchhebb.errors import UserError
from torchhebb.evaluate import Run, evaluate
from torchhebb.evaluate.evaluator import Note
from torchhebb.evaluate.methods.continual import (
    average_accuracy,
    backward_transfer,
    forgetting,
    forward_transfer,
)
from torchhebb.evaluate.methods.continual.learners import Heads
from torchhebb.evaluate.methods.continual.memories import Buffer, ElasticWeights, NoMemory, fisher_information
from torchhebb.evaluate.methods.continual.probes import Probes, by_position
from torchhebb.evaluate.methods.continual.record import as_matrix
from torchhebb.evaluate.questions import continual as question_module
from torchhebb.evaluate.questions.continual import PORT, Continual, is_ported
from torchhebb.readouts import Ridge
from torchhebb.recipes import sphere2025
from torchhebb.recipes.softhebb2023 import depth3
from torchhebb.train import Learning, Measure, Recipe, Result

QUICK: dict[str, Any] = {"learning_epochs": 1, "supervised_epochs": 2, "ewc_images": 10, "replay_images": 40}
DATA = few_digits()
TASKS = by_position(split_classes(DATA, 5))


@pytest.fixture(scope="module")
def small(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """The tiny run in a folder of its own, its first seed on few images."""

    def make(**changes: Any) -> Run:
        folder = Path(shutil.copytree(run.folder, tmp_path_factory.mktemp("continual") / "run"))
        return replace(run, folder=folder, data=DATA, result=replace(run.result, seeds=(0,)), **changes)

    return make


@pytest.fixture(scope="module")
def asked(small: Callable[..., Run]) -> tuple[Run, Result]:
    run = small()
    return run, evaluate(Continual(**QUICK), run)


@dataclass
class Answer:
    """What is compared; pictures are drawn in `asked` alone, since they take the longest."""

    measures: tuple[Measure, ...]
    notes: dict[str, Any]


def ask(settings: Continual, run: Run) -> Answer:
    """The measures and notes of an answer, its figures never drawn."""
    measures, notes = [], {}
    for finding in settings.run(run):
        if isinstance(finding, Measure):
            measures.append(finding)
        elif isinstance(finding, Note):
            notes[finding.name] = finding.value
        if "change" in notes:
            break
    return Answer(tuple(measures), notes)


def matrix(result: Result | Answer, method: str, readout: str) -> Tensor:
    return as_matrix(result.notes["matrices"][method][readout][0])


# Metrics


A = torch.tensor([[90.0, 20.0, 10.0], [60.0, 80.0, 30.0], [70.0, 50.0, 40.0]])


def test_metrics_by_hand() -> None:
    assert average_accuracy(A) == pytest.approx((70 + 50 + 40) / 3)
    assert forgetting(A) == pytest.approx(((90 - 70) + (80 - 50)) / 2)
    assert backward_transfer(A) == pytest.approx(((70 - 90) + (50 - 80)) / 2)
    assert forward_transfer(A, torch.tensor([5.0, 11.0, 12.0])) == pytest.approx(((20 - 11) + (30 - 12)) / 2)


def test_forgetting_counts_from_the_best_time_since_the_task_was_learned() -> None:
    improved = torch.tensor([[50.0, 99.0], [70.0, 60.0]])
    assert backward_transfer(improved) == 20.0 and forgetting(improved) == 0.0
    three = torch.tensor([[50.0, 0.0, 0.0], [80.0, 60.0, 0.0], [60.0, 60.0, 60.0]])
    assert backward_transfer(three) == 5.0 and forgetting(three) == 10.0


@pytest.mark.parametrize("seed", range(5))
def test_metrics_equal_loops(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    n = 2 + seed
    a, b = 100 * torch.rand(n, n, generator=generator), 100 * torch.rand(n, generator=generator)
    lost = [max(a[i, j] - a[n - 1, j] for i in range(j, n)) for j in range(n - 1)]
    back = [a[n - 1, j] - a[j, j] for j in range(n - 1)]
    ahead = [a[j - 1, j] - b[j] for j in range(1, n)]
    assert forgetting(a) == pytest.approx(float(sum(lost)) / len(lost), rel=1e-5)
    assert backward_transfer(a) == pytest.approx(float(sum(back)) / len(back), rel=1e-5, abs=1e-4)
    assert forward_transfer(a, b) == pytest.approx(float(sum(ahead)) / len(ahead), rel=1e-5, abs=1e-4)
    assert forgetting(a) >= max(0.0, -backward_transfer(a)) - 1e-9


def test_what_was_not_measured_yet_does_not_count() -> None:
    lower = A.masked_fill(torch.ones(3, 3).triu(1).bool(), torch.nan)
    for metric in (average_accuracy, forgetting, backward_transfer):
        assert metric(lower) == metric(A)


def test_joint_training_has_nothing_to_forget() -> None:
    joint = torch.tensor([[70.0, 60.0]])
    assert average_accuracy(joint) == 65.0
    for metric in (forgetting, backward_transfer):
        with pytest.raises(UserError, match=r"matrix must be \(tasks, tasks\) of two tasks or more, got \(1, 2\)"):
            metric(joint)


# Memories and heads


class Linear(nn.Module):
    """(x, labels) -> logits of a linear layer whose weights are zero."""

    def __init__(self, pixels: int, classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(pixels, classes)
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.layer(x.flatten(1))


def test_fisher_information_in_closed_form() -> None:
    # Two equally likely classes: (1[y = k] - 1/2)^2 = 1/4 whichever y is drawn.
    x = DATA.train.images[:20].flatten(1) / 255.0
    weight, bias = fisher_information(Linear(64, 2), Images(DATA.train.images[:20], torch.zeros(20).long()), 20)
    torch.testing.assert_close(weight, (x.square().mean(0) / 4).expand(2, -1))
    torch.testing.assert_close(bias, torch.full((2,), 0.25))


def test_fisher_information_draws_its_images_and_leaves_no_gradient() -> None:
    images = DATA.train.select(torch.arange(30))
    model = Linear(64, 10)
    one, same, other = (fisher_information(model, images, 5, seed=seed)[0] for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_elastic_penalty_is_a_sum_over_tasks() -> None:
    memory, model = ElasticWeights(3.0, 10, seed=0), Linear(64, 2)
    assert memory.penalty(model) == 0
    by_hand = torch.zeros(())
    past = []
    for task in range(2):
        images = Images(TASKS[task].train.images, TASKS[task].train.labels % 2)
        nn.init.constant_(model.layer.bias, float(task))
        past.append((fisher_information(model, images, 10), model.layer.bias.detach().clone()))
        memory.remember(model, images)
    nn.init.constant_(model.layer.bias, 2.5)
    for fisher, bias in past:
        by_hand = by_hand + 3.0 / 2 * (fisher[1] * (2.5 - bias) ** 2).sum()
    torch.testing.assert_close(memory.penalty(model), by_hand)


def pixels(images: Images) -> list[bytes]:
    return sorted(image.numpy().tobytes() for image in images.images)


def test_a_buffer_of_everything_sees_everything() -> None:
    memory, model = Buffer(len(DATA.train), seed=0), Linear(64, 10)
    for number, task in enumerate(TASKS):
        seen = join([earlier.train for earlier in TASKS[: number + 1]])
        assert pixels(memory.rehearse(task.train)) == pixels(seen)
        memory.remember(model, task.train)


def test_a_small_buffer_is_balanced_and_only_gives_images_up() -> None:
    memory, model = Buffer(21, seed=0), Linear(64, 10)
    before: set[bytes] = set()
    for number, task in enumerate(TASKS):
        learned = memory.rehearse(task.train)
        stored = learned.select(torch.arange(len(task.train), len(learned)))
        assert torch.equal(learned.images[: len(task.train)], task.train.images)
        if number:
            counts = stored.labels.bincount(minlength=2 * number)
            assert len(stored) <= 21 and counts.tolist() == [21 // (2 * number)] * (2 * number)
            newest = {image.numpy().tobytes() for image in TASKS[number - 1].train.images}
            assert set(pixels(stored)) <= before | newest
        before = set(pixels(stored))
        memory.remember(model, task.train)


def test_no_memory_changes_nothing() -> None:
    assert NoMemory().rehearse(DATA.train) is DATA.train
    assert NoMemory().penalty(Linear(64, 2)) == 0


def test_separate_heads_have_a_softmax_each() -> None:
    layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    x, labels = DATA.train.images[:12] / 255.0, DATA.train.labels[:12]
    heads = Heads(layers, tasks=5)
    F.cross_entropy(heads(x, labels), labels, reduction="sum").backward()
    gradient = layers[1].weight.grad
    assert gradient is not None
    by_hand = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    by_hand.load_state_dict(layers.state_dict())
    for logits, label in zip(by_hand(x), labels.tolist(), strict=True):
        F.cross_entropy(logits[label // 2 * 2 : label // 2 * 2 + 2], torch.tensor(label % 2)).backward(
            retain_graph=True
        )
    torch.testing.assert_close(gradient, by_hand[1].weight.grad)


def test_heads_are_told_a_batch_before_it_comes() -> None:
    heads = Heads(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), tasks=5)
    x, labels = DATA.train.images[:3] / 255.0, DATA.train.labels[:3]
    assert heads.tell(heads, x, labels) is x
    assert torch.equal(heads(x).isfinite().sum(1), torch.full((3,), 2))
    with pytest.raises(ValueError, match="separate heads need the labels"):
        heads(x)
    assert Heads(heads.layers, tasks=1)(x).isfinite().all()


# Readouts


def test_labels_are_positions_in_the_order_of_the_tasks() -> None:
    tasks = split_classes(DATA, 5, seed=3)
    for number, (task, placed) in enumerate(zip(tasks, by_position(tasks), strict=True)):
        for k, label in enumerate(task.classes):
            assert torch.equal(placed.train.labels == 2 * number + k, task.train.labels == label)


def test_the_order_of_tasks_permutes_what_is_read_from_a_frozen_network() -> None:
    rows = []
    for tasks in (split_classes(DATA, 5), split_classes(DATA, 5)[::-1]):
        probes = Probes(by_position(tasks), Ridge(), seed=0)
        probes.show(network().eval(), "")
        rows.append((probes.task_aware(), probes.task_free(5)))
    assert rows[0][0] == rows[1][0][::-1]
    assert rows[0][1] == pytest.approx(rows[1][1][::-1], abs=10)
    assert len(set(rows[0][0])) > 1


def test_features_are_computed_once_for_the_same_network(monkeypatch: Any) -> None:
    probes = Probes(TASKS, Ridge(), seed=0)
    probes.show(network(), "")
    before = probes.task_aware()
    with monkeypatch.context() as patch:
        patch.setattr("torchhebb.evaluate.methods.continual.probes.extract_features", None)
        probes.show(network(), "")
        assert probes.task_aware() == before
    probes.show(network(1), "")
    assert probes.task_aware() != before


# The question


def test_every_method_gives_its_measures(asked: tuple[Run, Result]) -> None:
    run, result = asked
    names = {measure.name for measure in result.measures}
    assert PORT.keys() <= names and all(measure.published is None for measure in result.measures)
    for method in question_module.METHODS:
        for readout in ("task_aware", "task_free", "task_aware_kept", "task_free_kept"):
            mine = {name for name in names if name.startswith(f"{method}_{readout}_")}
            quantities = {name.removeprefix(f"{method}_{readout}_") for name in mine}
            joint = method.startswith("joint")
            rows = matrix(result, method, readout)
            assert rows.shape == ((1, 5) if joint else (5, 5))
            expected = {"average_accuracy"} | (set() if joint else {"forgetting", "backward_transfer"})
            if readout == "task_aware":
                assert rows.isfinite().all()
                expected |= set() if joint else {"forward_transfer"}
            elif not joint:
                assert torch.equal(rows.isnan(), torch.ones(5, 5).triu(1).bool())
            assert quantities - {"kept_" + each for each in expected | {"forward_transfer"}} == expected
            assert result.measure(f"{method}_{readout}_average_accuracy").values == (average_accuracy(rows),)
    assert result.notes["classes"] == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert len(result.notes["figures"]) == 4
    assert (run.folder / "continual-task_aware.svg").read_text().startswith("<?xml")
    assert not [path for path in (run.folder / "continual").iterdir() if path.is_dir()]


def test_transfer_is_counted_from_random_weights(asked: tuple[Run, Result]) -> None:
    _, result = asked
    own, start = matrix(result, "own", "task_aware"), matrix(result, "random", "task_aware")[0]
    by_hand = sum(float(own[j - 1, j] - start[j]) for j in range(1, 5)) / 4
    assert result.measure("own_task_aware_forward_transfer").mean == pytest.approx(by_hand)


def test_a_frozen_network_forgets_exactly_nothing(asked: tuple[Run, Result]) -> None:
    _, result = asked
    for readout in ("task_aware", "task_aware_kept"):
        for quantity in ("backward_transfer", "forgetting"):
            assert result.measure(f"random_{readout}_{quantity}").values == (0.0,)
    assert result.measure("random_task_aware_forward_transfer").values == (0.0,)
    aware, kept = (matrix(result, "random", readout) for readout in ("task_aware", "task_aware_kept"))
    assert torch.equal(aware.tril(), kept.tril())
    assert result.notes["change"]["random"] == [[0.0] * 5]


def test_more_classes_never_make_it_easier(asked: tuple[Run, Result]) -> None:
    _, result = asked
    for method in ("own", "random"):
        aware, free = (matrix(result, method, f"{readout}_kept") for readout in ("task_aware", "task_free"))
        assert (free <= aware).logical_or(free.isnan()).all()
        assert matrix(result, method, "task_free")[0, 0] == aware[0, 0]


def test_sequential_backpropagation_forgets_and_replay_remembers(asked: tuple[Run, Result]) -> None:
    _, result = asked
    sequential, replay = (
        result.measure(f"{method}_task_free_kept_average_accuracy").mean for method in ("backpropagation", "replay")
    )
    assert replay > sequential
    assert result.measure("backpropagation_task_free_kept_forgetting").mean > 30
    assert min(result.notes["change"]["own"][0]) > 0


def test_a_kept_answer_is_not_made_again(asked: tuple[Run, Result], monkeypatch: pytest.MonkeyPatch) -> None:
    run, result = asked
    monkeypatch.setattr(question_module, "learn_in_turn", None)
    again = ask(Continual(**QUICK), run)
    assert again.measures == result.measures
    assert all(again.notes[name] == result.notes[name] for name in ("classes", "matrices", "change"))
    only = Continual(**QUICK, methods=("ewc",))
    assert ask(only, run).notes["matrices"] == {"ewc": result.notes["matrices"]["ewc"]}
    for changed in (
        replace(only, ewc_strength=1.0),
        replace(only, class_order=1),
        replace(only, test_images_per_class=3),
    ):
        with pytest.raises(TypeError, match="NoneType"):
            ask(changed, run)


def test_ewc_of_no_strength_is_sequential_backpropagation(asked: tuple[Run, Result]) -> None:
    run, result = asked
    weak = ask(Continual(**QUICK, methods=("ewc",), ewc_strength=0.0), run)
    assert weak.notes["matrices"]["ewc"] == result.notes["matrices"]["backpropagation"]
    for readout in ("task_aware", "task_free"):
        assert weak.notes["change"][f"ewc_{readout}"] == result.notes["change"][f"backpropagation_{readout}"]
    strong = result.notes["change"]["ewc_task_aware"][0][-1]
    assert strong < result.notes["change"]["backpropagation_task_aware"][0][-1]


def stop_at(words: str) -> Watch:
    """Ends the work when the label of a stage comes up."""

    def start(task: Task) -> None:
        if words in task.label:
            raise Stop

    return Watch(start=start)


@pytest.mark.parametrize(
    ("method", "stop"),
    [("own", "task 3"), ("own", "task 2: test features"), ("ewc", "aware, task 4"), ("replay", "free, task 3")],
)
def test_a_stopped_question_goes_on_exactly(
    asked: tuple[Run, Result], small: Callable[..., Run], method: str, stop: str
) -> None:
    _, whole = asked
    run = small()
    only = Continual(**QUICK, methods=(method,))  # type: ignore[arg-type]
    with pytest.raises(Stop):
        ask(only, replace(run, progress=stop_at(stop)))
    assert list((run.folder / "continual").glob("*/stage-1.safetensors"))
    resumed = ask(only, run)
    assert resumed.notes["matrices"] == {method: whole.notes["matrices"][method]}
    assert all(whole.notes["change"][name] == change for name, change in resumed.notes["change"].items())


def test_fewer_images(small: Callable[..., Run]) -> None:
    settings = {"images_per_class": 6, "probe_images_per_class": 4, "test_images_per_class": 2, "class_order": 2}
    ridge = Ridge(holdout=0.25)
    result = ask(Continual(tasks=2, methods=("own",), readouts=("task_free",), ridge=ridge, **settings), small())
    found = matrix(result, "own", "task_free")
    assert found.shape == (2, 2) and torch.equal(found.tril() % 10, torch.zeros(2, 2))  # ten test images a task
    assert {name for name in result.notes["matrices"]["own"]} == {"task_free", "task_free_kept"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tasks": 3}, "tasks must divide the 10 classes"),
        ({"tasks": 1}, "tasks must be at least 2, got 1"),
        ({"methods": ("own", "lwf")}, "methods must be among own, .* got 'lwf'"),
        ({"readouts": ()}, "readouts must be different from each other, one at least, got "),
        ({"replay_images": 9}, "replay_images must be at least one a class, 10, got 9"),
        ({"ewc_strength": -1.0}, "ewc_strength must be at least 0, got -1"),
        ({"images_per_class": 0}, "images_per_class must be at least 1, got 0"),
        ({"supervised_epochs": -1}, "supervised_epochs must be at least 0, got -1"),
        ({"ewc_images": 0}, "ewc_images must be at least 1, got 0"),
        ({"ridge": Ridge(project=128)}, "ridge.project must lie from 1 to 127, got 128"),
        ({"class_order": -1}, "class_order must be at least 0, got -1"),
    ],
)
def test_settings_that_do_not_fit(run: Run, monkeypatch: Any, settings: dict[str, Any], message: str) -> None:
    monkeypatch.setattr(question_module, "learn_in_turn", None)
    with pytest.raises(UserError, match=message):
        list(Continual(**settings).run(run))


def test_memory_is_checked_before_anything_is_learned(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(question_module, "learn_in_turn", None)
    monkeypatch.setattr("torchhebb.readouts.linear.free_bytes", lambda device: 0)
    with pytest.raises(UserError, match=r"needs .* --ridge\.project"):
        list(Continual().run(run))


def test_only_what_the_replication_did_stands_beside_its_numbers(run: Run) -> None:
    recipe = Recipe("softhebb2023-cifar100", "cifar100", depth3((3, 32, 32)))
    same, asked = replace(run, recipe=recipe), Continual(probe_images_per_class=None)
    assert is_ported(same, asked)
    for change in (
        {"tasks": 10},
        {"images_per_class": 100},
        {"probe_images_per_class": 100},
        {"test_images_per_class": 50},
        {"learning_epochs": 3},
        {"supervised_epochs": 4},
    ):
        assert not is_ported(same, replace(asked, **change))
    narrow = sphere2025.cifar100_narrow_softhebb()
    for other in (narrow, replace(recipe, data="cifar10"), replace(recipe, learning=Learning(epochs=5))):
        assert not is_ported(replace(run, recipe=other), asked)
