"""The audit of the pinned packages: what it reports, and that the lock file is of the pins."""

from tests.audit import LOCK, PINS, changed_files, hashes, known_faults, pins


def test_every_pin_but_torch_has_hashes_of_its_version() -> None:
    pinned = pins(PINS.read_text())
    assert pinned.pop("torch")
    assert pins(LOCK.read_text()) == pinned, "renew it: make lock"
    assert all(hashes(LOCK.read_text()).values())


def test_a_file_that_is_gone_or_was_replaced_is_a_change_and_a_new_one_is_none() -> None:
    one, other = "a" * 64, "b" * 64
    locked = f"x==1 \\\n    --hash=sha256:{one}\ny==2 \\\n    --hash=sha256:{one}\n"
    assert changed_files(locked, locked) == []
    assert changed_files(locked, locked.replace("x==1 \\", f"x==1 \\\n    --hash=sha256:{other} \\")) == []
    assert changed_files(
        locked, locked.replace(f"y==2 \\\n    --hash=sha256:{one}", f"y==2 \\\n    --hash=sha256:{other}")
    ) == ["y"]
    assert changed_files(locked, f"x==1 \\\n    --hash=sha256:{one}\n") == ["y"]


def test_known_faults_are_named_and_what_was_not_looked_up_is_not_counted() -> None:
    report = {
        "dependencies": [
            {"name": "x", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1", "2"]}]},
            {"name": "y", "version": "2", "vulns": []},
            {"name": "z", "skip_reason": "Dependency not found"},
        ]
    }
    assert known_faults(report) == (["x 1: CVE-1, fixed in 1.1, 2"], 2)
