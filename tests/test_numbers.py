"""What every question finds about small runs, number by number: a change of the code must not change them.

`python -m tests.make_numbers` writes tests/numbers/ anew, where a change is meant to.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.small_runs import QUESTIONS, RECIPES, Asked, Runs
from torchhebb.evaluate import list_evaluators
from torchhebb.train import Result

FOLDER = Path(__file__).parent / "numbers"
EXACT = {"relative": 1e-9, "absolute": 1e-9}
"""On the processor that made the files."""
ROUNDED = {"relative": 0.25, "absolute": 10.0}
"""On another one, whose sums round otherwise: small networks amplify that, as a few test images are a percent."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Runs(tmp_path_factory.mktemp("numbers"))
    torch.set_num_threads(threads)


def test_every_question_is_asked() -> None:
    assert {asked.question for asked in QUESTIONS} == set(list_evaluators())
    assert len({asked.name for asked in QUESTIONS}) == len(QUESTIONS)


@pytest.mark.parametrize("name", RECIPES)
def test_trained(name: str, runs: Runs) -> None:
    compare(numbers(runs.train(name)), FOLDER / f"train-{name}.json")


@pytest.mark.parametrize("asked", QUESTIONS, ids=lambda asked: asked.name)
def test_asked(asked: Asked, runs: Runs) -> None:
    compare(numbers(runs.ask(asked), asked.timed), FOLDER / f"{asked.name}.json")


def numbers(result: Result, timed: tuple[str, ...] = ()) -> dict[str, Any]:
    """Measures and curves as JSON holds them; of those that hold times, the names and units alone."""

    def is_timed(name: str) -> bool:
        return any(part in name for part in timed)

    measures = [
        {
            "name": measure.name,
            "unit": measure.unit,
            "published": measure.published,
            "values": None if is_timed(measure.name) else list(measure.values),
            "interval": None if measure.interval is None else list(measure.interval),
        }
        for measure in result.measures
    ]
    curves = [
        {
            "name": curve.name,
            "labels": [curve.x_label, curve.y_label],
            "x": list(curve.x),
            "y": None if is_timed(curve.name) else list(curve.y),
            "std": None if curve.std is None or is_timed(curve.name) else list(curve.std),
        }
        for curve in result.curves
    ]
    return json.loads(json.dumps({"processor": processor(), "measures": measures, "curves": curves}))


def processor() -> str:
    """What decides how sums round: the instructions that torch uses, and its version."""
    return f"{torch.backends.cpu.get_cpu_capability()}, {model()}, torch {torch.__version__.split('+')[0]}"


def model() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown"


def compare(found: dict[str, Any], path: Path) -> None:
    """Everything but numbers is equal; numbers are equal to rounding where the file was made on such a processor."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    tolerance = EXACT if kept["processor"] == found["processor"] else ROUNDED
    differences = list(differing(kept["measures"], found["measures"], "measures", tolerance))
    differences += differing(kept["curves"], found["curves"], "curves", tolerance)
    assert not differences, f"{path.name}: " + "; ".join(differences[:5])


def differing(kept: Any, found: Any, where: str, tolerance: dict[str, float]) -> Iterator[str]:
    if isinstance(kept, list) and isinstance(found, list) and len(kept) == len(found):
        for index, (one, other) in enumerate(zip(kept, found, strict=True)):
            name = one["name"] if isinstance(one, dict) else index
            yield from differing(one, other, f"{where}.{name}", tolerance)
    elif isinstance(kept, dict) and isinstance(found, dict) and kept.keys() == found.keys():
        for key in kept:
            yield from differing(kept[key], found[key], f"{where}.{key}", tolerance)
    elif isinstance(kept, int | float) and isinstance(found, int | float):
        close = math.isclose(kept, found, rel_tol=tolerance["relative"], abs_tol=tolerance["absolute"])
        if not (close or (math.isnan(kept) and math.isnan(found))):
            yield f"{where} was {kept}, is {found}"
    elif kept != found:
        yield f"{where} was {kept}, is {found}"


def test_a_changed_number_is_seen() -> None:
    one = [{"name": "a", "values": [1.0, 2.0]}]
    assert not list(differing(one, [{"name": "a", "values": [1.0, 2.0 + 1e-12]}], "m", EXACT))
    assert list(differing(one, [{"name": "a", "values": [1.0, 2.0 + 1e-6]}], "m", EXACT))
    assert list(differing(one, [{"name": "b", "values": [1.0, 2.0]}], "m", ROUNDED))
    assert list(differing(one, [{"name": "a", "values": [1.0]}], "m", ROUNDED))
