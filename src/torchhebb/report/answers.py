"""Reading of the results that questions left in a run folder; damaged ones are left out and named."""

import math
import shlex
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from torchhebb.errors import UserError
from torchhebb.evaluate import list_evaluators
from torchhebb.files import read_bytes
from torchhebb.train import Curve, Measure, Result, read_result

_SVG = "{http://www.w3.org/2000/svg}svg"


@dataclass(frozen=True)
class Picture:
    """A figure that an evaluator drew, as the bytes of its SVG."""

    name: str
    caption: str
    svg: bytes


@dataclass(frozen=True)
class Evaluation:
    """The result of one question; None for a damaged file.  `left_out` says what cannot be shown and why."""

    question: str
    result: Result | None
    pictures: tuple[Picture, ...] = ()
    left_out: tuple[str, ...] = ()


def read_evaluations(folder: Path) -> tuple[Evaluation, ...]:
    """Every RUN/<question>.json of a known question, with its figures, in the order of `list_evaluators`."""
    return tuple(_read(folder, name) for name in list_evaluators() if (folder / f"{name}.json").exists())


def _read(folder: Path, question: str) -> Evaluation:
    try:
        result = read_result(folder / f"{question}.json")
        _check(result, question)
    except (UserError, ValueError) as error:
        again = f"torchhebb evaluate {question} {shlex.quote(str(folder))}"
        return Evaluation(question, None, left_out=(f"The result is damaged ({error}); evaluate again: {again}",))
    pictures, left_out = [], []
    for figure in result.notes.get("figures", []):
        try:
            pictures.append(Picture(figure["name"], figure["caption"], _svg(folder, figure)))
        except ValueError as error:
            left_out.append(f"The figure {figure['name']} is left out: {error}.")
    return Evaluation(question, result, tuple(pictures), tuple(left_out))


def _svg(folder: Path, figure: dict[str, Any]) -> bytes:
    """The bytes of an SVG that lies in the folder itself; raises ValueError."""
    name = figure["file"]
    if Path(name).name != name:
        raise ValueError(f"{name} does not lie in the run folder")
    try:
        content = read_bytes(folder / name)
        whole = ElementTree.fromstring(content).tag == _SVG
    except OSError as error:
        raise ValueError(f"{name} cannot be read, {error.strerror}") from error
    except ElementTree.ParseError:
        whole = False
    if not whole:
        raise ValueError(f"{name} is no SVG")
    if figure.get("crc32", written := zlib.crc32(content)) != written:  # version 0.2 kept none
        raise ValueError(f"{name} was changed or is damaged")
    return content


def _check(result: Result, question: str) -> None:
    """Raise ValueError for an answer that no evaluator writes."""
    if result.question != question:
        raise ValueError(f"it answers {result.question!r}")
    if not (_texts(result.command, result.device) and _numbers(result.seconds) and isinstance(result.notes, dict)):
        raise ValueError("its provenance is incomplete")
    for measure in result.measures:
        _check_measure(measure)
    for curve in result.curves:
        _check_curve(curve)
    if len({(curve.x_label, curve.y_label, curve.name) for curve in result.curves}) < len(result.curves):
        raise ValueError("two curves have one name")
    listed = result.notes.get("figures", [])
    if not isinstance(listed, list) or not all(
        isinstance(figure, dict) and _texts(*map(figure.get, ("name", "caption", "file"))) for figure in listed
    ):
        raise ValueError("its list of figures is incomplete")


def _check_measure(measure: Measure) -> None:
    interval, published = measure.interval or (0, 0), measure.published or 0
    finite = _numbers(*measure.values) and all(map(math.isfinite, measure.values))
    if not (measure.values and finite and _numbers(*interval, published) and len(interval) == 2):
        raise ValueError(f"measure {measure.name!r} is incomplete")
    if not _texts(measure.name, measure.unit):
        raise ValueError(f"measure {measure.name!r} has no name or unit")


def _check_curve(curve: Curve) -> None:
    lengths = {len(part) for part in (curve.x, curve.y, curve.std or curve.y)}
    numbers = _numbers(*curve.x, *curve.y, *(curve.std or ())) and all(map(math.isfinite, curve.x))
    if not (numbers and curve.x and len(lengths) == 1 and _texts(curve.name, curve.x_label, curve.y_label)):
        raise ValueError(f"curve {curve.name!r} is incomplete")


def _numbers(*values: Any) -> bool:
    return all(isinstance(value, int | float) for value in values)


def _texts(*values: Any) -> bool:
    return all(isinstance(value, str) for value in values)
