"""The campaign itself: every outcome is told apart, and one case takes none of the others with it."""

import random
from pathlib import Path

import pytest

from tests.faults.campaign import Kind, carry_out
from tests.faults.damage import damaged
from tests.faults.page import text
from tests.faults.record import append, read_journal, summary
from tests.faults.sample import CASES, SURFACE


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.faults.campaign.GRACE_SECONDS", 0.5)


def test_outcomes_are_told_apart(tmp_path: Path) -> None:
    tried = list(carry_out(SURFACE, range(len(CASES)), tmp_path / "work"))
    assert [case.kind for case in tried] == [kind for _, kind in CASES]
    faults = {f"case-{case.number}" for case in tried if not case.kind.promised}
    assert {path.name for path in (tmp_path / "work").glob("case-*")} == faults, "folders of faults are kept"
    for case in tried:
        append(tmp_path / "journal", case)
    assert read_journal(tmp_path / "journal") == tried
    record = summary(SURFACE, tried)
    assert record["counts"] == {**dict.fromkeys((kind.value for kind in Kind), 1), **record["counts"]}
    assert sum(record["counts"].values()) == len(CASES) and len(record["faults"]) == 6
    assert "9 cases, 6 faults" in text([record])


def test_damage_is_damage() -> None:
    drawn = random.Random(0)
    for data in (b"", b"\0", b"abc" * 100):
        for _ in range(200):
            changed, what = damaged(data, drawn)
            assert changed != data and what
