"""The shape of a question: which cells are computed, which are kept and under what, and what becomes of them."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from scipy.stats import binomtest

from torchhebb.bounds import distinct
from torchhebb.errors import UserError
from torchhebb.evaluate import Cell, Quantity, Run, Study, evaluate
from torchhebb.evaluate.study import NOT_IN_CELLS, count_test_images, values
from torchhebb.ops import conv_algorithms, products
from torchhebb.ops.conv_algorithms import AlgorithmName
from torchhebb.ops.products import Products
from torchhebb.process import threads
from torchhebb.train import Measure
from torchhebb.train.numerics import Numerics


@dataclass(frozen=True)
class Sums(Study[int]):
    """A number and the seed, added."""

    question: ClassVar[str] = "sums"
    quantities: ClassVar[dict[str, Quantity]] = {
        "sum": Quantity("the sum, %", "%", count_test_images),
        "radius": Quantity("mean radius"),
    }
    asked: ClassVar[list[tuple[int, int]]] = []

    numbers: tuple[int, ...] = field(default=(5, 7), metadata=distinct() | NOT_IN_CELLS)
    plus: int = 0

    def variants(self, run: Run) -> dict[str, int]:
        return {f"of_{number}": number for number in self.numbers}

    def cell(self, run: Run, variant: int, seed: int) -> Cell:
        self.asked.append((variant, seed))
        return {"sum": float(variant + seed + self.plus), "block2_radius": 1.5}


@dataclass(frozen=True)
class Anew(Sums):
    question: ClassVar[str] = "sums_anew"
    keeps_cells: ClassVar[bool] = False


@pytest.fixture
def fresh(run: Run, tmp_path: Path) -> Run:
    Sums.asked.clear()
    return replace(run, folder=tmp_path)


def numbers(study: Study[int], run: Run) -> dict[str, Sequence[float]]:
    return {found.name: found.values for found in study.run(run) if isinstance(found, Measure)}


def test_every_variant_meets_every_seed_and_becomes_a_measure(fresh: Run) -> None:
    result = evaluate(Sums(), fresh)
    assert Sums.asked == [(5, 0), (7, 0), (5, 1), (7, 1)]
    assert [(measure.name, measure.unit, measure.values) for measure in result.measures] == [
        ("of_5_sum", "%", (5.0, 6.0)),
        ("of_5_block2_radius", "", (1.5, 1.5)),
        ("of_7_sum", "%", (7.0, 8.0)),
        ("of_7_block2_radius", "", (1.5, 1.5)),
    ]
    whole = binomtest(494, 8980).proportion_ci(0.95, method="wilson")  # 5.5 % of 449 test images, up to rounding
    low, high = result.measure("of_5_sum").interval or (0.0, 0.0)
    assert low < 5.5 < high and high - low > 100 * (whole.high - whole.low)
    assert result.measure("of_5_block2_radius").interval is None


def test_kept_cells_depend_on_everything_but_the_settings_that_say_so(fresh: Run) -> None:
    numbers(Sums(), fresh)
    Sums.asked.clear()
    assert numbers(Sums((7, 5)), fresh)["of_5_sum"] == (5.0, 6.0) and Sums.asked == []
    assert numbers(Sums((7, 9)), fresh)["of_9_sum"] == (9.0, 10.0) and Sums.asked == [(9, 0), (9, 1)]
    Sums.asked.clear()
    assert numbers(Sums((7,), plus=1), fresh)["of_7_sum"] == (8.0, 9.0) and Sums.asked == [(7, 0), (7, 1)]
    Sums.asked.clear()
    numbers(Sums((7,)), replace(fresh, numerics=Numerics("bfloat16")))
    assert Sums.asked == [(7, 0), (7, 1)]


@dataclass(frozen=True)
class How(Sums):
    """How a question computes."""

    question: ClassVar[str] = "how"
    seen: ClassVar[list[object]] = []

    def cell(self, run: Run, variant: int, seed: int) -> Cell:
        self.seen.append((torch.get_num_threads(), products._library, conv_algorithms._chosen))
        return super().cell(run, variant, seed)


@pytest.mark.parametrize(("told", "count"), [(None, 1), ("2", 2)])
def test_a_question_computes_as_its_run_did(
    fresh: Run, monkeypatch: pytest.MonkeyPatch, told: str | None, count: int
) -> None:
    How.seen.clear()
    monkeypatch.delenv("OMP_NUM_THREADS")
    if told is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", told)
    layers: dict[str, AlgorithmName] = {"4x1x3x3 over 10x10": "torch"}
    library: Products = "onednn" if products.has_onednn() else "torch"
    with threads(2):
        result = evaluate(How((7,)), replace(fresh, numerics=Numerics("float32", library, 1, convolutions=layers)))
        assert torch.get_num_threads() == 2 and products._library == "torch" and not conv_algorithms._chosen
    assert How.seen == [(count, library, layers)] * 2 and result.device.endswith(f"{count} threads")


@dataclass(frozen=True)
class Doubled(Sums):
    """The same question with another meaning."""

    version: ClassVar[int] = 2

    def cell(self, run: Run, variant: int, seed: int) -> Cell:
        return {"sum": 2 * super().cell(run, variant, seed)["sum"]}


def test_another_version_of_a_question_reads_no_cell_of_the_first(fresh: Run) -> None:
    assert numbers(Sums((5,)), fresh)["of_5_sum"] == (5.0, 6.0)
    assert numbers(Doubled((5,)), fresh)["of_5_sum"] == (10.0, 12.0)
    assert numbers(Sums((5,)), fresh)["of_5_sum"] == (5.0, 6.0)
    assert evaluate(Doubled((5,)), fresh).notes["settings"]["version"] == 2
    assert "version" not in evaluate(Sums((5,)), fresh).notes["settings"]


def test_the_first_version_has_the_key_that_questions_without_versions_had(fresh: Run) -> None:
    key = {"question": "sums", "settings": {"plus": 0}, "precision": "float32", "variant": 5, "seed": 0}
    assert Sums().key(fresh, variant=5, seed=0) == key


@pytest.mark.parametrize("name", ["variants", "cells", "measure", "key"])
def test_a_setting_cannot_hide_a_method(name: str) -> None:
    with pytest.raises(TypeError, match=f"Hidden.{name} hides a method of (Sums|Study|Evaluator): rename the setting"):
        type("Hidden", (Sums,), {"__annotations__": {name: int}, name: 1})


def test_a_cell_is_the_same_whether_computed_or_read_again(fresh: Run) -> None:
    first, again = (fresh.cached(lambda: {"pair": (1, 2)}, question="sums") for _ in range(2))
    assert first == again == {"pair": [1, 2]}


def test_cells_that_are_not_kept_are_computed_again(fresh: Run) -> None:
    assert numbers(Anew((5,)), fresh) == numbers(Anew((5,)), fresh)
    assert Sums.asked == [(5, 0), (5, 1)] * 2 and not list(fresh.folder.iterdir())


def test_the_words_of_a_blocks_quantity_begin_with_the_block() -> None:
    assert Sums().quantity("block2_radius").label == "block 2: mean radius"
    assert Sums().quantity("sum").label == "the sum, %"


def test_bounds_are_checked_where_a_question_is_made() -> None:
    with pytest.raises(UserError, match=r"numbers must be different from each other, one at least, got \(5, 5\)"):
        Sums((5, 5))


def test_values_are_one_quantity_of_all_seeds() -> None:
    assert values([{"a": 1.0, "b": 3.0}, {"a": 2.0, "b": 4.0}], "b") == (3.0, 4.0)


def test_the_question_of_contributing_is_a_whole_one(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    source = text.split("## Add a question")[1].split("```python\n")[1].split("```")[0]
    assert len(source.splitlines()) <= 60
    (tmp_path / "lost_features.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    kind = importlib.import_module("lost_features").LostFeatures
    result = evaluate(kind(parts=(0.01, 1.0)), run)
    readout, labels = run.readout(0), run.data.test.labels
    nothing = int(readout.bias.argmax())  # type: ignore[union-attr, arg-type, operator]
    by_hand = 100 * (labels == nothing).double().mean().item()  # without features the bias alone answers
    assert result.measure("100_percent_lost_test_accuracy").values[0] == pytest.approx(by_hand)
    assert result.measure("1_percent_lost_test_accuracy").mean > 2 * by_hand
    assert result.curves[0].x == (0.01, 1.0) and (run.folder / "lost_features-curve.svg").exists()
    with pytest.raises(UserError, match="parts must be numbers that rise from above 0 up to 1"):
        kind(parts=(0.5, 0.1))
