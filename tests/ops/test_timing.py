from collections.abc import Callable

import pytest

from torchhebb.ops import timing as module
from torchhebb.ops.timing import fastest_calls


@pytest.mark.parametrize(
    ("patience", "calls"),
    [(1e9, 4), (5.0, 2), (15.0, 3)],  # a round takes 5 s, but the first, which takes 9
)
def test_calls_take_turns_and_the_fastest_counts(monkeypatch: pytest.MonkeyPatch, patience: float, calls: int):
    now = [0.0]
    made: list[str] = []

    def work(name: str, *seconds: float) -> Callable[[], None]:
        def call() -> None:
            now[0] += seconds[min(made.count(name), len(seconds) - 1)]
            made.append(name)

        return call

    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    works = {"a": work("a", 7.0, 3.0), "b": work("b", 2.0)}
    assert fastest_calls(works, rounds=4, patience=patience) == {"a": 3000.0, "b": 2000.0}
    assert made == ["a", "b"] * calls


def test_a_slower_call_later_does_not_count(monkeypatch: pytest.MonkeyPatch):
    now, seconds = [0.0], iter([1.0, 4.0, 9.0])
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])

    def work() -> None:
        now[0] += next(seconds)

    assert fastest_calls({"a": work}, rounds=3, patience=1e9) == {"a": 1000.0}
