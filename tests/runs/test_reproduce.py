"""Reproducing a paper within a budget: order, resuming, what is kept and what is not run."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import learned, tiny_recipe
from torchhebb.config import to_json
from torchhebb.data import Store
from torchhebb.errors import UserError
from torchhebb.evaluate import Run, open_run
from torchhebb.evaluate.items import ExperimentQuestions
from torchhebb.recipes import get_experiments, get_recipe, list_papers
from torchhebb.recipes.experiment import Experiment
from torchhebb.runs import TrainOptions, run_recipe
from torchhebb.runs.folder import alone_in
from torchhebb.runs.reproduce import Deadline, choose_experiments, parse_duration
from torchhebb.runs.reproduce import reproduce as _reproduce
from torchhebb.train import Learning, Readout, Recipe, Supervised, read_result
from torchhebb.train.checkpoint import Checkpoint

CPU = TrainOptions(device="cpu", precision="float32", checkpoint_seconds=0.0)
FAST = {"readouts": ("trained",)}
EXPERIMENTS = (
    Experiment("dear", "tiny-two", "accuracy", 5000, 10, FAST),
    Experiment("cheap", "tiny-one", "accuracy", 20, 5, FAST),
    Experiment("cheaper", "tiny-one", "diagnostics", 20, 1),
)


reproduce = partial(_reproduce, asker=ExperimentQuestions())


class Clock:
    """Time that stands still until work of that name has reported progress a few times: it is then over.

    It is the clock of `reproduce` and its progress in one.
    """

    def __init__(self, label: str, advances: int) -> None:
        self.label, self.advances = label, advances
        self.now, self.current = 0.0, ""

    def monotonic(self) -> float:
        return self.now

    def start(self, label: str, total: int, unit: str) -> None:
        self.current = label

    def advance(self, n: int) -> None:
        self.advances -= self.current.endswith(self.label)
        if self.advances == 0:
            self.now = float("inf")

    def finish(self) -> None:
        pass


def recipe(name: str) -> Recipe:
    plans = {"learning": Learning(batch_size=50), "readout": Readout(epochs=4, batch_size=200)}
    return tiny_recipe(name=name, baselines=(), **plans)


@pytest.fixture(autouse=True)
def tiny_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchhebb.runs.reproduce.get_recipe", recipe)


@pytest.fixture
def settings(tmp_path: Path, store: Store) -> dict[str, Any]:
    return {"folder": tmp_path / "out", "options": CPU, "store": store}


def statuses(outcomes: list[Any]) -> list[tuple[str, str]]:
    return [(outcome.item.name, outcome.status) for outcome in outcomes]


def test_the_cheapest_first_and_only_what_fits(settings: dict[str, Any], tmp_path: Path) -> None:
    outcomes = reproduce(EXPERIMENTS, budget=1000, results=tmp_path / "results", **settings)
    assert statuses(outcomes) == [("cheaper", "new"), ("cheap", "new"), ("dear", "not run")]
    kept = read_result(tmp_path / "results" / "tiny-one" / "accuracy-cpu.json")
    assert kept.measures == read_result(settings["folder"] / "tiny-one" / "accuracy.json").measures
    assert not (settings["folder"] / "tiny-two").exists()


def test_a_second_call_does_nothing_anew(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    first = reproduce(EXPERIMENTS, budget=1000, **settings)
    before = {path: path.stat().st_mtime_ns for path in settings["folder"].rglob("*")}
    monkeypatch.setattr("torchhebb.runs.reproduce.run_recipe", None)
    monkeypatch.setattr("torchhebb.evaluate.items.evaluate", None)
    second = reproduce(EXPERIMENTS, budget=1000, **settings)
    assert [outcome.status for outcome in second] == ["kept", "kept", "not run"]
    for one, other in zip(first[:2], second[:2], strict=True):
        assert one.result is not None and other.result is not None
        assert [m.values for m in one.result.measures] == [m.values for m in other.result.measures]
    assert before == {path: path.stat().st_mtime_ns for path in settings["folder"].rglob("*")}


def test_an_answer_that_is_there_already_is_kept_among_the_results_too(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    reproduce(EXPERIMENTS[1:2], budget=1000, **settings)
    again = reproduce(EXPERIMENTS[1:2], budget=1000, results=tmp_path / "results", **settings)
    assert statuses(again) == [("cheap", "kept")]
    kept = read_result(tmp_path / "results" / "tiny-one" / "accuracy-cpu.json")
    assert kept.measures == read_result(settings["folder"] / "tiny-one" / "accuracy.json").measures


@pytest.mark.parametrize(("label", "advances"), [("learning", 15), ("readout", 3)])
def test_an_item_cut_off_by_the_budget_goes_on_exactly(
    label: str, advances: int, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item, clock = Experiment("cut", "tiny-one", "accuracy", 10, 1, FAST), Clock(label, advances)
    with monkeypatch.context() as patched:
        patched.setattr("torchhebb.runs.reproduce.time", clock)
        outcomes = reproduce([item, EXPERIMENTS[0]], budget=6000, progress=clock, **settings)
        assert statuses(outcomes) == [("cut", "interrupted"), ("dear", "not run")]
    run_folder = settings["folder"] / "tiny-one"
    assert (run_folder / "checkpoint.safetensors").exists() and not (run_folder / "result.json").exists()
    # Under way, it goes on although its estimate exceeds the budget.
    dearer = Experiment("cut", "tiny-one", "accuracy", 10_000, 1, FAST)
    assert statuses(reproduce([dearer], budget=500, **settings)) == [("cut", "new")]
    run_recipe(recipe("tiny-one"), CPU, folder=tmp_path / "straight", store=settings["store"])
    straight, resumed = learned(tmp_path / "straight"), learned(run_folder)
    for name in ("model.safetensors", "readout.safetensors"):
        assert straight[name] == resumed[name]


def test_a_failed_item_leaves_the_others(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Experiment("broken", "tiny-one", "accuracy", 1, 1, {"readouts": ("ridge",)})
    monkeypatch.setattr("torchhebb.readouts.linear.free_bytes", lambda device: 0)
    outcomes = reproduce([broken, EXPERIMENTS[2]], budget=1000, **settings)
    assert statuses(outcomes) == [("broken", "failed"), ("cheaper", "new")]
    assert "--ridge.project" in outcomes[0].reason


def test_an_unreadable_item_leaves_the_others(settings: dict[str, Any]) -> None:
    broken = settings["folder"] / "tiny-two"
    broken.mkdir(parents=True)
    (broken / "config.json").write_text("{")
    dear = Experiment("dear", "tiny-two", "accuracy", 1, 1, FAST)
    outcomes = reproduce([dear, EXPERIMENTS[2]], budget=1000, **settings)
    assert statuses(outcomes) == [("dear", "failed"), ("cheaper", "new")]
    assert "is damaged" in outcomes[0].reason


def test_a_second_process_is_told_of_the_first(settings: dict[str, Any]) -> None:
    with alone_in(settings["folder"]), pytest.raises(UserError, match="another process is using"):
        reproduce(EXPERIMENTS[2:], budget=1000, **settings)


def test_a_budget_for_nothing_still_makes_the_folder_that_is_named(settings: dict[str, Any]) -> None:
    assert statuses(reproduce(EXPERIMENTS[:1], budget=1, **settings)) == [("dear", "not run")]
    assert settings["folder"].is_dir()


def test_a_folder_with_another_version_of_a_recipe_is_refused(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    reproduce(EXPERIMENTS[2:], budget=1000, **settings)
    monkeypatch.setattr("torchhebb.runs.reproduce.get_recipe", lambda name: tiny_recipe(name=name, seeds=5))
    with pytest.raises(UserError, match="holds another version of tiny-one: choose another folder with --out"):
        reproduce(EXPERIMENTS[2:], budget=1000, **settings)


COMPARED = Experiment("taught", "tiny-one", "baselines", 10, 1, {"baselines": ("own", "backpropagation")})


def test_a_baseline_cut_off_by_the_budget_goes_on(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    clock, dearer = Clock("backpropagation", 10), replace(COMPARED, seconds=10_000)
    monkeypatch.setattr("torchhebb.runs.baselines.Checkpoint", partial(Checkpoint, interval=0.0))
    with monkeypatch.context() as patched:
        patched.setattr("torchhebb.runs.reproduce.time", clock)
        assert statuses(reproduce([COMPARED], budget=6000, progress=clock, **settings)) == [("taught", "interrupted")]
    (begun,) = settings["folder"].glob("tiny-one/baselines/backpropagation-0-*/checkpoint.safetensors")
    assert not begun.with_name("model.safetensors").exists()
    other = replace(EXPERIMENTS[1], seconds=10_000)
    assert statuses(reproduce([other, dearer], budget=500, **settings)) == [("taught", "new"), ("cheap", "not run")]


def test_another_plan_of_backpropagation_is_no_other_version_of_a_run_without_it(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = reproduce([COMPARED], budget=1000, **settings)
    weights = settings["folder"] / "tiny-one" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    plan = Supervised(epochs=1, batch_size=50, lr=0.1)
    monkeypatch.setattr("torchhebb.runs.reproduce.get_recipe", lambda name: replace(recipe(name), supervised=plan))
    second = reproduce([COMPARED], budget=1000, **settings)
    assert statuses(first) == statuses(second) == [("taught", "new")] and weights.stat().st_mtime_ns == before
    found = [outcome.result for outcome in (first[0], second[0])]
    assert found[0].measure("test_accuracy") == found[1].measure("test_accuracy")  # type: ignore[union-attr]
    plans = [result.notes["supervised"] for result in found]  # type: ignore[union-attr]
    assert plans == [to_json(recipe("tiny-one").supervised), to_json(plan)]


def test_a_checkpoint_interval_that_fits_a_short_budget(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[TrainOptions] = []

    def fake(recipe: Recipe, options: TrainOptions, **_: Any) -> None:
        seen.append(options)
        raise UserError("enough")

    monkeypatch.setattr("torchhebb.runs.reproduce.run_recipe", fake)
    reproduce(EXPERIMENTS[2:], settings["folder"], budget=50, options=TrainOptions(device="cpu"))
    assert seen[0].checkpoint_seconds == 10


def test_a_deadline_passes_progress_on() -> None:
    class Heard:
        said: list[Any] = []

        def start(self, *arguments: Any) -> None:
            self.said.append(arguments)

        def advance(self, n: int) -> None:
            self.said.append(n)

        def finish(self) -> None:
            self.said.append("finish")

    deadline = Deadline(Heard(), float("inf"))
    deadline.start("work", 2, "units")
    deadline.advance(2)
    deadline.finish()
    assert Heard.said == [("work", 2, "units"), 2, "finish"]


def test_items_by_name_recipe_or_pattern() -> None:
    assert [item.name for item in choose_experiments(EXPERIMENTS, ["cheap"])] == ["cheap", "cheaper"]
    assert [item.name for item in choose_experiments(EXPERIMENTS, ["tiny-t?o", "dear"])] == ["dear"]
    assert choose_experiments(EXPERIMENTS, []) == list(EXPERIMENTS)
    with pytest.raises(UserError, match="unknown item 'chaep'; nearest: cheap"):
        choose_experiments(EXPERIMENTS, ["chaep"])


@pytest.mark.parametrize("text", ["", "30", "m", "-5m", "0s", "3d", "1h30m", "ten s"])
def test_a_budget_is_a_time(text: str) -> None:
    with pytest.raises(UserError, match="a budget is a positive time such as 90s, 30m or 2h, got"):
        parse_duration(text)
    assert parse_duration("90s") == 90 and parse_duration("30m") == 1800 and parse_duration("2h") == 7200


def test_items_of_papers_fit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchhebb.evaluate import get_evaluator

    for paper in list_papers():
        items = get_experiments(paper)
        assert len({item.name for item in items}) == len(items)
        asked = {(item.recipe, item.question, item.seeds or get_recipe(item.recipe).seeds) for item in items}
        assert len(asked) == len(items), "one answer would hide another"
        for item in items:
            get_evaluator(item.question)(**item.settings)
            same = [other for other in items if (other.recipe, other.question) == (item.recipe, item.question)]
            assert all(other.settings == item.settings for other in same), "two settings would take turns"
    with pytest.raises(UserError, match="unknown paper 'softheb2023'; nearest: softhebb2023"):
        get_experiments("softheb2023")


def test_more_seeds_go_on_from_fewer_and_come_after_every_reduced_item(settings: dict[str, Any]) -> None:
    items = (Experiment("full", "tiny-one", "accuracy", 1, 1, FAST, seeds=2, full=True), *EXPERIMENTS[1:])
    first = reproduce(items, budget=1000, **settings)
    assert statuses(first) == [("cheaper", "new"), ("cheap", "new"), ("full", "new")]
    one, two = (outcome.result.measure("test_accuracy").values for outcome in first[1:])
    assert len(one) == 1 and len(two) == 2 and two[0] == one[0]
    again = reproduce(items, budget=1000, **settings)
    assert {status for _, status in statuses(again)} == {"kept"} and len(again[1].result.seeds) == 2


def test_an_answer_of_other_settings_is_asked_again(settings: dict[str, Any]) -> None:
    reproduce(EXPERIMENTS[1:2], budget=1000, **settings)
    other = replace(EXPERIMENTS[1], settings={"readouts": ("trained", "labels")})
    (outcome,) = reproduce([other], budget=1000, **settings)
    assert outcome.status == "new" and "labels_test_accuracy" in [m.name for m in outcome.result.measures]


def test_a_piece_of_an_answer_is_computed_once(run: Run) -> None:
    calls: list[int] = []
    for key in ({"seed": 0, "eps": 0.1}, {"eps": 0.1, "seed": 0}, {"seed": 1, "eps": 0.1}):
        assert run.cached(lambda: calls.append(1) or [len(calls)], question="x", **key) in ([1], [2])
    assert len(calls) == 2


def test_an_item_of_one_seed_asks_one_seed_of_a_longer_run(settings: dict[str, Any]) -> None:
    run_recipe(
        replace(recipe("tiny-one"), seeds=2), CPU, folder=settings["folder"] / "tiny-one", store=settings["store"]
    )
    (outcome,) = reproduce(EXPERIMENTS[1:2], budget=1000, **settings)
    assert outcome.result.seeds == (0,) and len(outcome.result.measure("test_accuracy").values) == 1


def test_seeds_that_are_not_there_are_refused(run: Run) -> None:
    assert open_run(run.folder, seeds=1, store=run.store).seeds == (0,)
    for seeds in (0, 3):
        with pytest.raises(UserError, match="seeds must be from 1 to 2"):
            open_run(run.folder, seeds=seeds, store=run.store)
