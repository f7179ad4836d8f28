"""Published against measured: what counts as agreement, which result is taken, what is said where there is none."""

from dataclasses import replace
from pathlib import Path

import pytest

from torchhebb.recipes import get_experiments
from torchhebb.report.reproduction import (
    Comparison,
    compare,
    released_table,
    reproduction_figure,
    reproduction_table,
)
from torchhebb.train import Measure, Result, read_result


def result(recipe: str, *measures: Measure) -> Result:
    return Result(recipe, "accuracy", measures, (0,), 1.0, "CPU, 1 threads", "", {}, versions={}, commit="")


def accuracy(*values: float, interval: tuple[float, float] | None = None) -> Measure:
    return Measure("test_accuracy", "%", values, None, interval)


@pytest.mark.parametrize(
    ("mean", "half", "verdict"),
    [(70.0, 1.0, "agrees"), (71.0, 1.0, "agrees"), (71.1, 1.0, "higher"), (68.9, 1.0, "lower"), (99.0, None, "open")],
)
def test_verdicts(mean: float, half: float | None, verdict: str) -> None:
    assert Comparison("r", "test_accuracy", 70.0, accuracy(mean), half).verdict == verdict


def test_the_interval_over_seeds_is_students() -> None:
    # values 79, 80, 81: standard error 1 / sqrt(3), and t(0.975, 2) = 4.302653
    seeds = result("softhebb2023-cifar10", accuracy(79.0, 80.0, 81.0))
    found = {(c.recipe, c.name): c for c in compare("softhebb2023", [seeds])}
    comparison = found["softhebb2023-cifar10", "test_accuracy"]
    assert comparison.half == pytest.approx(4.302653 / 3**0.5, rel=1e-5)
    assert comparison.difference == pytest.approx(80.0 - 80.31) and comparison.verdict == "agrees"


def test_the_result_with_most_seeds_counts() -> None:
    one = result("softhebb2023-cifar10", accuracy(50.0, interval=(49.0, 51.0)))
    two = result("softhebb2023-cifar10", accuracy(80.2, 80.4))
    for results in ([one, two], [two, one]):
        comparison = next(c for c in compare("softhebb2023", results) if c.recipe == "softhebb2023-cifar10")
        assert comparison.measure is not None and comparison.measure.values == (80.2, 80.4)


def test_what_was_not_run_says_so_with_its_cost() -> None:
    rows = reproduction_table("softhebb2023", []).splitlines()[2:]
    assert rows and all("not run" in row for row in rows)
    cifar10 = next(row for row in rows if row.startswith("| softhebb2023-cifar10 | test accuracy | 80.31 |"))
    assert "hours a seed" in cifar10


def test_a_baseline_of_several_recipes_is_compared_once() -> None:
    found = [c for c in compare("softhebb2023", []) if c.name == "random_test_accuracy" and c.published == 64.0]
    assert [c.recipe for c in found] == ["softhebb2023-cifar10-depth1"]


def test_backpropagation_is_found_in_the_run_and_in_the_question_about_baselines() -> None:
    measure = Measure("backpropagation_test_accuracy", "%", (84.0, 84.2))
    for question in ("accuracy", "baselines"):
        found = compare("softhebb2023", [replace(result("softhebb2023-cifar10", measure), question=question)])
        comparison = next(c for c in found if c.recipe == "softhebb2023-cifar10" and c.name.startswith("backprop"))
        assert comparison.measure == measure
        assert all(":" not in c.name for c in found), "a measure of baselines has no second row"


def test_backpropagation_as_released_has_a_row_of_its_own() -> None:
    name = "softhebb2023-cifar10-depth1-released"
    measures = accuracy(71.0), Measure("backpropagation_test_accuracy", "%", (72.1, 72.3))
    found = compare("softhebb2023", [replace(result(name, *measures), question="baselines")])
    rows = {(c.name, c.published, c.measure) for c in found if c.recipe == name}
    assert rows == {("test_accuracy", 71.1, measures[0]), ("backpropagation_test_accuracy", 72.4, measures[1])}
    plain = [c for c in found if c.published == 72.4 and c.recipe != name]
    assert [(c.recipe, c.measure) for c in plain] == [("softhebb2023-cifar10-depth1", None)]


def test_the_cost_of_what_was_not_run_is_that_of_one_seed() -> None:
    hours = {(c.recipe, c.name): c.hours for c in compare("softhebb2023", [])}
    items = {(i.recipe, i.question, i.seeds): i for i in get_experiments("softhebb2023")}
    one, three = (items["softhebb2023-cifar10-random", "accuracy", seeds] for seeds in (None, 3))
    assert three.training_seconds == 3 * one.training_seconds
    cost = (one.training_seconds + one.seconds) / 3600
    assert hours["softhebb2023-cifar10-random", "test_accuracy"] == pytest.approx(cost)
    taught = items["softhebb2023-cifar10", "baselines", None]
    both = (taught.training_seconds + taught.seconds) / 3600
    assert hours["softhebb2023-cifar10", "backpropagation_test_accuracy"] == pytest.approx(both)


def test_the_figure_shows_every_measured_accuracy() -> None:
    results = [result("softhebb2023-cifar10", accuracy(80.2, 80.4)), result("softhebb2023-mnist", accuracy(99.0))]
    axes = reproduction_figure(compare("softhebb2023", results)).axes[0]
    points = [line for line in axes.lines if line.get_linestyle() == "None"]
    assert sorted(y for line in points for y in line.get_ydata()) == pytest.approx([80.3, 99.0])


def test_two_precisions_of_one_question_are_kept_beside_each_other(tmp_path: Path) -> None:
    whole = result("softhebb2023-cifar10", accuracy(80.1), Measure("ridge_test_accuracy", "%", (77.0,)))
    half = replace(result("softhebb2023-cifar10", accuracy(80.2, 80.4)), notes={"precision": "bfloat16"})
    assert [kept.keep(tmp_path).name for kept in (whole, half)] == ["accuracy-cpu.json", "accuracy-cpu-bfloat16.json"]
    kept = [read_result(path) for path in sorted(tmp_path.rglob("*.json"))]
    rows = reproduction_table("softhebb2023", kept).splitlines()
    row = next(row for row in rows if row.startswith("| softhebb2023-cifar10 | test accuracy"))
    assert "80.30 ± 0.14 % | 2, bfloat16 |" in row
    assert {measure.name for one in kept for measure in one.measures} == {"test_accuracy", "ridge_test_accuracy"}


def test_every_result_file_is_named_by_what_it_holds() -> None:
    folder = Path(__file__).parents[2] / "results"
    for path in sorted(folder.rglob("*.json")):
        kept = read_result(path)
        assert folder / kept.recipe / kept.file_name == path


def test_the_released_codes_numbers_stand_beside_ours() -> None:
    ours = result("softhebb2023-cifar10-random", accuracy(68.0, 70.0))
    rows = {row.split(" | ")[0].strip("| "): row for row in released_table([ours]).splitlines()}
    assert rows["random weights, depth 3"] == "| random weights, depth 3 | 64.6 | 68.8 | 68.6 | 69.00 (2) | not run |"
    assert "55.9" in rows["hard WTA, depth 1"] and "not run" in rows["hard WTA, depth 1"]
