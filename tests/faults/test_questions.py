"""Every question about a few images that are not square; what cannot be asked of them is said before any work."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.faults.questions import answered, images, trained
from tests.small_runs import QUESTIONS, Asked
from torchhebb.data import Store
from torchhebb.errors import UserError
from torchhebb.evaluate import Evaluator, Note, evaluate, list_evaluators, open_run
from torchhebb.train import Curve, Measure

ASKED = {asked.question: dict(asked.settings) for asked in QUESTIONS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def ask(folder: Path, question: str, run: str, **settings: Any) -> None:
    answered(question, ASKED[question] | settings, trained(folder, run))


def test_every_question_is_asked() -> None:
    assert ASKED.keys() == set(list_evaluators())


@pytest.mark.parametrize("asked", QUESTIONS, ids=lambda asked: asked.name)
def test_of_images_that_are_not_square(asked: Asked, folder: Path) -> None:
    run = "local-tall" if asked.question == "ablation" else "layer-wide" if asked.question == "online" else "conv-tall"
    settings = {"attacks": ("pgd", "margin")} if asked.question == "attacks" else {}
    try:
        answered(asked.question, asked.settings | settings, trained(folder, run))
    except UserError as error:  # before any work: `answered` sees to that
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("question", "run", "settings", "words"),
    [
        ("attacks", "linear-wide", {}, "attacks must leave out square, .* got 6 x 9"),
        ("attacks", "linear-one-class", {}, "attacks need two classes"),
        ("similarity", "whitened-one-class", {}, "similarity needs two classes"),
        ("embeddings", "conv-tall", {"images": 6, "k": 50}, "images must be from"),
        ("embeddings", "conv-tall", {"images": 500, "k": 3}, "images must be from"),
        ("reconstruction", "linear-flat", {}, "depths must be of blocks that put out maps"),
        ("online", "whitened-wide", {"readout_epochs": None}, "takes whitening or first weights from its images"),
        ("convergence", "local-wide", {}, "baselines must leave out hard: block1"),
        ("cross_entropy", "local-tall", {}, "baselines must leave out hard: block1"),
        ("noise", "whitened-wide", {}, "baselines must leave out backpropagation: block1"),
        ("temperature", "whitened-wide", {}, "readout in closed form has no epochs"),
        ("transfer", "conv-tall", {"train_images": 5}, "needs more than 5, one a class"),
        ("ablation", "local-tall", {"readout_images": 1}, "needs more than 1, one a class"),
    ],
)
def test_what_cannot_be_asked(question: str, run: str, settings: dict[str, Any], words: str, folder: Path) -> None:
    with pytest.raises(UserError, match=words):
        ask(folder, question, run, **settings)


@pytest.mark.parametrize("run", ["conv-flat", "linear-flat"])
def test_attacks_on_images_of_one_row(run: str, folder: Path) -> None:
    ask(folder, "attacks", run, attacks=("pgd",))


@dataclass(frozen=True)
class Undefined(Evaluator):
    """Findings of which some are not defined."""

    question: ClassVar[str] = "undefined"

    def run(self, run: Any) -> Iterator[Any]:
        yield Measure("ratio", "", (float("nan"),))
        yield Curve("line", "x", "y", (0.0,), (float("inf"),))
        yield Measure("accuracy", "%", (50.0,))
        yield Note("matrix", {"values": [(1.0, float("nan"))]})


def test_what_is_not_defined_is_left_out(folder: Path) -> None:
    run = open_run(trained(folder, "conv-wide"), source=images("wide"), store=Store(folder / "store"))
    result = evaluate(Undefined(), run)
    assert [measure.name for measure in result.measures] == ["accuracy"] and not result.curves
    assert result.notes["undefined"] == ["ratio", "line"] and result.notes["matrix"] == {"values": [[1.0, None]]}
