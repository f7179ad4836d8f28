"""The interface of a question, and how its findings become a result."""

import io
import math
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from types import FunctionType
from typing import Any, ClassVar

from torchhebb.bounds import Checked, metadata_of
from torchhebb.config import to_json
from torchhebb.errors import UserError
from torchhebb.files import write_atomically
from torchhebb.runs.baselines import check_baselines
from torchhebb.runs.run import Run
from torchhebb.train import Curve, Measure, Result
from torchhebb.train.compiled import compiled_steps
from torchhebb.train.recipe import shortened
from torchhebb.train.result import device_name


@dataclass(frozen=True, eq=False)
class Figure:
    """A picture: `picture` is a matplotlib figure, or anything else with its `savefig`.

    >>> from matplotlib.figure import Figure as Canvas
    >>> Figure("curves", "Accuracy while the network learns.", Canvas()).name
    'curves'
    """

    name: str
    caption: str
    picture: Any


@dataclass(frozen=True)
class Note:
    """A fact that a result keeps with its measures, as JSON can hold it, such as a setting that was chosen.

    >>> Note("chosen_temperature", 200.0).value
    200.0
    """

    name: str
    value: Any


NOT_IN_CELLS: dict[str, Any] = {"in_cells": False}
"""Metadata of a setting on which no kept cell depends, such as the list of the variants."""

Finding = Measure | Curve | Figure | Note


class Evaluator(Checked, ABC):
    """A question that is evaluated on a run; deriving classes are frozen dataclasses of its settings.

    `torchhebb evaluate --help` shows the first line of a deriving class's docstring.

    >>> from torchhebb.evaluate import Accuracy, Evaluator
    >>> issubclass(Accuracy, Evaluator), Accuracy.question
    (True, 'accuracy')
    """

    question: ClassVar[str]
    version: ClassVar[int] = 1
    """Raise it whenever the meaning of a kept number changes: what earlier versions kept is then computed again."""
    needs_labels: ClassVar[bool] = True
    """Whether it needs the labels of the run's data."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Raises TypeError for a setting with the name of a method, which it would replace."""
        super().__init_subclass__(**options)
        for name in cls.__dict__.get("__annotations__", ()):
            for parent in cls.__mro__[1:]:
                if isinstance(vars(parent).get(name), FunctionType | property):
                    raise TypeError(f"{cls.__name__}.{name} hides a method of {parent.__name__}: rename the setting")

    @abstractmethod
    def run(self, run: Run) -> Iterator[Finding]:
        """Yield measures, curves, figures and notes.  Draws no random number but from the seeds of the run."""

    def keep(self, run: Run, work: Callable[[], Any], **key: Any) -> Any:
        """The value of `work()`, as JSON can hold it; it is kept in the run folder and read by the next call.

        Args: key, everything it depends on besides the settings, such as a seed.
        """
        return run.cached(work, **self.key(run, **key))

    def has_kept(self, run: Run, **key: Any) -> bool:
        """Whether `keep` has kept the value of this key in the run folder."""
        return run.has_cached(**self.key(run, **key))

    def key(self, run: Run, **key: Any) -> dict[str, Any]:
        """The question, its version, the precision, all settings that are not `NOT_IN_CELLS`, and `key`."""
        settings = {
            field.name: to_json(getattr(self, field.name))
            for field in fields(self)  # type: ignore[arg-type]  # a question is a dataclass
            if metadata_of(type(self), field.name).get("in_cells", True)
        }
        found = {"question": self.question, "settings": settings, "precision": run.precision, **key}
        return found | self._versioned()

    def noted_settings(self) -> dict[str, Any]:
        """All settings, with the version of the question, as its result notes them."""
        return {**to_json(self), **self._versioned()}

    def _versioned(self) -> dict[str, int]:
        """Nothing for the first version, whose keys and notes had none."""
        return {"version": self.version} if self.version > 1 else {}


def check_settings(evaluator: Evaluator, run: Run) -> None:
    """Raise UserError for settings that do not fit a run and mean the same in every question.

    These are `baselines`, `readout_epochs` and a `probe`.
    """
    if evaluator.needs_labels and not run.data.labelled:
        raise UserError(f"{evaluator.question} needs labels, and {run.folder} learned without")
    check_baselines(getattr(evaluator, "baselines", ()), run.recipe.architecture)
    epochs, probe = getattr(evaluator, "readout_epochs", None), getattr(evaluator, "probe", None)
    if epochs is not None:
        shortened(run.recipe.readout, epochs)
    if probe is not None:
        probe.check(run, run.data.train)


def evaluate(evaluator: Evaluator, run: Run, *, command: str = "torchhebb.evaluate") -> Result:
    """Evaluate a question on a run, and keep the result as RUN/<question>.json and its figures as SVG files.

    Measures and curves that are not defined, such as a ratio to an accuracy of 0, are left out; the note `undefined`
    names them.
    Raises UserError for a question that does not fit the run, or a result that cannot be written.

    >>> from torchhebb.evaluate import Accuracy, open_run
    >>> result = evaluate(Accuracy(readouts=("trained",)), open_run(folder))  # the folder of a finished run
    >>> [measure.name for measure in result.measures]
    ['test_accuracy']
    """
    check_settings(evaluator, run)
    started = time.monotonic()
    measures: list[Measure] = []
    curves: list[Curve] = []
    figures: list[dict[str, Any]] = []
    notes: dict[str, Any] = {"precision": run.precision, "settings": evaluator.noted_settings()}
    if run.compile:
        notes["compiled"] = True
    with compiled_steps(run.recipe, run.compile), run.computing():
        computed_by = device_name(run.device)
        for finding in evaluator.run(run):
            match finding:
                case Measure() | Curve() if not _defined(finding):
                    notes.setdefault("undefined", []).append(finding.name)
                case Measure():
                    measures.append(finding)
                case Curve():
                    curves.append(finding)
                case Note():
                    notes[finding.name] = _without_undefined(finding.value)
                case Figure():
                    figures.append(_keep(finding, evaluator.question, run))
    if figures:
        notes["figures"] = figures
    result = Result(
        recipe=run.recipe.name,
        question=evaluator.question,
        measures=tuple(measures),
        curves=tuple(curves),
        seeds=tuple(run.seeds),
        seconds=time.monotonic() - started,
        device=computed_by,
        command=command,
        data=run.result.data,
        notes=notes,
    )
    result.write(run.folder / f"{evaluator.question}.json")
    return result


def _defined(finding: Measure | Curve) -> bool:
    numbers = finding.values if isinstance(finding, Measure) else (*finding.x, *finding.y, *(finding.std or ()))
    return all(map(math.isfinite, numbers))


def _without_undefined(value: Any) -> Any:
    """A note's value with None in place of numbers that are not finite, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_undefined(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_undefined(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _keep(figure: Figure, question: str, run: Run) -> dict[str, Any]:
    """Write a figure as RUN/<question>-<name>.svg; the same figure gives the same bytes."""
    import matplotlib

    path, drawn = run.folder / f"{question}-{figure.name}.svg", io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": question}):  # else the names inside it are drawn at random
        figure.picture.savefig(drawn, format="svg", metadata={"Date": None})
    write_atomically(path, drawn.getvalue())
    crc32 = zlib.crc32(drawn.getvalue())
    return {"name": figure.name, "caption": figure.caption, "file": path.name, "crc32": crc32}
