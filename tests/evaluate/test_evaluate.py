"""Evaluators on a finished run: what they find, what they keep, what they refuse."""

import json
import re
import shutil
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import ANY

import pytest
import torch
from scipy.stats import binomtest

import torchhebb.evaluate
from torchhebb.data import Store
from torchhebb.errors import UserError
from torchhebb.evaluate import (
    Accuracy,
    Diagnostics,
    Evaluator,
    Figure,
    Run,
    describe_evaluators,
    evaluate,
    get_evaluator,
    list_evaluators,
    open_run,
    questions,
)
from torchhebb.evaluate.evaluator import Finding, Note
from torchhebb.nn import Network
from torchhebb.readouts import Logistic, Neighbors
from torchhebb.runs import run as run_module
from torchhebb.train import Measure, Result, read_result
from torchhebb.train.diagnostics import radii
from torchhebb.train.wilson import wilson


@pytest.fixture(scope="module")
def accuracy(run: Run) -> Result:
    return evaluate(Accuracy(logistic=Logistic(iterations=20)), run, command="the command")


@pytest.fixture(scope="module")
def diagnostics(run: Run) -> Result:
    return evaluate(Diagnostics(bins=5), run)


def test_names_find_evaluators_and_mistakes_find_names() -> None:
    assert get_evaluator("accuracy") is Accuracy and torchhebb.evaluate.Accuracy is Accuracy
    with pytest.raises(UserError, match="unknown evaluator 'acuracy'; nearest: accuracy"):
        get_evaluator("acuracy")


def test_every_file_of_questions_answers_to_its_name_and_says_what_in_one_line() -> None:
    files = sorted(path.stem for path in Path(questions.__path__[0]).glob("[!_]*.py"))
    assert list_evaluators() == files and list(describe_evaluators()) == files
    for name, line in describe_evaluators().items():
        kind = get_evaluator(name)
        assert kind.question == name and kind.__name__ in torchhebb.evaluate.__all__
        assert 20 < len(line) <= 120, name


def test_questions_leave_drawing_to_figures() -> None:
    for path in Path(questions.__path__[0]).glob("*.py"):
        for line in re.sub(r"if TYPE_CHECKING:(\n    .*)*", "", path.read_text(encoding="utf-8")).splitlines():
            assert not re.match(r"\s*(from|import) matplotlib", line), path


def test_methods_and_figures_know_no_run() -> None:
    package = Path(questions.__path__[0]).parent
    for path in (*(package / "methods").rglob("*.py"), *(package / "figures").rglob("*.py")):
        assert "torchhebb.runs" not in path.read_text(encoding="utf-8"), path


