"""A run reads a model once, hashes its weights once and reads no feature twice: the calls are counted."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import torchhebb.report.collect as collect
import torchhebb.runs.baselines as baselines
import torchhebb.runs.run as runs
import torchhebb.train.features as features
from torchhebb.cli import main
from torchhebb.data import Store
from torchhebb.evaluate import Run, evaluate, open_run
from torchhebb.evaluate.questions.accuracy import Accuracy, ReadoutName
from torchhebb.report import write_report

READOUTS: tuple[ReadoutName, ...] = ("trained", "ridge", "neighbors", "labels")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, ...]]:
    """How often a file of weights was loaded, the weights of a network were hashed, and features were read."""
    counted: Counter[tuple[str, ...]] = Counter()

    def count(module: Any, function: str, what: Callable[..., tuple[str, ...]]) -> None:
        original = getattr(module, function)

        def counting(*args: Any, **kwargs: Any) -> Any:
            counted[what(*args, **kwargs)] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(module, function, counting)

    for module in (runs, collect, baselines):
        count(module, "load", lambda path, **_: ("load", path.name))
    for module in (runs, features):
        count(module, "fingerprint", lambda _: ("hash",))
    count(features, "extract_features", lambda *_, key, **__: ("features", key["model"], key["data"], key["split"]))
    return counted


def by_kind(calls: Counter[tuple[str, ...]]) -> dict[str, list[int]]:
    """The counts of each kind of call, one for each different file or features."""
    return {kind: sorted(n for call, n in calls.items() if call[0] == kind) for kind in ("load", "hash", "features")}


def test_a_run_is_evaluated_and_reported_from_one_reading(
    run: Run, store: Store, tmp_path: Path, calls: Counter[tuple[str, ...]]
) -> None:
    opened = open_run(run.folder, store=store)
    assert not calls
    evaluate(Accuracy(readouts=READOUTS, test_data="digits"), opened)
    # of each of two seeds the training images, the test images and those of the other data set
    assert by_kind(calls) == {"load": [1, 1], "hash": [2], "features": [1] * 6}
    evaluate(Accuracy(readouts=READOUTS), opened)
    page = write_report([opened], tmp_path / "report.html")
    assert by_kind(calls) == {"load": [1, 1], "hash": [2], "features": [1] * 6}
    assert page.read_text(encoding="utf-8") == write_report([run.folder], page, store=store).read_text(encoding="utf-8")


def test_commands_read_once(
    run: Run, store: Store, calls: Counter[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHHEBB_STORE", str(store.root))
    assert main(["evaluate", "accuracy", str(run.folder), "--readouts", *READOUTS, "--device", "cpu"]) == 0
    assert by_kind(calls) == {"load": [1, 1], "hash": [2], "features": [1] * 4}
    calls.clear()
    assert main(["report", str(run.folder), "--device", "cpu"]) == 0
    assert by_kind(calls) == {"load": [1], "hash": [1], "features": [1]}  # the test images of the first seed
