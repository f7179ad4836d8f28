"""`torchhebb evaluate` and `torchhebb reproduce` as typed."""

from pathlib import Path

import pytest

from tests.tiny import tiny_recipe
from torchhebb.cli import main
from torchhebb.data import Store
from torchhebb.evaluate import Run, describe_evaluators
from torchhebb.recipes import get_experiments
from torchhebb.runs import TrainOptions, read_config
from torchhebb.train import Recipe, read_result


@pytest.fixture(autouse=True)
def here(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' store, an empty current folder, and this process left as it is."""
    monkeypatch.setenv("TORCHHEBB_STORE", str(store.root))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torchhebb.cli.tune_process", lambda: None)


def test_a_run_is_asked_with_settings_from_flags(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--readouts", "ridge", "neighbors", "--ridge.project", "32", "--neighbors.k", "3", "--results", "kept"]
    assert main(["evaluate", "accuracy", str(run.folder), *flags]) == 0
    said = capsys.readouterr().out
    assert "ridge test accuracy" in said and "95 %" in said and str(run.folder) in said.replace("\n", "")
    result = read_result(Path("kept") / run.recipe.name / "accuracy-cpu.json")
    assert result.notes["settings"]["ridge"]["project"] == 32
    assert [choice["k"] for choice in result.notes["chosen"]["neighbors"]] == [3, 3]
    assert result.command.startswith("torchhebb evaluate accuracy ")


def test_a_recipe_is_trained_first(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("torchhebb.cli.evaluate.get_recipe", lambda name: tiny_recipe())
    arguments = ["evaluate", "diagnostics", "softhebb2023-digits", "--device", "cpu", "--precision", "float32"]
    assert main([*arguments, "--out", "mine"]) == 0
    assert read_config(Path("mine")) == (tiny_recipe(), TrainOptions(device="cpu", precision="float32"))
    assert "block2 r1 share" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["acuracy", "RUN"], "unknown evaluator 'acuracy'; nearest: accuracy"),
        (
            ["accuracy", "softhebb2023-digts"],
            "unknown run folder or recipe 'softhebb2023-digts'; nearest: softhebb2023-",
        ),
        (["accuracy"], "torchhebb evaluate accuracy needs a run folder or the name of a recipe"),
        (["accuracy", "RUN", "--out", "x"], "Unrecognized options: --out"),
        (["radius", "RUN", "--points", "0"], "points must be at least 1, got 0"),
        (["radius", "RUN", "--probe.pool", "0"], "torchhebb: probe.pool must be at least 1, got 0"),
        (["accuracy", "RUN", "--readouts", "ridge", "ridge"], "readouts must be different from each other"),
        (["accuracy", "RUN", "--ridge.projct", "3"], "Unrecognized options: --ridge.projct"),
        (["accuracy", "RUN", "--ridge.project", "100000"], "project must lie from 1 to "),
    ],
)
def test_mistakes_end_in_one_line(
    arguments: list[str], said: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *(str(run.folder) if word == "RUN" else word for word in arguments)]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("torchhebb: ")]
    assert len(lines) == 1 and said in lines[0]


def test_help_names_the_questions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--help"]) == 0
    said = capsys.readouterr().out
    for question, words in describe_evaluators().items():
        assert f"{question} " in said and words in said
    assert main([]) == 0
    assert "softhebb2023" in capsys.readouterr().out


def test_reproducing_twice_does_nothing_anew(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def tiny(name: str) -> Recipe:
        return tiny_recipe(name=name, published=97.0)

    monkeypatch.setattr("torchhebb.runs.reproduce.get_recipe", tiny)
    command = ["reproduce", "softhebb2023", "--budget", "1h", "--only", "digits", "--device", "cpu"]
    assert main(command) == 0
    digits = [item for item in get_experiments("softhebb2023") if "digits" in item.recipe]
    first, progress = capsys.readouterr()
    assert f"{len(digits)} new; in runs/reproduce-softhebb2023" in first and "97.00 %" in first
    assert main(command) == 0
    second, quiet = capsys.readouterr()
    assert "seed 0" in progress and "seed 0" not in quiet
    assert first.replace(f"{len(digits)} new", f"{len(digits)} kept").endswith(second)


def test_what_was_not_run_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "softhebb2023", "--budget", "1s", "--only", "cifar10"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("CIFAR-10, depth 3\t"))
    assert "not run (about " in line and line.endswith("80.31 %")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["softhebb2032"], "unknown paper 'softhebb2032'; nearest: softhebb2023, softhebb2022, sphere2025"),
        (["softhebb2023", "--budget", "30"], "a budget is a positive time such as 90s, 30m or 2h, got '30'"),
        (["softhebb2023", "--only", "dogits"], "unknown item 'dogits'; nearest: digits"),
    ],
)
def test_mistakes_of_reproduce(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", *arguments]) == 2
    assert capsys.readouterr().err == f"torchhebb: {said}\n"
