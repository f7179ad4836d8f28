"""The numbers of a result and of what was learned, as `tests/numbers/*.json` keep them, and how they are compared."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from torchhebb.train import Result

FOLDER = Path(__file__).parent / "numbers"


@dataclass(frozen=True)
class Tolerance:
    """Two numbers are equal if they differ by at most `absolute`, or by `relative` times the larger one."""

    relative: float
    absolute: float

    def equal(self, one: float, other: float) -> bool:
        near = math.isclose(one, other, rel_tol=self.relative, abs_tol=self.absolute)
        return near or (math.isnan(one) and math.isnan(other))


EXACT = Tolerance(1e-9, 1e-9)
"""On the processor that made the files."""
POINTS = Tolerance(0.0, 6.0)
"""Of percentages on another processor, whose sums round otherwise: one of twenty images can change.

With `ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41` instead of AVX-512 the largest difference was 2.5."""
ROUNDED = Tolerance(0.25, 0.1)
"""Of all other numbers there; the largest differences were 0.04 of a measure, and 0.1 or 20 % of the norm of a bias."""


def numbers(result: Result, unheld: tuple[str, ...] = ()) -> dict[str, Any]:
    """Measures and curves as JSON holds them; of those that are not held, the names and units alone."""

    def is_unheld(name: str) -> bool:
        return any(part in name for part in unheld)

    measures = [
        {
            "name": measure.name,
            "unit": measure.unit,
            "published": measure.published,
            "values": None if is_unheld(measure.name) else list(measure.values),
            "interval": None if measure.interval is None or is_unheld(measure.name) else list(measure.interval),
        }
        for measure in result.measures
    ]
    curves = [
        {
            "name": curve.name,
            "labels": [curve.x_label, curve.y_label],
            "x": list(curve.x),
            "y": None if is_unheld(curve.name) else list(curve.y),
            "std": None if curve.std is None or is_unheld(curve.name) else list(curve.std),
        }
        for curve in result.curves
    ]
    return json.loads(json.dumps({"processor": processor(), "measures": measures, "curves": curves}))


def weights(folder: Path) -> list[dict[str, Any]]:
    """Sum and norm of every tensor that a run folder holds: networks, readouts and baselines of all seeds."""
    kept = []
    for path in sorted(folder.rglob("*.safetensors")):
        if path.name == "checkpoint.safetensors":
            continue
        # The folder of a baseline ends with a hash of its settings, which changes with the name of a setting.
        file = re.sub(r"-[0-9a-f]{8}/", "/", path.relative_to(folder).with_suffix("").as_posix())
        for name, tensor in sorted(load_file(path).items()):
            whole = tensor.double()
            kept.append({"name": f"{file} {name}", "sum": whole.sum().item(), "norm": whole.norm().item()})
    return kept


def processor() -> str:
    """What decides how sums round: the instructions that torch uses, its version, and the model of the processor."""
    version = torch.__version__.split("+")[0]
    return f"{torch.backends.cpu.get_cpu_capability()}, {model(Path('/proc/cpuinfo'))}, torch {version}"


def model(cpuinfo: Path) -> str:
    """Name, family, model and stepping of the first processor: one name is given to several generations."""
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    first = dict(reversed([[part.strip() for part in line.split(":", 1)] for line in lines if ":" in line]))
    parts = (first.get(name, "unknown") for name in ("model name", "cpu family", "model", "stepping"))
    return "{}, family {}, model {}, stepping {}".format(*parts)


def write(found: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def compare(found: dict[str, Any], path: Path) -> None:
    """Everything but numbers is equal; numbers are equal to rounding where the file was made on such a processor."""
    differences = list(differing(json.loads(path.read_text(encoding="utf-8")), found))
    assert not differences, f"{path.name}: " + "; ".join(differences[:5])


def differing(kept: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    """What differs between two files of numbers, in words."""
    exact = kept["processor"] == found["processor"]
    if kept.keys() != found.keys():
        yield f"the parts were {sorted(kept)}, are {sorted(found)}"
    for part in sorted((kept.keys() & found.keys()) - {"processor"}):
        if (names := [one["name"] for one in kept[part]]) != (others := [one["name"] for one in found[part]]):
            yield f"the {part} were {names}, are {others}"
            continue
        for one, other in zip(kept[part], found[part], strict=True):
            where = f"{part}.{one['name']}"
            if one.keys() != other.keys():
                yield f"{where} had {sorted(one)}, has {sorted(other)}"
            for key in sorted(one.keys() & other.keys()):
                allowed = EXACT if exact else tolerance(one, key)
                yield from _differing(one[key], other[key], f"{where}.{key}", allowed)


def tolerance(entry: dict[str, Any], key: str) -> Tolerance:
    """What a number of a measure, a curve or a tensor may differ by on another processor."""
    if key == "published":
        return EXACT
    if key == "sum":  # positive and negative entries cancel: of a few biases, nothing is left to compare
        return Tolerance(0.0, math.inf)
    label = entry.get("unit", "") if "labels" not in entry else entry["labels"][0 if key == "x" else 1]
    return POINTS if label.rsplit(", ", 1)[-1] in ("%", "points") else ROUNDED


def _differing(kept: Any, found: Any, where: str, allowed: Tolerance) -> Iterator[str]:
    if isinstance(kept, list) and isinstance(found, list) and len(kept) == len(found):
        for index, (one, other) in enumerate(zip(kept, found, strict=True)):
            yield from _differing(one, other, f"{where}.{index}", allowed)
    elif isinstance(kept, int | float) and isinstance(found, int | float):
        if not allowed.equal(kept, found):
            yield f"{where} was {kept}, is {found}"
    elif kept != found:
        yield f"{where} was {kept}, is {found}"
