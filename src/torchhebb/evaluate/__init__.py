"""Questions about a run: one file each in `questions/`, found by the name of the file."""

from importlib import import_module
from inspect import isabstract
from pkgutil import iter_modules
from typing import Any

from torchhebb.errors import unknown_name
from torchhebb.evaluate import questions
from torchhebb.evaluate.evaluator import NOT_IN_CELLS, Evaluator, Figure, Note, evaluate
from torchhebb.evaluate.figures.panels import Panel, draw_panels
from torchhebb.evaluate.probe import Probe
from torchhebb.evaluate.statistics import mean_curve, mean_interval
from torchhebb.evaluate.study import Cell, Quantity, Study, count_test_images, curve_over, values
from torchhebb.runs.run import Run, open_run
from torchhebb.train.wilson import wilson

# The class of a question has the name of its file in CamelCase, and is imported when it is first used.
_CLASSES = {
    "".join(word.capitalize() for word in module.name.split("_")): module.name
    for module in iter_modules(questions.__path__)
}

__all__ = [
    "NOT_IN_CELLS",
    "Cell",
    "Evaluator",
    "Figure",
    "Note",
    "Panel",
    "Probe",
    "Quantity",
    "Run",
    "Study",
    "count_test_images",
    "curve_over",
    "describe_evaluators",
    "draw_panels",
    "evaluate",
    "get_evaluator",
    "list_evaluators",
    "mean_curve",
    "mean_interval",
    "open_run",
    "values",
    "wilson",
    *_CLASSES,
]


def list_evaluators() -> list[str]:
    """The questions of torchhebb; those of a user's own are found by `get_evaluator`.

    >>> list_evaluators()[:2]
    ['ablation', 'accuracy']
    """
    return sorted(_CLASSES.values())


def describe_evaluators() -> dict[str, str]:
    """Every question of torchhebb with one line that describes it.

    >>> describe_evaluators()["batch_size"]
    'Held-out accuracy and radii against the batch size; learning rates stay, since updates are normalised.'
    """
    return {name: (get_evaluator(name).__doc__ or "").split("\n")[0] for name in list_evaluators()}


def get_evaluator(question: str) -> type[Evaluator]:
    """The evaluator of a question, torchhebb's or one that an imported module of a user's own defines.

    Raises UserError with the nearest names.

    >>> get_evaluator("accuracy").question
    'accuracy'
    """
    for name, module in _CLASSES.items():
        if module == question:
            return getattr(import_module(f"{questions.__name__}.{module}"), name)
    for evaluator in _subclasses(Evaluator):  # type: ignore[type-abstract]
        if evaluator.question == question and not evaluator.__module__.startswith("torchhebb."):
            return evaluator
    raise unknown_name("evaluator", question, list_evaluators())


def _subclasses(kind: type[Evaluator]) -> list[type[Evaluator]]:
    children = kind.__subclasses__()
    own = [child for child in children if not isabstract(child)]
    return own + [found for child in children for found in _subclasses(child)]


def __getattr__(name: str) -> Any:
    if name in _CLASSES:
        return get_evaluator(_CLASSES[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_CLASSES]
