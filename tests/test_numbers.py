"""What every question finds about small runs, number by number: a change of the code must not change them.

`python -m tests.make_numbers` writes tests/numbers/ anew, where a change is meant to.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.kept_numbers import FOLDER, compare, differing, model, numbers, weights
from tests.small_runs import QUESTIONS, RECIPES, Asked, Runs
from torchhebb.evaluate import list_evaluators
from torchhebb.train import Measure, Result


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Runs(tmp_path_factory.mktemp("numbers"))
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers are compared; figures, which take as long, are looked at by the tests of each question."""
    monkeypatch.setattr("torchhebb.evaluate.evaluator._keep", lambda figure, question, run: {"name": figure.name})


def test_every_question_is_asked() -> None:
    assert {asked.question for asked in QUESTIONS} == set(list_evaluators())
    assert len({asked.name for asked in QUESTIONS}) == len(QUESTIONS)


@pytest.mark.parametrize("name", RECIPES)
def test_trained(name: str, runs: Runs) -> None:
    found = numbers(runs.train(name))
    compare(found | {"weights": weights(runs.folder / name)}, FOLDER / f"train-{name}.json")


@pytest.mark.parametrize("asked", QUESTIONS, ids=lambda asked: asked.name)
def test_asked(asked: Asked, runs: Runs) -> None:
    compare(numbers(runs.ask(asked), asked.unheld), FOLDER / f"{asked.name}.json")


def kept(value: float, unit: str = "", *, name: str = "a", processor: str = "here") -> dict[str, Any]:
    """A file of numbers with one measure."""
    measure = {"name": name, "unit": unit, "published": 0.9, "values": [value], "interval": None}
    return {"processor": processor, "measures": [measure], "curves": []}


@pytest.mark.parametrize(
    ("other", "seen"),
    [
        (kept(0.9 + 1e-12), False),
        (kept(0.9 + 1e-6), True),
        (kept(0.9, name="b"), True),
        (kept(0.9, "%"), True),
        (kept(0.9, processor="there"), False),
        (kept(0.8, processor="there"), False),
        (kept(0.0, processor="there"), True),
        (kept(0.9, "%", processor="there"), True),
        ({**kept(0.9, processor="there"), "measures": []}, True),
        ({**kept(0.9, processor="there"), "weights": []}, True),
    ],
)
def test_a_changed_number_is_seen(other: dict[str, Any], seen: bool) -> None:
    assert bool(list(differing(kept(0.9), other))) == seen


@pytest.mark.parametrize(("now", "seen"), [(95.0, False), (83.0, True)])
def test_percentages_differ_by_points_on_another_processor(now: float, seen: bool) -> None:
    assert bool(list(differing(kept(90.0, "%"), kept(now, "%", processor="there")))) == seen
    labels, others = {"labels": ["x", "accuracy, %"], "x": [1.0]}, {"processor": "here", "measures": []}
    curve = {**others, "curves": [{"name": "a", "y": [90.0], **labels}]}
    moved = {**others, "processor": "there", "curves": [{"name": "a", "y": [now], **labels}]}
    assert bool(list(differing(curve, moved))) == seen


def test_a_changed_published_value_is_seen_on_any_processor() -> None:
    other = kept(0.9, processor="there")
    other["measures"][0]["published"] = 0.8
    assert list(differing(kept(0.9), other))


@pytest.mark.parametrize(("norm", "seen"), [(2.2, False), (1.0, True)])
def test_a_changed_tensor_is_seen_on_another_processor(norm: float, seen: bool) -> None:
    tensors = {"processor": "here", "weights": [{"name": "w", "sum": 0.0, "norm": 2.0}]}
    moved = {"processor": "there", "weights": [{"name": "w", "sum": 0.1, "norm": norm}]}
    assert bool(list(differing(tensors, moved))) == seen
    assert list(differing(tensors, {**moved, "processor": "here"}))


def test_a_time_leaves_nothing_behind() -> None:
    measures = (Measure("seconds", "s", (1.0,), None, (0.5, 1.5)), Measure("accuracy", "%", (9.0,), None, (8.0, 10.0)))
    result = Result("r", "q", measures, (0,), 1.0, "cpu", "command", {})
    timed, kept_whole = numbers(result, ("seconds",))["measures"]
    assert timed == {"name": "seconds", "unit": "s", "published": None, "values": None, "interval": None}
    assert kept_whole["interval"] == [8.0, 10.0] and kept_whole["values"] == [9.0]


def test_two_generations_of_one_name_are_two_processors(tmp_path: Path) -> None:
    first = "processor\t: 0\ncpu family\t: 26\nmodel\t\t: {}\nmodel name\t: EPYC\nstepping\t: 1\n"
    text = f"{first}\nprocessor\t: 1\nmodel\t\t: 9\n"
    path = tmp_path / "cpuinfo"
    names = []
    for generation in (2, 17):
        path.write_text(text.format(generation), encoding="utf-8")
        names.append(model(path))
    assert names == ["EPYC, family 26, model 2, stepping 1", "EPYC, family 26, model 17, stepping 1"]
    assert model(tmp_path / "none").startswith("unknown")
