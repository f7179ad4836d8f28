"""The table holds every algorithm with its marks, and of this run what its result says."""

from dataclasses import replace

import pytest

from torchhebb.errors import UserError
from torchhebb.evaluate import Run, evaluate
from torchhebb.evaluate.methods.literature import PEERS, QUALITIES
from torchhebb.evaluate.questions.comparison import Comparison
from torchhebb.train import Measure


@pytest.fixture
def cifar(run: Run) -> Run:
    """The tiny run as if it had been on CIFAR-10, with a baseline by gradients."""
    measures = (*run.result.measures, Measure("backpropagation_test_accuracy", "%", (83.0, 84.0)))
    return replace(run, recipe=replace(run.recipe, data="cifar10"), result=replace(run.result, measures=measures))


def test_the_numbers_of_the_paper_stand_as_it_gives_them() -> None:
    known = {peer.name: peer for peer in PEERS}
    assert len(known) == len(PEERS)
    soft, back = known["SoftHebb"], known["backpropagation"]
    assert (soft.accuracy, soft.verified, all(soft.qualities)) == (80.31, True, True)
    assert (back.accuracy, back.verified, any(back.qualities)) == (84.0, True, False)
    for peer in PEERS:
        assert len(peer.qualities) == len(QUALITIES) == 4 and set(peer.judged) <= {0, 1, 2, 3}
        assert peer.verified or "memory" in peer.source or "Thiry" in peer.source
    memory = {"feedback alignment": 71.8, "direct feedback alignment": 70.5, "direct random target projection": 65.6}
    assert all(known[name].accuracy == value and not known[name].verified for name, value in memory.items())


def test_rows_are_sorted_and_ours_are_measured(cifar: Run) -> None:
    result = evaluate(Comparison(), cifar)
    rows = result.notes["table"]
    accuracies = [row["accuracy"] for row in rows]
    assert accuracies == sorted(accuracies, reverse=True) and len(rows) == len(PEERS) + len(result.measures)
    ours = {row["name"]: row for row in rows if row["measured"]}
    own = ours["SoftHebb, this run"]
    assert own["accuracy"] == pytest.approx(result.measure("test_accuracy").mean, abs=0.006)
    assert own["qualities"] == [True] * 4 and own["judged"] == [] and own["source"].endswith("n = 2")
    assert ours["backpropagation, this run"]["accuracy"] == 83.5
    assert ours["backpropagation, this run"]["qualities"] == [False] * 4
    assert ours["random weights, this run"]["qualities"] == [None] * 4
    assert {measure.name for measure in result.measures} >= {"test_accuracy", "backpropagation_test_accuracy"}


def test_what_is_not_verified_is_open_in_the_figure(cifar: Run) -> None:
    evaluate(Comparison(), cifar)
    text = (cifar.folder / "comparison-table.svg").read_text()
    assert "<!-- 71.8 ? -->" in text and "<!-- 80.31 -->" in text and "<!-- SoftHebb, this run -->" in text
    assert text.count(" ? -->") == sum(not peer.verified for peer in PEERS)


def test_other_data_cannot_be_compared(run: Run) -> None:
    with pytest.raises(UserError, match="the numbers of others are for cifar10, and softhebb2023-digits is on digits"):
        next(Comparison().run(run))
