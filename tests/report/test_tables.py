"""Tables from results: what a row says, which results a marker chooses, and that the pages agree with results/."""

from pathlib import Path

import pytest

from torchhebb.errors import UserError
from torchhebb.report.tables import NOTHING, fill, main, outdated, read_results, table, update
from torchhebb.train import Measure, Result

ROOT = Path(__file__).resolve().parents[2]
MARKED = "# Title\n\n<!-- results:paper-* -->\n<!-- /results -->\n\nText.\n"


def result(recipe: str = "paper-data", question: str = "accuracy", device: str = "A GPU") -> Result:
    measures = (Measure("test_accuracy", "%", (80.0, 80.4, 80.2), 80.31), Measure("radius", "", (1.0,)))
    return Result(recipe, question, measures, (0, 1, 2), 1.0, device, "", {}, versions={}, commit="")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text(MARKED)
    (tmp_path / "docs" / "more.md").write_text(MARKED.replace("paper-*", "accuracy"))
    (tmp_path / "docs" / "plain.md").write_text("No table.\n")
    return tmp_path


def test_the_pages_of_this_repository_agree_with_its_results() -> None:
    assert outdated(ROOT) == [], "run make tables"


def test_a_row_for_each_measure() -> None:
    lines = table([result()]).splitlines()
    assert lines[2] == "| paper-data | test accuracy | 80.20 ± 0.20 % | 3 | 80.31 % | A GPU |"
    assert lines[3] == "| paper-data | radius | 1.00 | 1 |  | A GPU |"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("*", ["a-one", "a-two", "b-one"]),
        ("a-*", ["a-one", "a-two"]),
        ("accuracy", ["a-one", "b-one"]),
        ("a-*/accuracy", ["a-one"]),
        ("c", []),
    ],
)
def test_a_marker_chooses(name: str, expected: list[str]) -> None:
    results = [result("a-one"), result("a-two", "robustness"), result("b-one")]
    filled = fill(f"<!-- results:{name} --><!-- /results -->", results)
    assert [recipe for recipe in ("a-one", "a-two", "b-one") if f"| {recipe} |" in filled] == expected
    assert (NOTHING in filled) == (not expected)
    assert fill(filled, results) == filled


def test_patterns_of_measures_choose_among_the_rows() -> None:
    filled = fill("<!-- results:paper-data test_*,other -->\n<!-- /results -->", [result()])
    assert "| test accuracy |" in filled and "radius" not in filled
    assert fill(filled, [result()]) == filled


def test_a_grid_has_what_there_is() -> None:
    marked = "<!-- grid:paper-data test,other accuracy,loss -->\n<!-- /grid -->"
    lines = fill(marked, [result()]).splitlines()
    assert lines[2:5] == ["|  | accuracy, % | n |", "|---|---|---|", "| test | 80.20 ± 0.20 | 3 |"]
    assert NOTHING in fill(marked, [])


@pytest.mark.parametrize("what", ["results:a b c", "grid:a b", "grid:a b c d", "claims:no-such-paper"])
def test_a_marker_that_says_too_much_or_too_little(what: str) -> None:
    with pytest.raises(UserError):
        fill(f"<!-- {what} --><!-- /{what.partition(':')[0]} -->", [result()])


def test_filling_keeps_everything_else_and_several_tables_apart() -> None:
    filled = fill(MARKED + MARKED.replace("paper-*", "other"), [result()])
    assert filled.count("| paper-data | test accuracy |") == 1 and filled.count(NOTHING) == 1
    assert filled.count("# Title") == filled.count("Text.") == 2


def test_a_page_that_disagrees_is_found_updated_and_found_no_more(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outdated(root) == [root / "README.md", root / "docs" / "more.md"]
    assert main(["--check", "--root", str(root)]) == 1
    assert "README.md: disagrees with results/" in capsys.readouterr().out
    assert (root / "README.md").read_text() == MARKED
    assert main(["--root", str(root)]) == 0
    assert NOTHING in (root / "README.md").read_text()
    result().write(root / "results" / "paper-data" / "accuracy-a-gpu.json")
    assert main(["--check", "--root", str(root)]) == 1
    assert len(update(root)) == 2
    assert "| paper-data | test accuracy | 80.20 ± 0.20 % |" in (root / "README.md").read_text()
    assert main(["--check", "--root", str(root)]) == 0
    (root / "README.md").write_text((root / "README.md").read_text().replace("80.20", "82.20"))
    assert outdated(root) == [root / "README.md"]


def test_benchmarks_have_tables_of_their_own(root: Path) -> None:
    result("bench", "step").write(root / "results" / "bench" / "step-cpu.json")
    assert read_results(root / "results") == []


def test_mistakes_in_one_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "README.md").write_text("<!-- results:a -->\n<!-- results:b -->\n<!-- /results -->\n")
    assert main(["--root", str(root)]) == 2
    assert "README.md: every <!-- results:NAME --> needs a <!-- /results -->" in capsys.readouterr().err
    (root / "results").mkdir()
    (root / "results" / "broken.json").write_text("{")
    with pytest.raises(UserError, match="broken.json is not a result file"):
        read_results(root / "results")
