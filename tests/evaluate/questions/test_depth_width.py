"""Comparison of runs: which of them share a curve, and which are refused."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny import tiny_recipe
from torchhebb.config import to_json
from torchhebb.errors import UserError
from torchhebb.evaluate import DepthWidth, Run, evaluate
from torchhebb.evaluate.questions.depth_width import Trained, depth_lines, width_lines
from torchhebb.nn import ConvBlock
from torchhebb.rules import HardHebb, Rule, SoftHebb
from torchhebb.train import Measure, Result, read_result


def made(
    run: Run, widths: Sequence[int], own: tuple[float, ...], rule: Rule | None = None, published: float | None = None
) -> Trained:
    """A run of so many neurons a block that ended with these accuracies; random weights 10 below."""
    rule = rule or SoftHebb()
    blocks = tuple(ConvBlock(width, 3, rule) for width in widths)
    recipe = tiny_recipe(name=f"r{len(blocks)}", architecture=replace(run.recipe.architecture, blocks=blocks))
    measures = (
        Measure("test_accuracy", "%", own, published),
        Measure("random_test_accuracy", "%", tuple(value - 10 for value in own)),
    )
    return Trained(Path(f"runs/{len(blocks)}"), recipe, replace(run.result, recipe=recipe.name, measures=measures))


def test_depth_is_a_line_of_runs_that_continue_each_other(run: Run) -> None:
    runs = [
        made(run, (4, 8), (80.0, 82.0), published=85.0),
        made(run, (4,), (70.0,), published=75.0),
        made(run, (4, 8, 16), (90.0,)),
        made(run, (4, 4), (77.0,)),
        made(run, (4,), (60.0,), HardHebb()),
    ]
    lines = depth_lines(runs)
    line = lines["depth 4-8-16 SoftHebb"]
    assert (line.x, line.y) == ((1.0, 2.0, 3.0), (70.0, 81.0, 90.0))
    assert line.std == pytest.approx((0.0, 2**0.5, 0.0)) and line.x_label == "blocks"
    assert lines["depth 4-8-16 random weights"].y == (60.0, 71.0, 80.0)
    assert lines["depth 4-8-16 SoftHebb, published"].x == (1.0, 2.0)
    assert lines["depth 4-4 SoftHebb"].y == (70.0, 77.0) and lines["depth 4-4 SoftHebb"].std is None
    # neither a prefix by itself, nor a rule with one run
    assert len({name.split()[1] for name in lines}) == 2 and not any("hard" in name for name in lines)


def test_width_is_a_line_of_runs_of_one_depth(run: Run) -> None:
    runs = [made(run, (16, 16), (80.0,)), made(run, (4, 8), (70.0,)), made(run, (4,), (60.0,))]
    runs.append(made(run, (8, 8), (50.0,), SoftHebb(anti_hebbian=False)))
    lines = width_lines(runs)
    assert set(lines) == {"width 2 SoftHebb", "width 2 random weights"}
    assert (lines["width 2 SoftHebb"].x, lines["width 2 SoftHebb"].y) == ((12.0, 32.0), (70.0, 80.0))
    runs.append(made(run, (4, 4), (40.0,), SoftHebb(anti_hebbian=False)))
    assert width_lines(runs)["width 2 SoftHebb without anti-Hebbian losers"].y == (40.0, 50.0)


@pytest.fixture
def other(run: Run, tmp_path: Path) -> Path:
    """A folder of a run of one block, the first of the tiny run's."""
    import json

    folder = tmp_path / "one"
    folder.mkdir()
    config = json.loads((run.folder / "config.json").read_text())
    config.pop("checksum")
    recipe = tiny_recipe(
        name="one", architecture=replace(run.recipe.architecture, blocks=run.recipe.architecture.blocks[:1])
    )
    config["recipe"] = to_json(recipe)
    (folder / "config.json").write_text(json.dumps(config))
    replace(run.result, recipe="one", measures=(Measure("test_accuracy", "%", (50.0, 60.0), 71.1),)).write(
        folder / "result.json"
    )
    return folder


@pytest.fixture
def answer(run: Run, other: Path) -> Result:
    return evaluate(DepthWidth(others=(str(other),)), run)


def test_measures_are_those_of_the_runs(answer: Result, run: Run) -> None:
    own = answer.measure(f"{run.recipe.name}_4-8_accuracy")
    assert own.values == run.result.measure("test_accuracy").values and own.interval is not None
    assert own.published == 97.0
    assert answer.measure(f"{run.recipe.name}_4-8_random_accuracy").values == (
        run.result.measure("random_test_accuracy").values
    )
    assert answer.measure("one_4_accuracy").published == 71.1
    assert [curve.y[0] for curve in answer.curves] == [55.0, 71.1]  # random weights stand at one depth only
    assert answer.notes["runs"]["one_4"] == {"seeds": 2, "rule": "SoftHebb"}
    text = (run.folder / "depth_width-curves.svg").read_text()
    for words in ("depth: test accuracy, %", "SoftHebb, published", "blocks"):
        assert f"<!-- {words} -->" in text


def test_what_cannot_be_compared_is_refused(run: Run, other: Path) -> None:
    def ask(*others: Path) -> None:
        list(DepthWidth(others=tuple(map(str, others))).run(run))

    with pytest.raises(UserError, match="name at least one more with --others RUN"):
        ask()
    twin = Path(shutil.copytree(other, other.parent / "twin"))
    with pytest.raises(UserError, match=r"one and .*twin are of the same recipe and widths"):
        ask(other, twin)
    result = read_result(twin / "result.json")
    replace(result, data={"name": "letters", "fingerprint": "another"}).write(twin / "result.json")
    with pytest.raises(UserError, match=r"twin was trained on letters, this run on digits"):
        ask(twin)
    (twin / "result.json").unlink()
    with pytest.raises(UserError, match=r"twin is not finished: continue with torchhebb train --resume"):
        ask(twin)
    with pytest.raises(UserError, match="not a run folder"):
        ask(other.parent / "nothing")


def test_runs_without_a_line_are_refused(run: Run, other: Path) -> None:
    one = made(run, (3,), (50.0,), HardHebb())
    alone = replace(run, recipe=one.recipe, result=one.result)
    with pytest.raises(UserError, match="no two runs of one rule differ only in depth or only in width"):
        list(DepthWidth(others=(str(other),)).run(alone))
