"""The instrument itself: turns, ratios, peaks, and the page that shows them."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.harness import (
    FOLDER,
    MEBIBYTE,
    PeakGrowth,
    Remote,
    alternate,
    compare,
    fresh,
    keep,
    make_result,
    summarize,
)
from torchhebb.train import read_result

CPU = torch.device("cpu")


def test_variants_take_turns_and_warm_up_is_not_kept() -> None:
    calls: list[str] = []
    variants = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    samples = alternate(variants, steps=3, warmup=2, device=CPU)
    assert calls == ["a", "b"] * 5
    assert {name: len(values) for name, values in samples.items()} == {"a": 3, "b": 3}
    assert all(value >= 0 for values in samples.values() for value in values)


def test_ratio_is_of_medians_and_drift_cancels() -> None:
    drift = [float(2**i) for i in range(9)]
    ratio = compare({"a": tuple(0.5 * d for d in drift), "b": tuple(drift)}, "a", "b", target=0.6)
    assert (ratio.value, ratio.low, ratio.high, ratio.verdict) == (0.5, 0.5, 0.5, "PASS")
    assert compare({"a": (3.0, 1.0, 2.0), "b": (1.0, 1.0, 9.0)}, "a", "b", target=1.9).verdict == "FAIL"


def test_interval_surrounds_the_ratio_and_follows_its_seed() -> None:
    samples = {"a": tuple(float(i % 7 + 5) for i in range(30)), "b": tuple(float(i % 5 + 9) for i in range(30))}
    ratio = compare(samples, "a", "b")
    assert ratio.low < ratio.value < ratio.high
    assert ratio == compare(samples, "a", "b") and ratio.verdict == ""


def test_the_command_of_a_result_is_without_the_folder_that_it_is_kept_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for where in (["--results", "out"], ["--results=out"], []):
        monkeypatch.setattr(sys, "argv", ["some/where/bench_x.py", *where, "--steps", "9"])
        result = make_result("x", {"a": (1.0,)}, "ms", [], device=CPU, seconds=1.0)
        assert result.command == "python benchmarks/bench_x.py --steps 9"


def test_summary() -> None:
    assert summarize([1.0, 2.0, 3.0, 4.0, 5.0]) == {"median": 3.0, "q1": 2.0, "q3": 4.0}


def test_peak_growth_sees_what_was_freed_again() -> None:
    if sys.platform != "linux":
        with pytest.raises(OSError), PeakGrowth.of(CPU):
            pass
        return
    # In a process of its own: in this one, a command run by another test may have told malloc to keep freed memory.
    script = f"""
import sys, torch
sys.path.insert(0, {str(FOLDER)!r})
from harness import PeakGrowth
torch.ones({40 * MEBIBYTE})  # a peak of 160 MiB before, which must not count
with PeakGrowth.of(torch.device("cpu")) as peak:
    block = torch.ones({16 * MEBIBYTE})
    del block
print(peak.bytes)
"""
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    assert 60 * MEBIBYTE < int(done.stdout) < 80 * MEBIBYTE


def test_a_variant_lives_in_a_process_of_its_own(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    start = f"import sys, torch\nsys.path.insert(0, {str(FOLDER)!r})\nfrom harness import serve\n"
    script.write_text(start + "steps = iter([1, 2])\nserve(lambda: next(steps), torch.device('cpu'))\n")
    remote = Remote(str(script))
    samples = alternate({"remote": remote}, steps=1, warmup=1, device=CPU)
    assert samples["remote"][0] > 0
    with pytest.raises(RuntimeError, match="should have said 'done'"):
        remote()  # the third step ends the process
    remote.close()


def test_a_number_from_a_fresh_process(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys\nprint('on the way')\nprint(2 * int(sys.argv[1]))\n")
    assert fresh(str(script), 21) == 42


@pytest.mark.parametrize(("instructions", "name"), [("AVX512", "step-cpu"), ("AVX2", "step-cpu-avx2")])
def test_a_result_is_kept_and_printed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    instructions: str,
    name: str,
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: instructions)
    samples = {"fast": (1.0, 2.0, 3.0), "slow": (4.0, 4.0, 4.0)}
    ratio = compare(samples, "fast", "slow", target=0.4)
    keep(make_result("step", samples, "ms", [ratio], device=CPU, seconds=1.0, batch_size=10), tmp_path)
    result = read_result(tmp_path / "bench" / f"{name}.json")
    assert result.measure("fast").values == (1.0, 2.0, 3.0)
    assert result.notes["summaries"]["fast"] == {"median": 2.0, "q1": 1.5, "q3": 2.5}
    assert result.notes["ratios"][0]["verdict"] == "FAIL" and result.notes["batch_size"] == 10
    printed = capsys.readouterr().out
    assert "fast / slow" in printed and "0.500" in printed and "FAIL" in printed


def test_the_pages_show_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    from benchmarks.tables import PAGES, RESULTS, fill

    for path in PAGES:
        page = path.read_text(encoding="utf-8")
        assert fill(page, RESULTS) == page, "put the results into the pages: python benchmarks/tables.py"
        measured = page.count("<!-- bench: ") + page.count("<!-- model: check -->")
        assert fill(page, FOLDER).count("\nNot run.\n") == measured


def test_what_the_library_adds_is_a_median_and_its_processes_keep_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    from benchmarks.bench_start import added, fresh_process

    adds = added((310.0, 290.0, 300.0))
    assert (adds["milliseconds"], adds["verdict"], adds["low"], adds["high"]) == (300.0, "PASS", 290.0, 310.0)
    assert added((310.0, 290.0, 301.0))["verdict"] == "FAIL"
    assert fresh_process("-c", "import sys; print(sys.dont_write_bytecode)") == "False\n"


def test_a_pipeline_is_medians_times_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    from benchmarks import bench_pipeline as bench

    counts = bench.how_often(10, 64, 50, 42)
    assert counts[bench.PLAIN] == {bench.STEP: 5000, bench.READOUT: 39_100, bench.TESTING: 157}
    assert counts[bench.OURS] == {bench.OUR_STEP: 5000, bench.OUR_FEATURES: 1429, bench.OUR_READOUT: 39_100}
    samples = {kind: (3.0, 1.0, 2.0) for kind in counts[bench.PLAIN]} | {
        kind: (1.0,) * 3 for kind in counts[bench.OURS]
    }
    assert bench.total(samples, counts[bench.PLAIN]) == 2.0 * (5000 + 39_100 + 157)
    ratio = bench.pipeline_ratio(samples, counts, target=1 / 60)
    assert ratio.value == (5000 + 1429 + 39_100) / (2.0 * (5000 + 39_100 + 157))
    assert ratio.low < ratio.value < ratio.high and ratio.verdict == "FAIL"