def test_a_question_is_imported_when_it_is_used() -> None:
    program = """
import sys, torchhebb.evaluate
loaded = lambda: sorted(name.split(".")[-1] for name in sys.modules if name.startswith("torchhebb.evaluate.questions."))
assert "matplotlib" not in sys.modules
before = loaded()
torchhebb.evaluate.Accuracy
assert (before, loaded()) == ([], ["accuracy"]), (before, loaded())
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(("correct", "images"), [(0, 30), (1, 7), (431, 449), (9000, 10_000), (50, 50)])
def test_wilson_equals_scipy(correct: int, images: int) -> None:
    expected = binomtest(correct, images).proportion_ci(0.95, method="wilson")
    assert wilson([100 * correct / images], images) == pytest.approx((100 * expected.low, 100 * expected.high))


def test_accuracy_of_every_readout(accuracy: Result, run: Run) -> None:
    readouts = ("test", "ridge_test", "logistic_test", "neighbors_test", "labels_test", "random_test", "raw_test")
    assert {measure.name for measure in accuracy.measures} == {f"{name}_accuracy" for name in readouts}
    assert accuracy.measure("test_accuracy").values == pytest.approx(run.result.measure("test_accuracy").values)
    assert accuracy.measure("test_accuracy").published == 97.0
    for measure in accuracy.measures:
        assert len(measure.values) == 2 and measure.interval is not None
        assert measure.interval[0] < measure.mean < measure.interval[1]
    assert accuracy.measure("ridge_test_accuracy").mean > 70
    assert len(accuracy.notes["chosen"]["ridge"]) == 2 and "trained" not in accuracy.notes["chosen"]


def test_the_trained_readout_is_the_classifier_on_pixels(accuracy: Result, run: Run) -> None:
    x = run.data.test.images / 255.0
    for seed, value in zip(run.seeds, accuracy.measure("test_accuracy").values, strict=True):
        with torch.no_grad():
            predicted = run.network(seed).classifier(x).argmax(1)
        assert 100 * (predicted == run.data.test.labels).double().mean().item() == pytest.approx(value)


def test_all_readouts_load_a_network_and_hash_its_weights_once_a_seed(
    run: Run, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(run.folder, tmp_path / "copy"))
    counts: Counter[str] = Counter()
    for name in ("load", "fingerprint"):
        whole = getattr(run_module, name)

        def counted(*arguments: Any, name: str = name, whole: Any = whole) -> Any:
            counts[name] += 1
            return whole(*arguments)

        monkeypatch.setattr(run_module, name, counted)
    evaluate(Accuracy(logistic=Logistic(iterations=2)), open_run(copy, store=store))
    assert counts == {"load": 2, "fingerprint": 2}


def test_neuron_labels_belong_to_channels(run: Run) -> None:
    channels, *positions = run.feature_shape(0)
    assert channels == 8 and run.features(0, "test").shape == (449, channels * torch.Size(positions).numel())


def test_only_the_readouts_that_were_asked_for(run: Run) -> None:
    found = list(Accuracy(readouts=("neighbors",), neighbors=Neighbors(k=(1,))).run(run))
    measures = [finding.name for finding in found if isinstance(finding, Measure)]
    assert measures == ["neighbors_test_accuracy", "random_test_accuracy", "raw_test_accuracy"]
    notes = {finding.name: finding.value for finding in found if isinstance(finding, Note)}
    assert [choice["k"] for choice in notes["chosen"]["neighbors"]] == [1, 1] and notes["test_images"] == 449
    with pytest.raises(UserError, match="readouts must be among trained, ridge, .* got 'svm'"):
        Accuracy(readouts=("svm",))  # type: ignore[arg-type]


def test_memory_is_checked_before_anything_is_fitted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchhebb.readouts.linear.free_bytes", lambda device: 0)
    monkeypatch.setattr(Accuracy, "cell", None)
    with pytest.raises(UserError, match=r"needs .* --ridge\.project"):
        list(Accuracy(readouts=("trained", "neighbors", "ridge")).run(run))


def test_a_result_is_kept_and_read_back(accuracy: Result, run: Run) -> None:
    kept = read_result(run.folder / "accuracy.json")
    assert kept.question == "accuracy" and kept.command == "the command" and kept.seeds == (0, 1)
    assert kept.measure("test_accuracy").interval == pytest.approx(accuracy.measure("test_accuracy").interval)
    assert json.loads((run.folder / "accuracy.json").read_text())["notes"]["settings"]["ridge"]["type"] == "Ridge"


def test_diagnostics_are_those_of_the_log_and_of_the_weights(diagnostics: Result, run: Run) -> None:
    curves = {curve.name: curve for curve in diagnostics.curves}
    assert len(curves) == 2 * 5
    lines = [line for line in run.log() if line["kind"] == "learning" and line["name"] == "block2.layer"]
    radius = curves["block2 radius_mean"]
    assert radius.x == tuple(sorted({line["samples"] for line in lines})) and radius.x[-1] == 1348
    last = [line["radius_mean"] for line in lines if line["samples"] == 1348]
    assert radius.y[-1] == pytest.approx(sum(last) / 2)
    for number, value in enumerate(diagnostics.measure("block2_radius_mean").values):
        network = run.network(number)
        assert isinstance(network, Network)
        layer = network.get_submodule("block2.layer")
        assert radii(layer).mean().item() == pytest.approx(value, rel=1e-5)  # type: ignore[arg-type]


def test_diagnostics_leave_out_baselines_that_learned_and_other_seeds(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    lines = [line for line in run.log() if line["kind"] == "learning"]
    other = [line | {"task": "seed 0: hard WTA: learning", "radius_mean": 1e6} for line in lines]
    with (folder / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in other)
    alone = open_run(folder, seeds=1, store=run.store)
    found = evaluate(Diagnostics(bins=5), alone)
    first = [
        line["radius_mean"] for line in lines if line["task"] == "seed 0: learning" and line["name"] == "block1.layer"
    ]
    (curve,) = (curve for curve in found.curves if curve.name == "block1 radius_mean")
    assert curve.y == pytest.approx(first) and curve.std is None
    assert found.measure("block1_radius_mean").values == (first[-1],)


def test_diagnostics_need_the_record_of_every_seed(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.folder, folder := tmp_path / "run")
    kept = [line for line in (folder / "metrics.jsonl").read_text().splitlines() if "seed 1: learning" not in line]
    (folder / "metrics.jsonl").write_text("\n".join(kept) + "\n")
    with pytest.raises(UserError, match="has no record of learning: train the run again"):
        evaluate(Diagnostics(), open_run(folder, store=run.store))


def test_the_histogram_holds_every_neuron_around_the_fair_share(diagnostics: Result) -> None:
    for name in ("block1 win_rates", "block2 win_rates"):
        histogram = next(curve for curve in diagnostics.curves if curve.name == name)
        assert len(histogram.x) == 5 and sum(histogram.y) == pytest.approx(1, abs=1e-5)
        width = histogram.x[1] - histogram.x[0]
        mean = sum(x * y for x, y in zip(histogram.x, histogram.y, strict=True))
        assert abs(mean - 1) < width / 2


@dataclass(frozen=True)
class Drawn(Evaluator):
    question: ClassVar[str] = "drawn"

    def run(self, run: Run) -> Iterator[Finding]:
        from matplotlib.figure import Figure as Canvas

        yield Note("fact", [1, 2])
        yield Figure("empty", "nothing to see", Canvas())


def test_figures_and_notes_are_kept_beside_the_result(run: Run) -> None:
    result = evaluate(Drawn(), run)
    assert result.notes["fact"] == [1, 2]
    drawn = (run.folder / "drawn-empty.svg").read_bytes()
    (figure,) = result.notes["figures"]
    assert figure.pop("crc32") == zlib.crc32(drawn)
    assert figure == {"name": "empty", "caption": "nothing to see", "file": "drawn-empty.svg"}
    assert drawn.startswith(b"<?xml") and evaluate(Drawn(), run).notes == {**result.notes, "figures": [ANY]}
    assert (run.folder / "drawn-empty.svg").read_bytes() == drawn, "the same figure, the same bytes"


def test_what_is_no_finished_run_is_refused(run: Run, store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a run folder"):
        open_run(tmp_path, store=store)
    copy = Path(shutil.copytree(run.folder, tmp_path / "copy"))
    result = read_result(copy / "result.json")
    replace(result, data={**result.data, "fingerprint": "another"}).write(copy / "result.json")
    with pytest.raises(UserError, match="has other images than those"):
        open_run(copy, store=store)
    (copy / "result.json").unlink()
    with pytest.raises(UserError, match="is not finished: continue with torchhebb train --resume"):
        open_run(copy, store=store)
